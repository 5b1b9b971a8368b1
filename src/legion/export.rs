//! Exports a store to a database of the original.

use super::cells::{Time, as_object};
use super::{ASSOCIATIONS, PAIR_COLUMNS, Report, TRACE_COLUMNS, TRACES, finding};
use crate::backend::sqlite::{Partial, free_path, while_doing};
use crate::error::{Error, Result};
use crate::memory::constants::MAX_ASSOCIATED;
use crate::progress::{Progress, Watch};
use crate::store::TraceStore;
use crate::trace::{Link, Trace, TraceId};
use rusqlite::{Connection, Transaction, params};
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The tables and indexes as the original's own library creates them.
const SCHEMA: &str = "
CREATE TABLE `memory_traces` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    `trace_id` varchar(255) NOT NULL UNIQUE, `trace_type` varchar(255) NOT NULL, `content` text NOT NULL,
    `strength` double precision DEFAULT (1.0) NOT NULL, `peak_strength` double precision DEFAULT (1.0) NOT NULL,
    `base_decay_rate` double precision DEFAULT (0.02) NOT NULL, `emotional_valence` text,
    `emotional_intensity` double precision DEFAULT (0.0), `domain_tags` text,
    `origin` varchar(255) DEFAULT ('direct_experience'), `created_at` timestamp NOT NULL,
    `last_reinforced` timestamp, `last_decayed` timestamp, `reinforcement_count` integer DEFAULT (0),
    `confidence` double precision DEFAULT (0.5), `storage_tier` varchar(255) DEFAULT ('hot'),
    `partition_id` varchar(255), `associated_traces` text, `parent_id` varchar(255), `child_ids` text,
    `unresolved` boolean DEFAULT (0), `consolidation_candidate` boolean DEFAULT (0));
CREATE INDEX `memory_traces_trace_id_index` ON `memory_traces` (`trace_id`);
CREATE INDEX `memory_traces_trace_type_index` ON `memory_traces` (`trace_type`);
CREATE INDEX `memory_traces_storage_tier_index` ON `memory_traces` (`storage_tier`);
CREATE INDEX `memory_traces_partition_id_index` ON `memory_traces` (`partition_id`);
CREATE INDEX `memory_traces_unresolved_index` ON `memory_traces` (`unresolved`);
CREATE TABLE `memory_associations` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    `trace_id_a` varchar(255) NOT NULL, `trace_id_b` varchar(255) NOT NULL,
    `coactivation_count` integer DEFAULT (1) NOT NULL, `partition_id` varchar(255), UNIQUE (`trace_id_a`, `trace_id_b`));
CREATE INDEX `memory_associations_trace_id_a_index` ON `memory_associations` (`trace_id_a`);
CREATE INDEX `memory_associations_trace_id_b_index` ON `memory_associations` (`trace_id_b`);
CREATE INDEX `memory_associations_partition_id_index` ON `memory_associations` (`partition_id`);";

/// Writes the content of the store into a new database of the original, which only its owner can access. Numbers and
/// times are written as stored; a neutral valence, an empty list of tags and a missing parent as NULL; as associated
/// traces at most the 20 with the highest counts.
///
/// Embeddings, source agents, key ids, pins, and revisions above 1 are not exported, and a payload that is neither an
/// object nor text is read back as text: each of these is reported as a [`Finding`](crate::Finding). The times of links are not
/// exported.
///
/// The store is read during the export: if other threads write to it, export a
/// [detached](crate::StoreBuilder::detached) store instead.
///
/// Reports its progress from time to time, and ends when the callback returns [`Break`](ControlFlow::Break): no file is
/// left then. [`Progress::ignore`] is a callback that does nothing.
///
/// # Errors
///
/// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if there is a file at `path`, or one that SQLite would take for
/// its WAL: that file is left unchanged. [`Interrupted`](crate::ErrorKind::Interrupted) if the callback ended it. Otherwise the error says why the database could not be written, and no file
/// is left, unless the error says that only its folder could not be synced.
pub fn export(
    store: &TraceStore,
    path: impl AsRef<Path>,
    on_progress: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<Report> {
    export_watched(store, path.as_ref(), &Watch::new(on_progress))
}

/// The database is there when it is whole.
fn export_watched(store: &TraceStore, path: &Path, watch: &Watch) -> Result<Report> {
    let to = free_path(path)?;
    let partial = Partial::make(&to)?;
    let exported = write(store, partial.path(), watch).map_err(|failed| match failed {
        Failed::Database(error) => while_doing("writing", path, error).into(),
        Failed::Interrupted(error) => error,
    })?;
    partial.put(&to)?;
    Ok(exported)
}

enum Failed {
    Database(rusqlite::Error),
    Interrupted(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Database(error)
    }
}

fn write(store: &TraceStore, path: &Path, watch: &Watch) -> Result<Report, Failed> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    let mut traces: Vec<_> = store.iter().collect();
    traces.sort_by_key(|trace| (trace.created_at(), trace.id()));
    let rows = traces.iter().zip(1..).map(|(trace, row)| (trace.id(), row)).collect();
    let total = (traces.len() + store.link_count()) as u64;
    let mut writing = Writing { store, rows, exported: Report::default(), watch, total };
    writing.traces(&transaction, &traces)?;
    writing.pairs(&transaction, &traces)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(writing.exported)
}

struct Writing<'s> {
    store: &'s TraceStore,
    rows: HashMap<TraceId, i64>,
    exported: Report,
    watch: &'s Watch,
    total: u64,
}

