//! A process that is stopped while it closes a store, for longer than the close may take: when it goes on, so does the
//! close.
#![cfg(all(feature = "sqlite", target_os = "linux"))]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::backend::{Answer, scripted};
use support::{Outcome, note, quietly, until};

const CHILD: &str = "MNEMON_TEST_STOPPED";
const TIMEOUT: Duration = Duration::from_secs(1);

/// Closes a store whose backend twice says something and waits for a line, and says how that went.
fn closes() -> Outcome {
    let (backend, _) = scripted(|_, _| {
        for done in ["applying", "applied"] {
            println!("{done}");
            let line = std::io::stdin().lock().lines().next();
            assert!(line.is_some_and(|line| line.is_ok()), "the parent lets it go on");
        }
        Answer::Apply
    });
    let store = quietly().close_timeout(TIMEOUT).open_with(backend)?;
    store.insert(note(1))?;
    match store.close() {
        Ok(_) => println!("closed"),
        Err(failed) => println!("not closed: {failed}"),
    }
    Ok(())
}

fn signal(child: &Child, signal: &str) -> Outcome {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err(format!("kill {signal}: {sent}").into()) }
}

fn is_stopped(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

#[test]
fn the_time_for_which_a_process_is_stopped_does_not_count() -> Outcome {
    if std::env::var_os(CHILD).is_some() {
        return closes();
    }
    let test = "the_time_for_which_a_process_is_stopped_does_not_count";
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut go_on = child.stdin.take().ok_or("it is piped")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("it is piped")?).lines();
    let mut line = |with: &str| -> Outcome<String> {
        let found = lines.find(|line| line.as_ref().map_or(true, |line| line.contains(with)));
        Ok(found.ok_or("the process has ended")??)
    };
    line("applying")?;
    signal(&child, "-STOP")?;
    until(|| is_stopped(&child));
    writeln!(go_on)?;
    // For so long it is stopped: what is waited for here is nothing but time.
    std::thread::sleep(TIMEOUT * 3 / 2);
    signal(&child, "-CONT")?;
    // Whoever closes has seen how late it is by then.
    line("applied")?;
    writeln!(go_on)?;
    let outcome = line("closed")?;
    assert_eq!(outcome, "closed");
    assert!(child.wait()?.success());
    Ok(())
}
