//! Verifying a store's file: its pages, its tables, every row, and the files beside it.
//!
//! The whole file is read in one transaction, so that writes by a host in the meantime do not appear as damage.
//! Nothing in the file is executed: neither its triggers and views, nor the checks declared by its tables, which are
//! made here instead. Memory is bounded by the longest row and by the number of findings listed.

use super::error::{kind_of, while_doing};
use super::finding::Finding;
use super::{file_identity, history, links, lock, look, path, rows_read, schema};
use crate::backend::{MAX_WATERMARK, RowNumber, Stored, Unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::{Progress, Watch};
use crate::trace::{Link, TraceId};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ffi};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Number of findings that are listed; the others are only counted.
const LISTED: usize = 1_000;

/// Result of verifying a store's file; from [`verify`] and [`backup`](crate::backup).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct VerifyReport {
    /// The version of the schema; 0 if it can't be read.
    pub schema_version: i64,
    /// The generation up to which everything is in the file; 0 if it can't be read.
    pub watermark: u64,
    /// Number of bytes in the database file.
    pub bytes: u64,
    /// Id of the process that has the file open as a store.
    pub in_use_by: Option<u32>,
    /// Number of rows that are sound traces.
    pub traces: u64,
    /// Number of rows that are sound links.
    pub links: u64,
    /// Findings, at most 1,000.
    pub findings: Vec<Finding>,
    /// Number of findings that are not listed.
    pub unlisted: u64,
}

impl VerifyReport {
    /// Whether there are no findings.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.unlisted == 0
    }

    fn find(&mut self, part: &'static str, reason: impl Into<Cow<'static, str>>) {
        self.list(Finding { part, row: None, id: None, column: None, reason: reason.into() });
    }

    fn list(&mut self, finding: Finding) {
        if self.findings.len() < LISTED { self.findings.push(finding) } else { self.unlisted += 1 }
    }
}

/// The parts of a store: see [`Finding::part`].
pub(super) const FILE: &str = "file";
pub(super) const SCHEMA: &str = "schema";
const STORE: &str = "store";
const TRACES: &str = "traces";
const HISTORY: &str = "history";
const LINKS: &str = "links";
const BESIDE: &str = "beside";

