//! `mnemon snapshot`: the whole store in one sealed file, and back.

use crate::ingest::WITH_BAD_LINES;
use crate::interrupt;
use crate::location::Location;
use crate::progress;
use crate::text::{self, number};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueHint};
use mnemon::{ArchiveInfo, Quarantined, Snapshots, TraceStore};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Save a store as one sealed file, restore one, see which there are, or delete old ones.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 done; 2 done, but for what is named; 1 failure. Each command says more in its help."
)]
pub struct Snapshot {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Save(Save),
    Restore(Restore),
    List(List),
    Prune(Prune),
}

/// Save what a store's file holds, also while a host uses it.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 saved; 2 saved, but for rows that can't be read, which are named; 1 failure, or \
130 after Ctrl-C: nothing is saved."
)]
struct Save {
    /// The store.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    key: KeyFile,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

/// Put a snapshot in the place of everything that a store holds.
#[derive(Args)]
#[command(
    after_help = "The snapshot is verified whole before anything is changed. No host may have the store open.\n\n\
Exit codes: 0 restored; 1 failure: nothing is changed, or all but rows that the store's file refuses, which are named."
)]
struct Restore {
    /// The store; made if it is not there. Its traces and links are replaced.
    #[arg(value_hint = ValueHint::AnyPath)]
    db: Location,
    #[command(flatten)]
    folder: Folder,
    /// Which one, by the name of its file; the newest unless given.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    key: KeyFile,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

/// See which snapshots there are, the newest first, by what their first lines say.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 done; 2 done, and some can't be read, with the reason in their lines; 1 failure."
)]
struct List {
    #[command(flatten)]
    folder: Folder,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Delete the oldest snapshots.
#[derive(Args)]
#[command(
    after_help = "What is not a snapshot by its name and its first line is neither counted nor touched.\n\n\
Exit codes: 0 done; 1 failure."
)]
struct Prune {
    #[command(flatten)]
    folder: Folder,
    /// How many of the newest stay.
    #[arg(long, value_name = "N")]
    keep: usize,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Folder {
    /// The folder of the snapshots.
    #[arg(long)]
    dir: PathBuf,
}

#[derive(Args)]
struct KeyFile {
    /// A file with an Ed25519 secret, 32 bytes or 64 hexadecimal digits: what is saved is signed with it, and
    /// what it has not signed is not restored.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// A snapshot, for programs.
#[derive(Serialize)]
struct InfoReport {
    name: String,
    path: String,
    taken_at: String,
    traces: Option<u64>,
    links: Option<u64>,
    watermark: Option<u64>,
    bytes: Option<u64>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Restored {
    name: String,
    traces: u64,
    links: u64,
    traces_before: u64,
    links_before: u64,
}

#[derive(Serialize)]
struct Pruned {
    deleted: Vec<String>,
    kept: u64,
}

impl Snapshot {
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Save(save) => save.run(),
            Command::Restore(restore) => restore.run(),
            Command::List(list) => list.run(),
            Command::Prune(prune) => prune.run(),
        }
    }
}

impl Save {
    fn run(self) -> Result<ExitCode> {
        let snapshots = self.key.of(&self.folder)?;
        let read = self.db.detached(TraceStore::builder());
        let (bar, tell) = progress::follow();
        let snapshots = snapshots.on_progress(tell);
        let saved = read.and_then(|store| {
            interrupt::catch()?;
            let info = store.save_snapshot(&snapshots)?;
            Ok((info, store.stats().quarantined))
        });
        bar.finish_and_clear();
        let (info, quarantined) = saved?;
        self.db.warn_of_spill();
        text::warn_of_quarantined(&quarantined);
        text::print(&one(&info))?;
        if self.json {
            text::print_json(&InfoReport::of(&info))?;
        }
        Ok(if quarantined.is_empty() { ExitCode::SUCCESS } else { WITH_BAD_LINES.into() })
    }
}

impl Restore {
    fn run(self) -> Result<ExitCode> {
        let snapshots = self.key.of(&self.folder)?;
        let path = self.path(&snapshots)?;
        let (restored, refused) = progress::while_spinning("restoring", || self.restore(&snapshots, &path))?;
        text::warn_of_quarantined(&refused);
        text::print(&restored.table())?;
        if self.json {
            text::print_json(&restored)?;
        }
        Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn path(&self, snapshots: &Snapshots) -> Result<PathBuf> {
        if let Some(name) = &self.name {
            return Ok(self.folder.dir.join(name));
        }
        let newest = snapshots.list()?.into_iter().next();
        newest.map(|info| info.path).with_context(|| {
            format!(
                "there is no snapshot in {}: save one first, or give another folder",
                self.folder.dir.display()
            )
        })
    }

    /// And the rows that the file did not take.
    fn restore(&self, snapshots: &Snapshots, path: &Path) -> Result<(Restored, Vec<Quarantined>)> {
        if !self.db.is_there()? {
            // A snapshot that is refused must not leave an empty store.
            TraceStore::in_memory().restore_snapshot(snapshots, path)?;
        }
        let store = self.db.open(TraceStore::builder())?;
        let unreadable = store.stats().quarantined;
        let before = (store.len() as u64, store.link_count() as u64);
        let restored = store.restore_snapshot(snapshots, path).and_then(|traces| {
            store.flush()?;
            Ok((traces as u64, store.link_count() as u64))
        });
        let mut refused = store.stats().quarantined;
        refused.retain(|row| !unreadable.contains(row));
        let closed = store.close();
        let (traces, links) = restored?;
        closed.map_err(mnemon::Error::from)?;
        let restored =
            Restored { name: name(path), traces, links, traces_before: before.0, links_before: before.1 };
        Ok((restored, refused))
    }
}

impl List {
    fn run(self) -> Result<ExitCode> {
        let found = Snapshots::in_folder(&self.folder.dir).list()?;
        match self.json {
            true => found.iter().try_for_each(|info| text::print_json(&InfoReport::of(info)))?,
            false if found.is_empty() => {
                text::print(&format!("there is no snapshot in {}", self.folder.dir.display()))?;
            }
            false => text::print(&list(&found))?,
        }
        Ok(if found.iter().all(|info| info.error.is_none()) {
            ExitCode::SUCCESS
        } else {
            WITH_BAD_LINES.into()
        })
    }
}

impl Prune {
    fn run(self) -> Result<ExitCode> {
        let snapshots = Snapshots::in_folder(&self.folder.dir);
        let deleted: Vec<_> = snapshots.prune(self.keep)?.iter().map(|path| name(path)).collect();
        let kept = snapshots.list()?.iter().filter(|info| info.error.is_none()).count() as u64;
        for name in &deleted {
            text::print(&format!("deleted {name}"))?;
        }
        text::print(&format!("{} deleted, {} kept", number(deleted.len() as u64), number(kept)))?;
        if self.json {
            text::print_json(&Pruned { deleted, kept })?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl KeyFile {
    fn of(&self, folder: &Folder) -> Result<Snapshots> {
        let snapshots = Snapshots::in_folder(&folder.dir);
        let Some(file) = &self.key else { return Ok(snapshots) };
        let bytes =
            fs::read(file).with_context(|| format!("{} can't be read: give a key's file", file.display()))?;
        match secret(&bytes) {
            Some(secret) => Ok(snapshots.signed_with(secret)),
            None => bail!(
                "{} is no key: give 32 bytes from a source fit for keys, or 64 hexadecimal digits",
                file.display()
            ),
        }
    }
}

fn secret(bytes: &[u8]) -> Option<[u8; 32]> {
    if let Ok(secret) = bytes.try_into() {
        return Some(secret);
    }
    let text = str::from_utf8(bytes).ok()?.trim();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok());
    let bytes: Vec<_> = bytes.collect::<Option<_>>()?;
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}

impl InfoReport {
    fn of(info: &ArchiveInfo) -> Self {
        let read = |number| info.error.is_none().then_some(number);
        Self {
            name: name(&info.path),
            path: info.path.to_string_lossy().into_owned(),
            taken_at: format!("{:.6}", info.taken_at),
            traces: read(info.traces),
            links: read(info.links),
            watermark: read(info.watermark),
            bytes: fs::metadata(&info.path).ok().map(|file| file.len()),
            error: info.error.as_ref().map(|error| error.to_string()),
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn one(info: &ArchiveInfo) -> String {
    let report = InfoReport::of(info);
    let count = |count: Option<u64>| count.map_or(String::new(), number);
    let table = text::table(&[
        ["traces".to_owned(), count(report.traces)],
        ["links".to_owned(), count(report.links)],
        ["bytes".to_owned(), count(report.bytes)],
    ]);
    format!("saved {}\n\n{table}", info.path.display())
}

fn list(found: &[ArchiveInfo]) -> String {
    let mut rows = vec![["snapshot", "traces", "links", "bytes"].map(str::to_owned)];
    let mut unreadable = Vec::new();
    for info in found {
        let report = InfoReport::of(info);
        let count = |count: Option<u64>| count.map_or("?".to_owned(), number);
        rows.push([report.name, count(report.traces), count(report.links), count(report.bytes)]);
        unreadable.extend(report.error.map(|error| text::harmless(&error).into_owned()));
    }
    let mut lines = vec![text::table(&rows)];
    if !unreadable.is_empty() {
        lines.push(String::new());
        lines.extend(unreadable);
    }
    lines.join("\n")
}

impl Restored {
    fn table(&self) -> String {
        let row = |name: &str, before, now| [name.to_owned(), number(before), number(now)];
        let table = text::table(&[
            ["", "before", "now"].map(str::to_owned),
            row("traces", self.traces_before, self.traces),
            row("links", self.links_before, self.links),
        ]);
        format!("restored {}\n\n{table}", self.name)
    }
}
