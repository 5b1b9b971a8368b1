//! `mnemon`, the program for operators: put traces into a store, look at one, and see that it keeps up
//! with a busy host and loses nothing.
//!
//! One module a subcommand. Tables go to standard output, progress and warnings to standard error; with
//! `--json` the last line of standard output is one JSON object.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backup;
mod demo;
mod exchange;
mod host;
mod ingest;
mod legion;
mod lines;
mod problem;
mod snapshot;
mod stat;
mod text;
mod verify;

use clap::{ColorChoice, Parser, Subcommand};
use std::process::ExitCode;

/// A store of memory traces for agents: try it, fill it, look at it.
#[derive(Parser)]
#[command(name = "mnemon", version, color = ColorChoice::Never, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all is well, 1 failure, 2 done, but with bad lines or findings.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Ingest(ingest::Ingest),
    Host(host::Host),
    Stat(stat::Stat),
    Export(exchange::Export),
    Import(exchange::Import),
    Backup(backup::Backup),
    Verify(verify::Verify),
    Snapshot(snapshot::Snapshot),
    ImportLegion(legion::ImportLegion),
    ExportLegion(legion::ExportLegion),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(usage) => return explain(&usage),
    };
    let done = match command {
        Command::Demo(demo) => demo.run(),
        Command::Ingest(ingest) => ingest.run(),
        Command::Host(host) => host.run(),
        Command::Stat(stat) => stat.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Backup(backup) => backup.run(),
        Command::Verify(verify) => verify.run(),
        Command::Snapshot(snapshot) => snapshot.run(),
        Command::ImportLegion(import) => import.run(),
        Command::ExportLegion(export) => export.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Prints help, the version, or what is wrong with the command line. Clap's own exit code for the latter
/// is 2, which stands for bad lines here.
fn explain(usage: &clap::Error) -> ExitCode {
    let printed = usage.print();
    match usage.use_stderr() || printed.is_err() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
