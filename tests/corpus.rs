//! The kept input of the fuzz targets: whatever it held up once must hold, on machines without a fuzzer too.
//!
//! `fuzz/README.md` says what each target checks.
#![cfg(all(feature = "cli", feature = "snapshot", feature = "sqlite"))]

#[path = "../fuzz/src/lib.rs"]
mod fuzzed;

use fuzzed::Outcome;
use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8]) -> Outcome) -> Outcome {
    replay_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target), check)
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
fn a_line_is_refused_with_a_reason_or_makes_the_trace_that_it_says() -> Outcome {
    replay("line", fuzzed::line::check)
}

#[test]
fn a_snapshot_is_refused_and_changes_nothing_or_is_restored_whole() -> Outcome {
    replay("snapshot", fuzzed::snapshot::check)
}

#[test]
fn a_spill_is_refused_and_stays_or_is_applied_whole() -> Outcome {
    replay("spill", fuzzed::spill::check)
}

#[test]
fn a_row_of_anything_is_set_aside_and_healthy_ones_stay() -> Outcome {
    replay("cells", fuzzed::cells::check)
}

#[test]
fn a_row_of_anything_in_the_original_is_taken_in_or_told_and_comes_back() -> Outcome {
    replay("legion", fuzzed::legion::check)
}

#[test]
fn a_database_is_refused_or_keeps_what_is_written_into_it() -> Outcome {
    replay("database", fuzzed::database::check)
}

#[test]
fn a_script_gets_the_answers_of_the_model() -> Outcome {
    replay("script", fuzzed::script::check)
}

#[test]
fn what_the_fuzzer_begins_with_is_made_anew_and_holds() -> Outcome {
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
