//! The file of a snapshot.

use super::sealed::{file_of, lines};
use super::{Held, holds, same, same_as, says, template};
use harness::{Outcome, TestDir, clock, manual_flush, note};
use mnemon::{ErrorKind, Snapshots, TraceStore, archive};
use std::fs;

const REFUSED: [ErrorKind; 4] =
    [ErrorKind::NotASnapshot, ErrorKind::NewerSchema, ErrorKind::Corrupt, ErrorKind::Untrusted];

/// A file is refused, and nothing is changed; or all of it is restored, can be read as an export, saved and restored
/// again, and written into a database, without a difference.
pub fn check(data: &[u8]) -> Outcome {
    let scratch = TestDir::new()?;
    let (file, folder) = (file_of(data), scratch.folder().join("saved"));
    let path = scratch.folder().join("given");
    fs::write(&path, &file)?;
    let snapshots = Snapshots::in_folder(folder);
    let store = manual_flush().clock(&clock()).in_memory()?;
    store.insert(note("before").id(template::id(0)))?;
    let before = Held::of(&store);
    let read = archive::Reader::new(&*file).and_then(Iterator::collect::<mnemon::Result<Vec<_>>>);
    let traces = match store.restore_snapshot(&snapshots, &path) {
        Ok(traces) => traces,
        Err(refused) => {
            says(&refused, &REFUSED)?;
            same_as("a refused snapshot changes the store", &before, &Held::of(&store))?;
            return Ok(store.close().map(drop)?);
        }
    };
    let count = |kind| lines(&file).iter().filter(|line| line.kind == kind).count();
    holds((traces, traces) == (store.len(), count("trace")), "not all traces are restored")?;
    holds(store.link_count() == count("link"), "not all links are restored")?;
    let is_good = |line: &archive::Line| !matches!(line, archive::Line::Bad(_));
    let lines = read?;
    holds(
        lines.len() == traces + store.link_count() && lines.iter().all(is_good),
        "read as an export it is another",
    )?;
    store.save_snapshot(&snapshots)?;
    let again = TraceStore::in_memory();
    again.restore_newest(&snapshots)?;
    same("saved and restored", &store, &again)?;
    let written = manual_flush().open(scratch.path())?;
    written.restore_newest(&snapshots)?;
    let report = written.flush()?;
    holds(report.rows_refused == 0, format_args!("rows are refused: {report:?}"))?;
    written.close()?;
    let read = manual_flush().open(scratch.path())?;
    holds(read.stats().quarantined.is_empty(), "what was restored can't be read")?;
    same("restored, written and read", &store, &read)?;
    for store in [store, again, read] {
        store.close()?;
    }
    Ok(())
}
