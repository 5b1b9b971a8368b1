//! Records from a text into a file: `mnemon ingest`, beside the `.import` of the program `sqlite3` of the same text
//! into a table of one column, which checks and finds nothing. Wall clock, and CPU of the whole process.
//!
//! The text is `../shared/data/conversations.jsonl` as it is, and repeated up to a million lines, each with a ref of
//! its own; without that file, made-up records.

use benches::figures::{Figure, Figures};
use benches::{Outcome, is_quick, size};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

struct Spent {
    wall: f64,
    cpu: f64,
}

fn main() -> Outcome {
    let mut figures = Figures::of("ingest")?;
    let program = build()?;
    let lines = conversations();
    let folder = tempfile::tempdir()?;
    for count in [lines.len().min(size(1_000_000)), size(1_000_000)] {
        let text = folder.path().join("text.jsonl");
        fs::write(&text, repeated(&lines, count)?)?;
        let rounds = if is_quick() || count > 100_000 { 1 } else { 3 };
        for round in 0..rounds {
            let db = folder.path().join(format!("{count}-{round}.db"));
            let mut ingest = Command::new(&program);
            ingest.args(["ingest", "--json"]).arg(&db).arg(&text);
            let ours = spent(&mut ingest)?;
            let plain = folder.path().join(format!("{count}-{round}-plain.db"));
            let mut import = Command::new("sqlite3");
            import.arg(&plain).args([
                "CREATE TABLE t (line TEXT);",
                ".mode ascii",
                ".separator \"\\001\" \"\\n\"",
            ]);
            import.arg(format!(".import {} t", text.display()));
            let case = format!("{count} lines");
            let wall = Figure::new(&case, "wall", ours.wall, "s");
            let cpu = Figure::new(&case, "CPU", ours.cpu, "s");
            match spent(&mut import) {
                Ok(theirs) => {
                    figures.say(wall.beside("sqlite3 .import", ours.wall / theirs.wall))?;
                    figures.say(cpu.beside("sqlite3 .import", ours.cpu / theirs.cpu))?;
                }
                Err(error) => {
                    println!("no comparison: sqlite3: {error}");
                    figures.say(wall)?;
                    figures.say(cpu)?;
                }
            }
            fs::remove_file(&db)?;
            if plain.exists() {
                fs::remove_file(&plain)?;
            }
        }
    }
    Ok(())
}

fn build() -> Outcome<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--features", "cli", "--bin", "mnemon", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .status()?;
    if !built.success() {
        return Err("the program can't be built".into());
    }
    Ok(target.join("release/mnemon"))
}

fn conversations() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/conversations.jsonl");
    match fs::read_to_string(&path) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => {
            println!("{} is not there: made-up records", path.display());
            let record = |n: usize| {
                format!(
                    r#"{{"ref": "made/{n}", "type": "semantic", "payload": {{"text": "{n:0>150}"}}, "tags": ["made"]}}"#
                )
            };
            (0..8_000).map(record).collect()
        }
    }
}

/// Each repetition is a folder of refs of its own.
fn repeated(lines: &[String], count: usize) -> Outcome<String> {
    let mut text = String::new();
    for n in 0..count {
        let (line, round) = (&lines[n % lines.len()], n / lines.len());
        match round {
            0 => writeln!(text, "{line}")?,
            _ => {
                let line = line.replace(r#"ref": ""#, &format!(r#"ref": "{round}/"#));
                writeln!(text, "{line}")?;
            }
        }
    }
    Ok(text)
}

/// What a program took, by what the system says of the children that have ended.
fn spent(command: &mut Command) -> Outcome<Spent> {
    let (before, started) = (of_children()?, Instant::now());
    let output = command.output()?;
    let wall = started.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(Spent { wall, cpu: of_children()? - before })
}

/// Seconds of CPU: the 14th and 15th fields after the name, in hundredths.
fn of_children() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat.rsplit_once(')').ok_or("stat has a name")?.1.split_whitespace().collect();
    Ok((fields[13].parse::<f64>()? + fields[14].parse::<f64>()?) / 100.0)
}
