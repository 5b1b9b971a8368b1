//! `mnemon copy`: a store, whole, from a file into a space of a database or back, as of one cut.

use crate::exchange::{self, MAX_PAYLOAD_BYTES};
use crate::ingest::WITH_BAD_LINES;
use crate::interrupt;
use crate::location::Location;
use crate::progress;
use crate::text::{self, count, number};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueHint};
use mnemon::{Link, NewTrace, TraceStore};
use serde::Serialize;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

/// Copy a store into a new one: a file, a space of a PostgreSQL database, or one into the other.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Copy {
    /// The store; a host may have it open.
    #[arg(value_hint = ValueHint::AnyPath)]
    from: Location,
    /// The copy; made if it is not there. It must hold nothing, and no host may have it open.
    #[arg(value_hint = ValueHint::AnyPath)]
    to: Location,
    /// End with one JSON object.
    #[arg(long)]
    json: bool,
}

const EXIT_CODES: &str = "Copied are all traces and links that the store holds at one cut, with every field: of a store \
     in use, what was flushed by then. They are written as one cut, read again, and compared.\n\n\
     Exit codes: 0 the copy is there and the same; 2 it is there, but for rows that can't be read, which are named; \
     1 failure; 130 after Ctrl-C, and nothing is copied.";

#[derive(Serialize)]
struct Copied {
    traces: u64,
    links: u64,
    left_out: u64,
}

impl Copy {
    pub fn run(self) -> Result<ExitCode> {
        interrupt::catch()?;
        let builder = TraceStore::builder().max_payload_bytes(MAX_PAYLOAD_BYTES);
        let from = ManuallyDrop::new(self.from.detached(builder.clone())?);
        let unreadable = from.stats().quarantined;
        text::warn_of_quarantined(&unreadable);
        self.from.warn_of_spill();
        interrupt::check(NOTHING)?;
        let to = exchange::open(&self.to)?;
        if !(to.is_empty() && to.stats().quarantined.is_empty()) {
            let held = count(to.len() as u64, "trace");
            to.close().map_err(mnemon::Error::from)?;
            bail!("{} holds {held} already: copy into a new store, or merge with `mnemon import`", self.to);
        }
        if let Err(error) = copy(&from, &to) {
            // Closed or dropped it would write the part that is in memory.
            std::mem::forget(to);
            return Err(error);
        }
        let refused = progress::while_spinning("writing", || to.flush().map(|_| to.stats().quarantined));
        let closed = to.close().map_err(mnemon::Error::from);
        let refused = refused?;
        text::warn_of_quarantined(&refused);
        closed?;
        ensure!(refused.is_empty(), "{} does not take {}", self.to, count(refused.len() as u64, "row"));
        let copy = ManuallyDrop::new(self.to.detached(builder)?);
        let (traces, links) = progress::while_spinning("comparing", || compare(&from, &copy))
            .with_context(|| format!("{} is not the same as {}", self.to, self.from))?;
        text::print(&text::table(&[
            ["traces".to_owned(), number(traces)],
            ["links".to_owned(), number(links)],
        ]))?;
        if self.json {
            text::print_json(&Copied { traces, links, left_out: unreadable.len() as u64 })?;
        }
        Ok(if unreadable.is_empty() { ExitCode::SUCCESS } else { WITH_BAD_LINES.into() })
    }
}

/// After Ctrl-C.
const NOTHING: &str = "nothing is copied";

/// Into memory.
fn copy(from: &TraceStore, to: &TraceStore) -> Result<()> {
    let bar = progress::bar(from.len() + from.link_count(), "copying");
    for trace in bar.wrap_iter(from.iter()) {
        interrupt::check(NOTHING)?;
        let id = trace.id();
        let stored = to.insert(NewTrace::from((*trace).clone()));
        stored.with_context(|| format!("nothing is copied: trace {id} can't be stored there"))?;
    }
    for link in bar.wrap_iter(links(from)) {
        interrupt::check(NOTHING)?;
        let (a, b) = link.ends();
        let stored = to.put_link(link);
        stored
            .with_context(|| format!("nothing is copied: the link of {a} and {b} can't be stored there"))?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Each link once.
fn links(store: &TraceStore) -> impl Iterator<Item = Link> + '_ {
    store.iter().flat_map(|trace| {
        let id = trace.id();
        store.links(id).into_iter().filter(move |link| link.ends().0 == id)
    })
}

/// Returns the numbers of traces and links, if both hold the same.
fn compare(from: &TraceStore, copy: &TraceStore) -> Result<(u64, u64)> {
    for trace in from.iter() {
        ensure!(copy.get(trace.id()).is_some_and(|copied| copied == trace), "trace {} differs", trace.id());
    }
    for link in links(from) {
        let (a, b) = link.ends();
        ensure!(copy.link(a, b) == Some(link), "the link of {a} and {b} differs");
    }
    let counts = |store: &TraceStore| (store.len() as u64, store.link_count() as u64);
    let ((traces, links), copied) = (counts(from), counts(copy));
    ensure!((traces, links) == copied, "it holds {} traces and {} links", copied.0, copied.1);
    Ok((traces, links))
}
