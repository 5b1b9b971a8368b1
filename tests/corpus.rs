//! The kept input of the fuzz targets: whatever it held up once must hold, on machines without a fuzzer too.
//!
//! `tests/fuzz/README.md` says what each target checks.
#![cfg(all(feature = "cli", feature = "snapshot", feature = "sqlite"))]

#[path = "fuzz/src/lib.rs"]
mod fuzzed;

use fuzzed::Outcome;
use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8]) -> Outcome) -> Outcome {
    replay_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target), check)
}

fn replay_folder(folder: &Path, check: fn(&[u8]) -> Outcome) -> Outcome {
    let mut replayed = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        check(&fs::read(&path)?).map_err(|broken| format!("{}: {broken}", path.display()))?;
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
    Ok(())
}

#[test]
fn lines_hold() -> Outcome {
    replay("line", fuzzed::line::check)
}

#[test]
fn snapshots_hold() -> Outcome {
    replay("snapshot", fuzzed::snapshot::check)
}

#[test]
fn spills_hold() -> Outcome {
    replay("spill", fuzzed::spill::check)
}

#[test]
fn cells_hold() -> Outcome {
    replay("cells", fuzzed::cells::check)
}

#[test]
fn legion_rows_hold() -> Outcome {
    replay("legion", fuzzed::legion::check)
}

#[test]
fn databases_hold() -> Outcome {
    replay("database", fuzzed::database::check)
}

#[test]
fn scripts_hold() -> Outcome {
    replay("script", fuzzed::script::check)
}

#[test]
fn seeds_hold() -> Outcome {
    let folder = tempfile::tempdir()?;
    fuzzed::seeds::write(folder.path())?;
    type Check = fn(&[u8]) -> Outcome;
    let checks: [(&str, Check); 7] = [
        ("line", fuzzed::line::check),
        ("snapshot", fuzzed::snapshot::check),
        ("spill", fuzzed::spill::check),
        ("cells", fuzzed::cells::check),
        ("legion", fuzzed::legion::check),
        ("database", fuzzed::database::check),
        ("script", fuzzed::script::check),
    ];
    checks.into_iter().try_for_each(|(target, check)| replay_folder(&folder.path().join(target), check))
}
