//! The unsafe part: SQLite's C interface of a VFS, each call passed on to the system's own.
//!
//! A file of this VFS is, in memory that SQLite provides: a [`File`], then the real VFS's own file. All that can
//! be decided without pointers is in [`watched`](super::watched).

use super::watched::{Code, Watched};
use crate::disk::Call;
use rusqlite::ffi::{
    self, SQLITE_ERROR, SQLITE_IOERR, SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

/// What stands before the real file, of which the alignment is at most that of a pointer or a 64-bit integer.
#[repr(C, align(8))]
struct File {
    base: sqlite3_file,
    /// From `Box::into_raw`, freed by `close`; null if no disk watches the file.
    watched: *mut Watched,
}

/// The VFS that was the default before this one. Never unregistered, so its address stays good.
struct Real(*mut sqlite3_vfs);

// SAFETY: it is never written through, and SQLite calls the same VFS from every thread.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();

/// Makes this VFS the process's default; the first call does.
///
/// # Panics
///
/// SQLite does not take it.
pub fn install() {
    REAL.get_or_init(|| {
        // SAFETY: initializing has no preconditions, and a null name asks for the default.
        let real = unsafe {
            assert_eq!(ffi::sqlite3_initialize(), SQLITE_OK);
            ffi::sqlite3_vfs_find(ptr::null())
        };
        assert!(!real.is_null(), "SQLite has no default VFS");
        // SAFETY: a registered VFS is valid for reads. The copy keeps what its other functions look at in it: its
        // own data and the longest path. It is leaked, as a registered VFS must stay where it is.
        let shim: &mut sqlite3_vfs = Box::leak(Box::new(unsafe { *real }));
        let own = c_int::try_from(size_of::<File>()).expect("a few bytes");
        shim.szOsFile += own;
        shim.zName = c"faults".as_ptr();
        shim.pNext = ptr::null_mut();
        shim.xOpen = Some(open);
        shim.xDelete = Some(delete);
        // SAFETY: `shim` is a complete VFS and lives as long as the process.
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(shim, 1) }, SQLITE_OK);
        Real(real)
    });
}

fn real_vfs() -> *mut sqlite3_vfs {
    REAL.get().map_or(ptr::null_mut(), |real| real.0)
}

/// The real file, which stands behind ours.
///
/// # Safety
///
/// `file` is one that SQLite gave to this VFS: `szOsFile` bytes.
unsafe fn real_file(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: `szOsFile` counts both parts, and the size of `File` keeps the alignment of the second.
    unsafe { file.byte_add(size_of::<File>()) }
}

/// The real file, its methods, and who watches it.
///
/// # Safety
///
/// `file` was opened by [`open`] and not closed; no other call on it is running. SQLite promises the latter: a
/// file belongs to one connection, which one thread uses at a time.
unsafe fn parts<'f>(
    file: *mut sqlite3_file,
) -> (*mut sqlite3_file, &'f sqlite3_io_methods, Option<&'f mut Watched>) {
    // SAFETY: the real file was opened, so its methods are set; they are static. `watched` is null or from a box
    // that nobody else refers to while this call runs.
    unsafe {
        let real = real_file(file);
        (real, &*(*real).pMethods, (*file.cast::<File>()).watched.as_mut())
    }
}

