//! A process that ends without a close: what a flush has reported is there, asked for or not, and of the rest a
//! part that was the store at one cut.
#![cfg(feature = "sqlite")]

use harness::process::own_process;
use harness::{Outcome, TestDir, manual_flush, note, rows, wait_until};
use mnemon::{NewTrace, TraceId, TraceStore};
use std::sync::OnceLock;
use std::time::Duration;

const HOW: &str = "MNEMON_TEST_EXITS";
const PATH: &str = "MNEMON_TEST_EXITS_IN";
const KEPT: usize = 200;
const AFTER: usize = 300;

static KEEPER: OnceLock<TraceStore> = OnceLock::new();

fn id(n: usize) -> TraceId {
    TraceId::from_reference(&format!("trace {n}"))
}

fn numbered(n: usize) -> NewTrace {
    note(n).id(id(n))
}

/// The process that ends: first a part that is flushed, by the flusher of itself if nobody asks, then more.
fn ends(how: &str, path: &std::ffi::OsStr) -> Outcome {
    let asked = how.ends_with("-asked");
    let interval = if asked { Duration::from_secs(3600) } else { Duration::from_millis(1) };
    let store = KEEPER.get_or_init(|| {
        TraceStore::builder().flush_interval(interval).open(path).expect("the file can be opened")
    });
    for n in 0..KEPT {
        store.insert(numbered(n))?;
    }
    if asked {
        store.flush()?;
    } else {
        // The bound: after an interval and a flush nothing is unflushed.
        wait_until(|| store.stats().oldest_unflushed.is_none());
    }
    for n in KEPT..KEPT + AFTER {
        // Each is written by another thread than the one before it, which has told it.
        std::thread::scope(|scope| {
            scope.spawn(|| store.insert(numbered(n))).join().map_err(|_| "it panicked")
        })??;
    }
    match how.split('-').next() {
        Some("exit") => std::process::exit(0),
        Some("abort") => std::process::abort(),
        Some("leaked") => {
            std::mem::forget(store.clone());
            std::process::exit(0)
        }
        Some("elsewhere") => {
            // While another thread still writes.
            let other = store.clone();
            let (wrote, written) = std::sync::mpsc::sync_channel(0);
            std::thread::spawn(move || {
                for n in KEPT + AFTER.. {
                    let _ = (other.insert(numbered(n)), wrote.send(()));
                }
            });
            for _ in 0..50 {
                written.recv()?;
            }
            std::process::exit(0)
        }
        // The test returns, and with it `main`; the store in its static is never dropped.
        _ => Ok(()),
    }
}

#[test]
fn flushed_writes_survive_exit_without_close() -> Outcome {
    let ways = ["exit", "abort", "leaked", "elsewhere", "returned"];
    let ways = ways.into_iter().flat_map(|way| [format!("{way}-asked"), format!("{way}-unasked")]);
    for how in ways {
        let file = TestDir::new()?;
        let Some(mut command) = own_process(|| {
            ends(&std::env::var(HOW)?, &std::env::var_os(PATH).ok_or("the parent names a file")?)
        })?
        else {
            return Ok(());
        };
        let output = command.env(HOW, &how).env(PATH, file.path()).output()?;
        assert_eq!(output.status.success(), !how.starts_with("abort"), "{how}: {output:?}");
        let report = mnemon::inspect(file.path())?;
        assert_eq!((report.clean, report.in_use_by), (false, None), "{how}");
        let store = manual_flush().open(file.path())?;
        let found = store.len();
        assert!(found >= KEPT, "{how}: {found} of the {KEPT} that were flushed");
        assert!(
            (0..found).all(|n| store.contains(id(n))),
            "{how}: one is there, and one written before it is not"
        );
        if how.ends_with("-asked") {
            assert_eq!(found, KEPT, "{how}: nothing flushes the rest in an hour");
        }
        assert_eq!(store.stats().quarantined.len(), 0);
        store.insert(note("it goes on"))?;
        store.close()?;
        assert_eq!(rows(&file.reader()?)?, found as i64 + 1);
        println!("{how}: {found} of {}", KEPT + AFTER);
    }
    Ok(())
}
