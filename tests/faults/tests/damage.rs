//! Pages that are damaged: at opening a clear error or what is sound, and nothing touched; under a running store a
//! file written anew from memory, and the damaged one kept.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::disk::{Call, Disk, Fault, How};
use fault_tests::run::note;
use fault_tests::scratch::{database, folder};
use fault_tests::state::{State, check_rows, check_sound, reader};
use mnemon::{ErrorKind, Health, TraceId, TraceStore};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PAGE: usize = 4096;
const NEVER: Duration = Duration::from_secs(3600);

fn quiet(path: &Path) -> mnemon::Result<TraceStore> {
    TraceStore::builder()
        .flush_interval(NEVER)
        .flush_threshold(usize::MAX)
        .lag_bound(NEVER)
        .close_timeout(Duration::from_secs(10))
        .open(path)
}

/// A store of a few dozen pages of every kind.
fn fill(store: &TraceStore) -> Outcome<Vec<TraceId>> {
    let ids = store.insert_many((0..60).map(|n| note(n, if n % 9 == 0 { 9_000 } else { 700 })))?;
    for pair in ids.windows(2) {
        store.co_activate(pair[0], pair[1])?;
    }
    store.flush()?;
    Ok(ids)
}

/// Changes every trace, and ends well, with a file that agrees.
fn changes_all_and_ends_well(store: TraceStore, path: &Path) -> Outcome {
    let ids: Vec<_> = store.iter().map(|trace| trace.id()).collect();
    for (at, id) in ids.iter().enumerate() {
        match at % 5 {
            0 => drop(store.remove(*id)?),
            _ => drop(store.update(*id, |trace| trace.payload(serde_json::json!({"changed": at})))?),
        }
    }
    store.insert(note(500, 3_000))?;
    for tries in 0.. {
        match store.flush() {
            Ok(_) if store.health() == Health::Healthy => break,
            _ if tries > 20 => return Err(format!("it stays {:?}", store.stats().last_error).into()),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let memory = State::of(&store);
    if store.stats().quarantined.is_empty() {
        check_rows(&reader(path)?, &memory)?;
    }
    store.close()?;
    if State::of(&quiet(path)?) == memory { Ok(()) } else { Err("reopened, it is another".into()) }
}

#[test]
fn damaged_page_at_opening_is_harmless() -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    let store = quiet(&path)?;
    fill(&store)?;
    let whole = State::of(&store);
    store.close()?;
    let sound = fs::read(&path)?;
    let (mut refused, mut opened, mut less, mut unnoticed) = (0, 0, 0, 0);
    for page in 0..sound.len() / PAGE {
        // The whole page, its beginning, its end.
        for (from, to, byte) in [(0, PAGE, 0), (0, PAGE, 0xa5), (0, 16, 0xff), (PAGE - 200, PAGE, 0x5a)] {
            let mut bytes = sound.clone();
            bytes[page * PAGE + from..page * PAGE + to].fill(byte);
            fs::write(&path, &bytes)?;
            let is_sound = reader(&path).and_then(|reader| check_sound(&reader)).is_ok();
            match quiet(&path) {
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Corrupt | ErrorKind::NotAStore | ErrorKind::NewerSchema),
                        "{error:?}"
                    );
                    assert!(error.to_string().contains("memory.db"), "{error}");
                    assert!(fs::read(&path)? == bytes, "page {page}: it was touched, and {error:?}");
                    refused += 1;
                }
                Ok(store) => {
                    let found = State::of(&store);
                    less += usize::from(found != whole);
                    let missing = whole.traces.len() - found.traces.len();
                    let named = store.stats().quarantined.len();
                    assert!(missing <= named, "page {page}: {missing} are missing, and {named} named");
                    opened += 1;
                    // What reading all does not notice is SQLite's to find, when it comes there or never.
                    match changes_all_and_ends_well(store, &path) {
                        Err(error) if is_sound => {
                            return Err(format!("page {page}, {from} to {to} of {byte:#x}: {error}").into());
                        }
                        ended => unnoticed += usize::from(ended.is_err()),
                    }
                }
            }
            for file in fs::read_dir(folder.path())? {
                fs::remove_file(file?.path())?;
            }
        }
    }
    println!(
        "damaged at opening: {refused} refused, {opened} opened, {less} of them with other content; {unnoticed} \
         stayed damaged, and SQLite's check knew of each"
    );
    assert!(refused > 0 && opened > 0);
    Ok(())
}

/// What a connection has read it does not read again, so the store is made to open a new one.
#[test]
fn page_damaged_meanwhile_is_rewritten() -> Outcome {
    let (mut replaced, mut unharmed) = (0, 0);
    let mut page = 0;
    loop {
        let folder = folder()?;
        let path = database(&folder);
        let disk = Disk::under(folder.path())?;
        let store = quiet(&path)?;
        fill(&store)?;
        // The pages are in the file, and not in the log.
        store.close()?;
        if page >= fs::metadata(&path)?.len() as usize / PAGE {
            break;
        }
        let store = quiet(&path)?;
        let offset = (page * PAGE).to_string();
        let scribbled = Command::new(env!("CARGO_BIN_EXE_outsider"))
            .arg("scribble")
            .arg(&path)
            .args([&offset, &PAGE.to_string()])
            .status()?;
        assert!(scribbled.success());
        let next = disk.calls()[&Call::Sync] + 1;
        disk.set_fault(Some(Fault { call: Call::Sync, nth: next, times: 1, how: How::Error }));
        store.insert(note(400, 30))?;
        assert!(store.flush().is_err());
        changes_all_and_ends_well(store, &path).map_err(|error| format!("page {page}: {error}"))?;
        let aside = fs::read_dir(folder.path())?
            .filter(|file| {
                file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().contains("damaged"))
            })
            .count();
        match aside {
            0 => unharmed += 1,
            _ => replaced += 1,
        }
        page += 1;
    }
    println!("damaged while open: {page} pages, {replaced} files replaced, {unharmed} mended in passing");
    assert!(replaced > 0);
    Ok(())
}
