//! Tests that need a process of their own: their program runs once more, for that one test.

use crate::Outcome;
use std::any::type_name;
use std::process::Command;

/// Names the test which a process was started for.
const ALONE: &str = "MNEMON_TEST_ALONE";

/// The name of the test in which this closure is.
fn test_around<F>() -> &'static str {
    let path = type_name::<F>();
    let path = path.split_once("::").map_or(path, |(_program, path)| path);
    path.rsplit_once("::").map_or(path, |(test, _closure)| test)
}

/// Runs `child` in a process that was started for the test which this closure is in; elsewhere returns the command
/// that starts such a process.
pub fn own_process<F: FnOnce() -> Outcome>(child: F) -> Outcome<Option<Command>> {
    own_process_for::<F>(child)
}

/// Runs a test in a process of its own, where what it sets for the whole process, or measures of it, is its own too.
pub fn alone<F: FnOnce() -> Outcome>(test: F) -> Outcome {
    alone_for::<F>(test)
}

/// Like [`alone`], for the test in which the closure of type `F` is.
pub fn alone_for<F>(test: impl FnOnce() -> Outcome) -> Outcome {
    let Some(mut command) = own_process_for::<F>(test)? else { return Ok(()) };
    let output = command.output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && stdout.contains("1 passed") {
        Ok(())
    } else {
        Err(format!("{}\n{stdout}\n{stderr}", output.status).into())
    }
}

fn own_process_for<F>(child: impl FnOnce() -> Outcome) -> Outcome<Option<Command>> {
    let test = test_around::<F>();
    if std::env::var_os(ALONE).is_some_and(|started_for| started_for == test) {
        return child().map(|()| None);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, test);
    Ok(Some(command))
}
