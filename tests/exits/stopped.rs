//! A process that is stopped while it closes a store, for longer than the close may take: when it goes on, so does the
//! close.
#![cfg(all(feature = "sqlite", target_os = "linux"))]

use harness::backend::{Answer, scripted};
use harness::process::own_process;
use harness::{Outcome, manual_flush, note, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(1);

/// Closes a store whose backend twice prints a word and waits for a line; returns how that went.
fn close() -> Outcome<String> {
    let (backend, _) = scripted(|_| {
        for done in ["applying", "applied"] {
            println!("{done}");
            let line = std::io::stdin().lock().lines().next();
            assert!(line.is_some_and(|line| line.is_ok()), "the parent lets it go on");
        }
        Answer::Apply
    });
    let store = manual_flush().close_timeout(TIMEOUT).open_with(backend)?;
    store.insert(note(1))?;
    Ok(match store.close() {
        Ok(_) => "closed".to_owned(),
        Err(failed) => format!("not closed: {failed}"),
    })
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
fn stopped_time_does_not_count() -> Outcome {
    let Some(mut command) = own_process(|| {
        println!("{}", close()?);
        Ok(())
    })?
    else {
        return Ok(());
    };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut go_on = child.stdin.take().ok_or("it is piped")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("it is piped")?).lines();
    let mut line = |with: &str| -> Outcome<String> {
        let found = lines.find(|line| line.as_ref().map_or(true, |line| line.contains(with)));
        Ok(found.ok_or("the process has ended")??)
    };
    line("applying")?;
    signal(&child, "-STOP")?;
    wait_until(|| is_stopped(&child));
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