impl Writing<'_> {
    /// Called after each row of a trace and each link.
    fn tell(&self) -> Result<(), Failed> {
        /// Number of them between two reports of progress.
        const OFTEN: u64 = 256;
        let done = (self.exported.traces + self.exported.links) as u64;
        if done != 1 && !done.is_multiple_of(OFTEN) {
            return Ok(());
        }
        self.watch.tell("saving rows", done, self.total).map_err(Failed::Interrupted)
    }

    fn traces(&mut self, transaction: &Transaction<'_>, traces: &[Arc<Trace>]) -> Result<(), Failed> {
        let mut insert = transaction.prepare(&insert(TRACES, &TRACE_COLUMNS))?;
        for (trace, row) in traces.iter().zip(1..) {
            insert.execute(params![
                row,
                trace.id().to_string(),
                trace.trace_type().as_str(),
                content(trace),
                trace.strength(),
                trace.peak_strength(),
                trace.base_decay_rate(),
                (trace.emotional_valence() != 0.0).then(|| trace.emotional_valence().to_string()),
                trace.emotional_intensity(),
                tags(trace),
                trace.origin().as_str(),
                Time(trace.created_at()).to_string(),
                Time(trace.last_reinforced()).to_string(),
                Time(trace.last_decayed()).to_string(),
                trace.reinforcement_count(),
                trace.confidence(),
                trace.tier().as_str(),
                trace.partition(),
                ids(self.associated(trace.id())),
                trace.parent().map(|parent| parent.to_string()),
                ids(trace.children().iter().copied()),
                trace.is_unresolved(),
                trace.is_consolidation_candidate(),
            ])?;
            let lost = lost(trace).map(|(column, reason)| finding(TRACES, row, column, reason));
            self.exported.findings.extend(lost);
            self.exported.traces += 1;
            self.tell()?;
        }
        Ok(())
    }

    /// Returns the associated traces, in the order of their rows.
    fn associated(&self, id: TraceId) -> Vec<TraceId> {
        let mut links = self.links(id);
        links.retain(Link::is_associated);
        links.sort_by_key(|link| (Reverse((link.count(), link.last_at())), link.ends()));
        links.truncate(MAX_ASSOCIATED);
        let mut others: Vec<_> = links.iter().filter_map(|link| link.other(id)).collect();
        others.sort_by_key(|id| self.rows.get(id));
        others
    }

    /// Returns the links to traces that are exported.
    fn links(&self, id: TraceId) -> Vec<Link> {
        let mut links = self.store.links(id);
        links.retain(|link| link.other(id).is_some_and(|other| self.rows.contains_key(&other)));
        links
    }

    fn pairs(&mut self, transaction: &Transaction<'_>, traces: &[Arc<Trace>]) -> Result<(), Failed> {
        let mut insert = transaction.prepare(&insert(ASSOCIATIONS, &PAIR_COLUMNS))?;
        let mut rows = 1..;
        for trace in traces {
            for link in self.links(trace.id()) {
                let (a, b) = (trace.id(), link.other(trace.id()));
                // Writes each link once, from the trace with the smaller id, in both directions.
                let Some(b) = b.filter(|&b| a < b) else { continue };
                let partition = |id| self.store.get(id).map(|trace| trace.partition().to_owned());
                for (from, to) in [(a, b), (b, a)] {
                    insert.execute(params![
                        rows.next(),
                        from.to_string(),
                        to.to_string(),
                        link.count(),
                        partition(from),
                    ])?;
                }
                self.exported.links += 1;
                self.tell()?;
            }
        }
        Ok(())
    }
}

fn insert(table: &str, columns: &[&str]) -> String {
    let values = ", ?".repeat(columns.len());
    format!("INSERT INTO {table} (id, {}) VALUES (?{values})", columns.join(", "))
}

/// Returns an object as it is, text without its quotes, and anything else as JSON.
fn content(trace: &Trace) -> Cow<'_, str> {
    match trace.payload().deserialize::<String>() {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(trace.payload().as_str()),
    }
}

fn tags(trace: &Trace) -> Option<String> {
    let tags: Vec<Value> = trace.tags().map(Value::from).collect();
    (!tags.is_empty()).then(|| Value::from(tags).to_string())
}

fn ids(ids: impl IntoIterator<Item = TraceId>) -> String {
    Value::from_iter(ids.into_iter().map(|id| id.to_string())).to_string()
}

/// Returns the fields that the original has no column for, or would read as something else.
fn lost(trace: &Trace) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
    let payload = trace.payload().as_str().trim_start();
    let read_back = match payload.as_bytes().first() {
        Some(b'{') => None,
        Some(b'"') => {
            let looks_like_one = as_object(&content(trace)).is_some();
            looks_like_one.then_some("text that the original takes for the object that it looks like")
        }
        _ => Some("neither an object nor text: the original takes it for text"),
    };
    let dropped =
        |is: bool, field| is.then_some((field, Cow::Borrowed("there is no column for it: left out")));
    let revision = trace.revision();
    [
        read_back.map(|reason| ("content", Cow::Borrowed(reason))),
        dropped(trace.embedding().is_some(), "embedding"),
        dropped(trace.source_agent().is_some(), "source_agent"),
        dropped(trace.encryption_key_id().is_some(), "encryption_key_id"),
        dropped(trace.is_pinned(), "pinned"),
        dropped(trace.valid_until().is_some(), "valid_until"),
        dropped(trace.superseded_by().is_some(), "superseded_by"),
        (revision > 1)
            .then(|| ("revision", format!("there is no column for it: {revision} begins at 1 again").into())),
    ]
    .into_iter()
    .flatten()
}
