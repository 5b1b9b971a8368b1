//! Which process this is, so that a fork is recognized for sure.

use std::process;

/// A process. No child of it is the same one, whatever its number: in a PID namespace of its own a child of process 1
/// is process 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Process {
    id: u32,
    mark: u64,
}

impl Process {
    /// The one that this runs in. Costs a system call.
    pub(crate) fn current() -> Self {
        Self { id: process::id(), mark: wiped::mark() }
    }

    /// Whether this runs in it, and not in a child that was forked meanwhile.
    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Its number, for people.
    pub(crate) fn id(self) -> u32 {
        self.id
    }
}

/// A page that the kernel empties in each child (`MADV_WIPEONFORK`), however it was forked. Its atomics are std's, as
/// statics: loom has no part in it.
#[cfg(all(target_os = "linux", not(loom)))]
mod wiped {
    use std::ptr;
    use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

    /// Null, or the page, which is never given back.
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

    /// The next mark. A child goes on where its parent was, so it has none that an ancestor had.
    static NEXT: AtomicU64 = AtomicU64::new(1);

    /// A number that each process of a line of forks has for itself; 0 where there is no such page, as before Linux
    /// 4.14.
    pub(super) fn mark() -> u64 {
        let Some(page) = page() else { return 0 };
        // Relaxed, all of it: the marks are numbers alone, and nothing is read by way of them.
        match page.load(Ordering::Relaxed) {
            0 => {
                let new = NEXT.fetch_add(1, Ordering::Relaxed);
                let first = page.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed);
                first.map_or_else(|mark| mark, |_| new)
            }
            mark => mark,
        }
    }

    /// Waits for nobody: the thread that makes the page may not be there after a fork.
    fn page() -> Option<&'static AtomicU64> {
        // Acquire pairs with the Release below: the page is there, and marked to be wiped.
        let mut page = PAGE.load(Ordering::Acquire);
        if page.is_null() {
            let new = map()?;
            page = match PAGE.compare_exchange(page, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => new,
                Err(first) => {
                    // SAFETY: it was mapped above, of that length, and no other thread has seen it.
                    unsafe { libc::munmap(new.cast(), SIZE) };
                    first
                }
            };
        }
        // SAFETY: what is in `PAGE` is mapped for good, aligned to a page, and holds zeros or what was stored through
        // this type.
        Some(unsafe { &*page })
    }

    /// Rounded up to a page by the kernel.
    const SIZE: usize = size_of::<AtomicU64>();

    fn map() -> Option<*mut AtomicU64> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, which lies over no other.
        let page = unsafe { libc::mmap(ptr::null_mut(), SIZE, access, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping above, which nobody has seen.
        match unsafe { libc::madvise(page, SIZE, libc::MADV_WIPEONFORK) } {
            0 => Some(page.cast()),
            _ => {
                // SAFETY: as above.
                unsafe { libc::munmap(page, SIZE) };
                None
            }
        }
    }
}

/// There the number alone tells processes apart.
#[cfg(not(all(target_os = "linux", not(loom))))]
mod wiped {
    pub(super) fn mark() -> u64 {
        0
    }
}