/// Checks a store's file for damage, as of one moment, and reports everything that it finds: in the pages and indexes
/// (SQLite's integrity check); in the declarations of the tables (a table with a different declaration is named, and
/// not read); in each row (that it is a trace or a link as [`open`](crate::TraceStore::open) accepts it, that its
/// payload is JSON, that both traces of a link exist); and files beside it that contain changes a store could not
/// write, or that a store has quarantined.
///
/// Works while a host has the store open, and changes nothing. The cost is several passes over the file, and memory
/// for the longest row; the emptying of a host's WAL waits until it ends.
///
/// Reports its progress, and ends when the callback returns [`Break`](ControlFlow::Break). The number of pages to check
/// is not reported: their [`total`](Progress::total) is 0. [`Progress::ignore`] is a callback that does nothing.
///
/// ```
/// use mnemon::{NewTrace, Progress, TraceStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("memory.db");
/// let store = TraceStore::open(&path)?;
/// store.insert(NewTrace::semantic(serde_json::json!("the light is 3.2 m above the water")))?;
/// store.close()?;
///
/// let report = mnemon::verify(&path, Progress::ignore)?;
/// for finding in &report.findings {
///     eprintln!("{finding}");
/// }
/// assert!(report.is_sound() && report.traces == 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// An error means that the file can't be checked; damage is not an error. [`Unreachable`](ErrorKind::Unreachable),
/// [`NotAStore`](ErrorKind::NotAStore), [`NewerSchema`](ErrorKind::NewerSchema), [`Busy`](ErrorKind::Busy) or
/// [`Io`](ErrorKind::Io), with the path in the message. [`Interrupted`](ErrorKind::Interrupted) if the callback ended
/// it.
pub fn verify(
    path: impl AsRef<Path>,
    on_progress: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<VerifyReport> {
    verify_watched(path.as_ref(), &Watch::new(on_progress))
}

pub(super) fn verify_watched(path: &Path, watch: &Watch) -> Result<VerifyReport> {
    let path = &path::resolved(path)?;
    let passes = Arc::new(Passes::default());
    let bytes = fs::metadata(path).map_or(0, |file| file.len());
    let mut report = VerifyReport { bytes, in_use_by: lock::owner(path), ..VerifyReport::default() };
    let looked = look::identify(path).map_err(Error::from).and_then(|(mut connection, identity)| {
        if identity.is_new() {
            let message = format!("{} is empty: give the path of a store", path.display());
            return Err(Error::new(ErrorKind::NotAStore, message));
        }
        report.schema_version = identity.version;
        passes.watch(&mut connection, watch.clone()).map_err(|error| while_doing("reading", path, error))?;
        look_through(&mut connection, &passes, &mut report).map_err(|error| {
            passes.broken_off().unwrap_or_else(|| while_doing("reading", path, error).into())
        })
    });
    match looked {
        Err(damaged) if damaged.kind() == ErrorKind::Corrupt => report.find(SCHEMA, with_causes(&damaged)),
        looked => looked?,
    }
    beside(path, &mut report);
    Ok(report)
}

fn look_through(
    connection: &mut Connection,
    passes: &Passes,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "ignore_check_constraints", "ON")?;
    let moment = connection.transaction()?;
    // A host may have upgraded the file since it was identified.
    report.schema_version = schema::version(&moment)?;
    let strange = schema::strange_tables(&moment, report.schema_version)?;
    for table in &strange {
        report.find(SCHEMA, format!("the table {table:?} is not there as mnemon makes it"));
    }
    let has_history = history::is_there(&moment)?;
    let is_there = |table: &&str| has_history || *table != history::NAME;
    let tables = TABLES.into_iter().filter(is_there);
    let ours: Vec<_> = tables.filter(|table| !strange.iter().any(|other| other == table)).collect();
    // Reading a table that is declared differently has unknown effects: such a table is not read.
    let looks: [(&'static str, &[&str], Look); 6] = [
        (FILE, &[], integrity),
        (STORE, &["store"], store),
        (TRACES, &["traces"], traces),
        (HISTORY, &[history::NAME, "traces"], entries),
        (LINKS, &["links", "traces"], links),
        (LINKS, &["links"], order_of_ends),
    ];
    for (part, of, look) in looks {
        if !of.iter().all(|table| ours.contains(table)) {
            continue;
        }
        match look(&moment, &ours, passes, report) {
            Err(error) if is_damage(&error) => report.find(part, format!("it can't be read: {error}")),
            outcome => outcome?,
        }
    }
    Ok(())
}

const TABLES: [&str; 4] = ["traces", "links", "store", history::NAME];

/// A check; the second argument lists the tables that are declared as they should be.
type Look = fn(&Connection, &[&str], &Passes, &mut VerifyReport) -> rusqlite::Result<()>;

/// Progress of the passes: recorded by them, and reported from SQLite's own progress handler, which can end any
/// statement.
#[derive(Default)]
struct Passes {
    /// Number of rows of traces and links; 0 while pages are checked.
    total: AtomicU64,
    read: AtomicU64,
    broken_off: OnceLock<Error>,
}

impl Passes {
    /// Number of steps of SQLite's virtual machine between two calls of the progress handler: takes a few
    /// milliseconds.
    const OFTEN: std::ffi::c_int = 50_000;

    fn watch(self: &Arc<Self>, connection: &mut Connection, watch: Watch) -> rusqlite::Result<()> {
        let passes = self.clone();
        connection.progress_handler(
            Self::OFTEN,
            Some(move || {
                // Relaxed: read by the same thread that adds to it.
                let [read, total] = [&passes.read, &passes.total].map(|rows| rows.load(Ordering::Relaxed));
                let step = if total == 0 { "checking pages" } else { "reading rows" };
                let told = watch.tell(step, read, total);
                told.is_err_and(|error| passes.broken_off.set(error).is_ok())
            }),
        )
    }

    fn broken_off(&self) -> Option<Error> {
        self.broken_off.get().cloned()
    }

    /// Counts the rows to be read.
    fn count(&self, moment: &Connection, ours: &[&str]) -> rusqlite::Result<()> {
        for table in ours.iter().filter(|table| **table != "store") {
            let count = format!("SELECT count(*) FROM {table}");
            let rows: i64 = moment.query_row(&count, [], |row| row.get(0))?;
            self.total.fetch_add(rows.unsigned_abs(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn read_one(&self) {
        self.read.fetch_add(1, Ordering::Relaxed);
    }
}

fn finding(part: &'static str, row: Option<i64>, id: Option<TraceId>, reason: String) -> Finding {
    Finding { part, row, id, column: None, reason: reason.into() }
}

/// The statements are fixed and correct: an error in one of them means that the file does not fit them.
fn is_damage(error: &rusqlite::Error) -> bool {
    kind_of(error) == ErrorKind::Corrupt
        || error
            .sqlite_error()
            .is_some_and(|failure| matches!(failure.extended_code, ffi::SQLITE_ERROR | ffi::SQLITE_TOOBIG))
}

/// Runs SQLite's integrity check. Tables that people have added to the file belong to them: if there are any, only our
/// tables are checked, so that the expressions and modules of other tables do not run.
fn integrity(
    moment: &Connection,
    ours: &[&str],
    passes: &Passes,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let others =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
        AND name NOT IN ('traces', 'links', 'store', 'trace_history')";
    let all = TABLES.len() - usize::from(!history::is_there(moment)?);
    let is_ours_alone = ours.len() == all && moment.query_row(others, [], |row| row.get::<_, i64>(0))? == 0;
    let mut checks =
        if is_ours_alone { vec![LISTED.to_string()] } else { ours.iter().map(ToString::to_string).collect() };
    // With the schema SQLite looks at the list of free pages, which it leaves out of a whole file that has views.
    checks.push("sqlite_schema".to_owned());
    for check in checks {
        let mut statement = moment.prepare(&format!("PRAGMA integrity_check({check})"))?;
        let mut answers = statement.query([])?;
        while let Some(answer) = answers.next()? {
            let answer: String = answer.get(0)?;
            let lines = answer.lines().filter(|line| *line != "ok" && !line.starts_with("***"));
            lines.for_each(|line| report.find(FILE, line.to_owned()));
        }
    }
    passes.count(moment, ours)
}

fn store(moment: &Connection, _: &[&str], _: &Passes, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = moment.prepare("SELECT one, watermark, boot, clean FROM store")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        report.find(STORE, "its row is not there: nothing says which cut the file is at");
        return Ok(());
    };
    for reason in wrong_in_store(row)? {
        report.find(STORE, reason);
    }
    report.watermark = row.get_ref(1)?.as_i64().map_or(0, |watermark| watermark.max(0).unsigned_abs());
    if rows.next()?.is_some() {
        report.find(STORE, "it has more than one row");
    }
    Ok(())
}

fn wrong_in_store(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    let mut wrong = Vec::new();
    match row.get_ref(1)? {
        ValueRef::Integer(watermark) if u64::try_from(watermark).is_ok_and(|at| at <= MAX_WATERMARK) => {}
        ValueRef::Integer(watermark) => {
            wrong.push(format!("it says that the file is at cut {watermark}, which no store reaches"));
        }
        other => wrong.push(format!("its watermark is {}, not an integer", other.data_type())),
    }
    match row.get_ref(2)? {
        ValueRef::Null => {}
        ValueRef::Blob(boot) if boot.len() == 16 => {}
        other => wrong.push(format!("its boot is {}, not an id", type_and_size(other))),
    }
    match row.get_ref(3)? {
        ValueRef::Integer(0 | 1) => {}
        other => wrong.push(format!("its mark of a clean end is {}, not 0 or 1", type_and_size(other))),
    }
    Ok(wrong)
}

fn type_and_size(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => {
            format!("{} of {} bytes", value.data_type(), bytes.len())
        }
        ValueRef::Null | ValueRef::Real(_) => value.data_type().to_string(),
    }
}

fn traces(
    moment: &Connection,
    _: &[&str],
    passes: &Passes,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let mut last = None;
    let mut take = |stored| {
        let Stored::Trace { row, trace } = stored else { return };
        passes.read_one();
        last = Some(row);
        let checked = trace.and_then(|trace| {
            let unreadable = |error| Unreadable { id: Some(trace.id()), reason: with_causes(&error) };
            trace.payload().check().map_err(unreadable)
        });
        match checked {
            Ok(()) => report.traces += 1,
            Err(Unreadable { id, reason }) => {
                report.list(finding(TRACES, Some(row), id, reason));
            }
        }
    };
    match rows_read::load(moment, RowNumber::MIN..=RowNumber::MAX, &mut take) {
        Err(error) if is_damage(&error) => {
            let after = last.map_or("no row".to_owned(), |row| format!("nothing after row {row}"));
            report.find(TRACES, format!("{after} can be read: {error}"));
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

/// Checks that each former content is a trace, and belongs to a row that is there.
fn entries(
    moment: &Connection,
    _: &[&str],
    passes: &Passes,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {COLUMNS}, entry, row IN (SELECT row FROM traces) FROM trace_history ORDER BY entry",
        COLUMNS = rows_read::COLUMNS
    );
    let mut statement = moment.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        passes.read_one();
        let (entry, has_row): (i64, bool) = (row.get("entry")?, row.get(30)?);
        let reason = match rows_read::read(row) {
            Err(rows_read::Wrong(reason)) => reason,
            Ok(_) if !has_row => "there is no row of its trace".to_owned(),
            Ok(trace) => match trace.payload().check() {
                Ok(()) => continue,
                Err(error) => with_causes(&error),
            },
        };
        report.list(finding(HISTORY, Some(entry), rows_read::id_of(row.get_ref(1)?).ok(), reason));
    }
    Ok(())
}

fn links(
    moment: &Connection,
    _: &[&str],
    passes: &Passes,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let mut exists = moment.prepare("SELECT EXISTS (SELECT 1 FROM traces WHERE id = ?1)")?;
    let mut missing = |link: &Link| -> rusqlite::Result<Option<TraceId>> {
        let (a, b) = link.ends();
        for end in [a, b] {
            if !exists.query_row([end.as_bytes()], |row| row.get::<_, bool>(0))? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    };
    let mut failed = None;
    let mut take = |stored| {
        let Stored::Link(link) = stored else { return };
        passes.read_one();
        let checked = link.map_err(|Unreadable { id, reason }| (id, reason)).and_then(|link| {
            let (a, b) = link.ends();
            match missing(&link) {
                Ok(None) => Ok(()),
                Ok(Some(end)) => Err((Some(a), format!("its link to {b}: there is no trace {end}"))),
                Err(error) => {
                    failed.get_or_insert(error);
                    Ok(())
                }
            }
        });
        match checked {
            Ok(()) => report.links += 1,
            Err((id, reason)) => report.list(finding(LINKS, None, id, reason)),
        }
    };
    links::load(moment, &mut take)?;
    failed.map_or(Ok(()), Err)
}

/// Checks the order of a link's ends, in place of the check that the table declares.
fn order_of_ends(
    moment: &Connection,
    _: &[&str],
    _: &Passes,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let mut statement = moment.prepare("SELECT a, b FROM links WHERE a >= b")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = |at| -> rusqlite::Result<_> { Ok(rows_read::id_of(row.get_ref(at)?).ok()) };
        if let (Some(a), Some(b)) = (id(0)?, id(1)?) {
            let reason = format!("its link to {b}: the smaller id does not stand first");
            report.list(finding(LINKS, None, Some(a), reason));
        }
    }
    Ok(())
}

/// Finds files that a store has left; a file and its WAL count as one.
fn beside(path: &Path, report: &mut VerifyReport) {
    let spill = file_identity::spill(path);
    if spill.exists() {
        let reason = "holds what a store could not write: open the store, and it is applied";
        report.find(BESIDE, format!("{} {reason}", spill.display()));
    }
    let quarantined = file_identity::quarantined_before(path).into_iter().map(|file| {
        let name = file.to_string_lossy();
        name.strip_suffix("-wal").or(name.strip_suffix("-shm")).unwrap_or(&name).to_owned()
    });
    for file in quarantined.collect::<BTreeSet<_>>() {
        let reason = "was quarantined by a store that could not use it: look at it, and remove it when it is of no use";
        report.find(BESIDE, format!("{file} {reason}"));
    }
}

fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
