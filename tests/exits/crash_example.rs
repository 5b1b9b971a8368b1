//! The example `crash`, killed again and again: what it called durable is found, and nothing is missing.
#![cfg(feature = "sqlite")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Cargo builds the examples before it runs the tests, and puts them beside.
fn example(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(|deps| deps.parent()).ok_or("a test is in a folder")?;
    Ok(folder.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION))
}

/// What follows a word of a line.
fn number(line: &str, word: &str) -> Option<usize> {
    let mut words = line.split([' ', ',']);
    words.find(|&found| found == word)?;
    words.next()?.parse().ok()
}

#[test]
fn killed_example_keeps_durable_writes() -> Result {
    let crash = example("crash")?;
    if !crash.exists() {
        eprintln!("skipped: {} was not built, as with --test", crash.display());
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut durable = 0;
    for round in 0..4 {
        let mut child = Command::new(&crash).current_dir(folder.path()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("piped")?).lines();
        let first = lines.next().ok_or("it said nothing")??;
        let found = number(&first, "found").ok_or_else(|| first.clone())?;
        assert!(found >= durable, "{durable} were durable: {first}");
        assert_eq!(number(&first, "missing"), Some(0), "{first}");
        for line in lines.by_ref().take(1 + round % 2) {
            let line = line?;
            durable = number(&line, "durable").ok_or(line)?;
        }
        child.kill()?;
        child.wait()?;
    }
    assert!(durable >= 40_000, "it got nowhere: {durable}");
    Ok(())
}
