//! `mnemon`, the program for operators: put traces into a store, look at them, and see that it keeps up
//! with a busy host and loses nothing.
//!
//! One module a subcommand. Tables go to standard output, progress and warnings to standard error; with
//! `--json` the last line of standard output is one JSON object, or each line is where there are many. Commands that
//! only read see a store through `seen`.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backup;
mod columns;
mod compact;
mod completions;
mod copy;
mod demo;
mod edit;
mod exchange;
mod foreign;
mod get;
mod host;
mod ingest;
mod interrupt;
mod json;
mod legion;
mod line_error;
mod lines;
mod list;
mod location;
mod man;
mod opened_store;
mod progress;
mod recall;
mod secrets;
mod snapshot;
mod spaces;
mod stat;
mod text;
mod times;
mod top;
mod trace;
mod verify;
mod walk;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// A store of memory traces for agents: try it, fill it, look at it.
#[derive(Parser)]
#[command(name = "mnemon", version, max_term_width = 100, after_help = format!("{STORE}\n\n{EXIT_CODES}"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const STORE: &str = "A store is an SQLite file, or a space of a PostgreSQL database: \
     postgres://user:password@host/database?space=NAME, where the space is named default unless a name is given.";

const EXIT_CODES: &str =
    "Exit codes: 0 all is well, 1 failure, 2 done, but with bad lines or findings; 130 after Ctrl-C.";

/// The exit codes of a command that finds nothing wrong.
const DONE: &str = "Exit codes: 0 done, 1 failure.";

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Ingest(ingest::Ingest),
    Host(host::Host),
    Stat(stat::Stat),
    Get(get::Get),
    List(list::List),
    Walk(walk::Walk),
    Recall(recall::Recall),
    Put(edit::Put),
    Set(edit::Set),
    Tag(edit::Tag),
    Link(edit::Link),
    Rm(edit::Rm),
    Top(top::Top),
    Completions(completions::Completions),
    Man(man::Man),
    Export(exchange::Export),
    Import(exchange::Import),
    Copy(copy::Copy),
    Backup(backup::Backup),
    Verify(verify::Verify),
    Compact(compact::Compact),
    Snapshot(snapshot::Snapshot),
    Spaces(spaces::Spaces),
    Release(spaces::Release),
    ImportLegion(legion::ImportLegion),
    ExportLegion(legion::ExportLegion),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse_from(store_first(std::env::args_os().collect())) {
        Ok(cli) => cli.command,
        Err(usage) => return explain(&usage),
    };
    let done = match command {
        Command::Demo(demo) => demo.run(),
        Command::Ingest(ingest) => ingest.run(),
        Command::Host(host) => host.run(),
        Command::Stat(stat) => stat.run(),
        Command::Get(get) => get.run(),
        Command::List(list) => list.run(),
        Command::Walk(walk) => walk.run(),
        Command::Recall(recall) => recall.run(),
        Command::Put(put) => put.run(),
        Command::Set(set) => set.run(),
        Command::Tag(tag) => tag.run(),
        Command::Link(link) => link.run(),
        Command::Rm(rm) => rm.run(),
        Command::Top(top) => top.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Export(export) => export.run(),
        Command::Import(import) => import.run(),
        Command::Copy(copy) => copy.run(),
        Command::Backup(backup) => backup.run(),
        Command::Verify(verify) => verify.run(),
        Command::Compact(compact) => compact.run(),
        Command::Snapshot(snapshot) => snapshot.run(),
        Command::Spaces(spaces) => spaces.run(),
        Command::Release(release) => release.run(),
        Command::ImportLegion(import) => import.run(),
        Command::ExportLegion(export) => export.run(),
    };
    done.unwrap_or_else(|error| {
        text::fail(&error);
        interrupt::or(ExitCode::FAILURE)
    })
}

/// Prints help, the version, or what is wrong with the command line. Clap's own exit code for the latter
/// is 2, which stands for bad lines here.
fn explain(usage: &clap::Error) -> ExitCode {
    if usage.use_stderr() {
        write!(anstream::stderr(), "{}", secrets::hidden(usage.render().ansi().to_string())).ok();
        return ExitCode::FAILURE;
    }
    if usage.print().is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// `ingest FILE --db STORE`, as it was before, is `ingest STORE FILE`. So is it with each command whose store was an
/// option.
fn store_first(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let words = match arguments.get(1).and_then(|word| word.to_str()) {
        Some("ingest" | "host" | "import" | "import-legion" | "export-legion") => 2,
        Some("snapshot") if arguments.get(2).is_some_and(|word| word == "restore") => 3,
        _ => return arguments,
    };
    if let Some(at) = arguments.iter().position(|word| word == "--db").filter(|at| at + 1 < arguments.len()) {
        let store = arguments.remove(at + 1);
        arguments.remove(at);
        arguments.insert(words, store);
    }
    arguments
}
