//! The programs that the tests start, and the user who runs them.

use harness::Outcome;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user of Debian's packages. PostgreSQL and PgBouncer refuse to be run by root.
const UNPRIVILEGED: &str = "postgres";

/// Returns the folder of the server's programs, of the newest version.
pub fn server_programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by(|a, b| b.cmp(a));
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let programs = ["initdb", "pg_ctl", "pg_basebackup"];
    folders.into_iter().find(|folder| programs.iter().all(|program| folder.join(program).exists()))
}

/// Returns the path of a program, in `PATH` or among those of the system.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|program| program.exists())
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Gives a folder to the unprivileged user, if this process is root.
pub fn give_away(folder: &Path) -> Outcome {
    if is_root() {
        run(Command::new("chown").arg(UNPRIVILEGED).arg(folder))?;
    }
    Ok(())
}

/// A command that runs a program as the unprivileged user, in a folder of that user's.
pub fn unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", UNPRIVILEGED, "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder);
    command
}

/// Runs a command to its end and returns what it printed; fails with what it complained of.
pub fn run(command: &mut Command) -> Outcome<String> {
    let Output { status, stdout, stderr } = command.output()?;
    if !status.success() {
        let [stdout, stderr] = [&stdout, &stderr].map(|text| String::from_utf8_lossy(text));
        return Err(format!("{command:?}: {status}\n{stdout}{stderr}").into());
    }
    Ok(String::from_utf8(stdout)?.trim_end().to_owned())
}

/// Sends a signal, such as `KILL` or `STOP`, to a process.
pub fn signal(name: &str, process: u32) -> Outcome {
    run(Command::new("sh").args(["-c", &format!("kill -{name} {process}")])).map(drop)
}

/// Returns a port of this machine that nobody listens on.
pub fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Says on standard error that something is not tested, and why. Fails where `MNEMON_POSTGRES_REQUIRED` is set, as CI
/// does once it has installed everything.
pub fn skip(why: &str) -> Outcome {
    if std::env::var_os("MNEMON_POSTGRES_REQUIRED").is_some() {
        return Err(why.into());
    }
    eprintln!("skipped: {why}");
    Ok(())
}