/// The path that SQLite names, if it names one.
///
/// # Safety
///
/// `name` is null or a C string that lives while the path is used.
unsafe fn path_of<'n>(name: *const c_char) -> Option<&'n Path> {
    // SAFETY: as the caller says.
    (!name.is_null()).then(|| Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let vfs = real_vfs();
    // SAFETY: SQLite gives `szOsFile` bytes for the file, and a name that lives as long as the file; both parts
    // of it are set before anything reads them. The real VFS is given what it would be given without us.
    unsafe {
        let own = file.cast::<File>();
        (*own).base.pMethods = ptr::null();
        (*own).watched = ptr::null_mut();
        let real = real_file(file);
        (*real).pMethods = ptr::null();
        let Some(open) = (*vfs).xOpen else { return SQLITE_ERROR };
        let open = || open(vfs, name, real, flags, out_flags);
        let (code, watched) = match path_of(name) {
            Some(path) => Watched::open(path, flags, open),
            None => (open(), None),
        };
        // SQLite closes a file that has methods, even if opening it failed.
        if !(*real).pMethods.is_null() {
            (*own).base.pMethods = &METHODS;
            (*own).watched = watched.map_or(ptr::null_mut(), |watched| Box::into_raw(Box::new(watched)));
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    let vfs = real_vfs();
    // SAFETY: SQLite gives a C string; the real VFS is given the same.
    unsafe {
        let Some(delete) = (*vfs).xDelete else { return SQLITE_ERROR };
        let delete = || delete(vfs, name, sync_folder);
        match path_of(name) {
            Some(path) => Watched::delete(path, sync_folder != 0, delete),
            None => delete(),
        }
    }
}

/// Version 2: with shared memory for the log's index, without mapping of the file itself, which would go past us.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

// SAFETY of all that follow: SQLite calls them with a file that `open` has opened, and with arguments that are
// good for the real file's method of the same name, which gets just these.

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as above; it is the last call on the file, so the box is ours to free.
    unsafe {
        let own = file.cast::<File>();
        let watched = std::mem::replace(&mut (*own).watched, ptr::null_mut());
        if !watched.is_null() {
            drop(Box::from_raw(watched));
        }
        let (real, methods, _) = parts(file);
        (*own).base.pMethods = ptr::null();
        methods.xClose.map_or(SQLITE_OK, |close| close(real))
    }
}

/// Passes a call on, by way of the one who watches, if there is one.
fn by_way_of(watched: Option<&mut Watched>, call: Call, work: impl FnOnce() -> Code) -> Code {
    match watched {
        Some(watched) => watched.other(call, work),
        None => work(),
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, watched) = parts(file);
        let work = || methods.xRead.map_or(SQLITE_IOERR, |read| read(real, to, bytes, at));
        by_way_of(watched, Call::Read, work)
    }
}

/// As a call to the system leaves it that has failed.
pub(super) fn set_system_error(code: c_int) {
    #[cfg(target_os = "linux")]
    use libc::__errno_location as errno;
    #[cfg(not(target_os = "linux"))]
    use libc::__error as errno;
    // SAFETY: it is this thread's own, and lives as long as that.
    unsafe { *errno() = code }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: as above; `from` holds so many bytes while this call runs.
    unsafe {
        let (real, methods, watched) = parts(file);
        let Some(write) = methods.xWrite else { return SQLITE_IOERR };
        let (Some(watched), Ok(length), Ok(offset)) = (watched, usize::try_from(bytes), u64::try_from(at))
        else {
            return write(real, from, bytes, at);
        };
        let data = std::slice::from_raw_parts(from.cast::<u8>(), length);
        watched.write(data, offset, |data| match c_int::try_from(data.len()) {
            Ok(bytes) => write(real, data.as_ptr().cast(), bytes, at),
            Err(_) => SQLITE_IOERR,
        })
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, watched) = parts(file);
        let work = || methods.xTruncate.map_or(SQLITE_IOERR, |truncate| truncate(real, size));
        match (watched, u64::try_from(size)) {
            (Some(watched), Ok(size)) => watched.truncate(size, work),
            _ => work(),
        }
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, watched) = parts(file);
        let work = || methods.xSync.map_or(SQLITE_IOERR, |sync| sync(real, flags));
        match watched {
            Some(watched) => watched.sync(work),
            None => work(),
        }
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, watched) = parts(file);
        let work = || methods.xFileSize.map_or(SQLITE_IOERR, |file_size| file_size(real, size));
        by_way_of(watched, Call::FileSize, work)
    }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, watched) = parts(file);
        by_way_of(watched, Call::Lock, || methods.xLock.map_or(SQLITE_OK, |lock| lock(real, level)))
    }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        methods.xUnlock.map_or(SQLITE_OK, |unlock| unlock(real, level))
    }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        methods.xCheckReservedLock.map_or(SQLITE_IOERR, |check| check(real, out))
    }
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        methods.xFileControl.map_or(ffi::SQLITE_NOTFOUND, |control| control(real, op, argument))
    }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        methods.xSectorSize.map_or(4096, |size| size(real))
    }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        methods.xDeviceCharacteristics.map_or(0, |characteristics| characteristics(real))
    }
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    bytes: c_int,
    extend: c_int,
    to: *mut *mut c_void,
) -> c_int {
    // SAFETY: as above; SQLite reads `to` even if this fails, and asks for it to be null then.
    unsafe {
        let (real, methods, watched) = parts(file);
        *to = ptr::null_mut();
        let work = || methods.xShmMap.map_or(SQLITE_IOERR, |map| map(real, page, bytes, extend, to));
        by_way_of(watched, Call::ShmMap, work)
    }
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, watched) = parts(file);
        let work = || methods.xShmLock.map_or(SQLITE_IOERR, |lock| lock(real, offset, count, flags));
        // Giving a lock up can't fail: SQLite does not look at the answer.
        match flags & ffi::SQLITE_SHM_UNLOCK {
            0 => by_way_of(watched, Call::ShmLock, work),
            _ => work(),
        }
    }
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        if let Some(barrier) = methods.xShmBarrier {
            barrier(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: as above.
    unsafe {
        let (real, methods, _) = parts(file);
        methods.xShmUnmap.map_or(SQLITE_OK, |unmap| unmap(real, delete))
    }
}
