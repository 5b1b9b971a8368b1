//! Reading the rows of traces.

use super::schema;
use crate::backend::{RowNumber, Stored, Unreadable};
use crate::error::Error;
use crate::trace::{Dynamics, Micros, NewTrace, Payload, Trace, TraceId, TraceType, timestamp};
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, Row, Rows};
use std::ops::RangeInclusive;

/// The columns that [`read`] takes, in its order.
pub(super) const COLUMNS: &str = "
    row, id, strength, peak_strength, base_decay_rate, emotional_valence, emotional_intensity, confidence,
    last_reinforced, last_decayed, revision, reinforcement_count, tier, unresolved, consolidation_candidate,
    pinned, type, origin, created_at, partition, source_agent, encryption_key_id, parent, children, tags,
    embedding, payload, valid_until, superseded_by";

/// Rows are numbered from 1; above this there is no room to number on.
const MAX_ROW: RowNumber = 1 << 62;

/// The columns that a file of an earlier version lacks.
const LATER: &str = "valid_until, superseded_by";

/// Streams the rows of these numbers; answers the highest row number that a store may go on from, 0 if there is none.
pub(super) fn load(
    connection: &Connection,
    rows: RangeInclusive<RowNumber>,
    into: &mut dyn FnMut(Stored),
) -> rusqlite::Result<RowNumber> {
    let is_earlier = schema::version(connection)? < schema::SECOND_VERSION;
    let columns = if is_earlier { COLUMNS.replace(LATER, "NULL, NULL") } else { COLUMNS.to_owned() };
    let sql = format!("SELECT {columns} FROM traces WHERE row BETWEEN ?1 AND ?2 ORDER BY row");
    let mut statement = connection.prepare(&sql)?;
    let mut pass = Pass { next: Some(*rows.start()), last: 0, into };
    while let Some(next) = pass.next {
        match pass.rows(statement.query([next, *rows.end()])?) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::TooBig) => {
                pass.set_aside(connection, &error)?;
            }
            outcome => return outcome.map(|()| pass.last),
        }
    }
    Ok(pass.last)
}

/// A pass over rows, which goes on after one that SQLite would not read.
struct Pass<'a> {
    next: Option<RowNumber>,
    last: RowNumber,
    into: &'a mut dyn FnMut(Stored),
}

impl Pass<'_> {
    fn rows(&mut self, mut rows: Rows<'_>) -> rusqlite::Result<()> {
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            let trace = match number {
                1..=MAX_ROW => read(row),
                _ => Err(Wrong("no store gives a row this number".to_owned())),
            };
            let id = || row.get_ref(1).ok().and_then(|id| id_of(id).ok());
            self.give(number, trace.map_err(|Wrong(reason)| Unreadable { id: id(), reason }));
        }
        Ok(())
    }

    /// The next row, without reading what SQLite has refused to.
    fn set_aside(&mut self, connection: &Connection, why: &rusqlite::Error) -> rusqlite::Result<()> {
        let sql = "SELECT row FROM traces WHERE row >= ?1 ORDER BY row LIMIT 1";
        let number = connection.query_row(sql, [self.next], |row| row.get(0))?;
        let sql = "SELECT id FROM traces WHERE row = ?1";
        let id = connection.query_row(sql, [number], |row| Ok(id_of(row.get_ref(0)?).ok()));
        let reason = format!("a value of it is too long to be read: {why}");
        self.give(number, Err(Unreadable { id: id.ok().flatten(), reason }));
        Ok(())
    }

    fn give(&mut self, row: RowNumber, trace: Result<Trace, Unreadable>) {
        (self.into)(Stored::Trace { row, trace });
        if (1..=MAX_ROW).contains(&row) {
            self.last = row;
        }
        self.next = row.checked_add(1);
    }
}

/// What is wrong with a row, for a person.
pub(super) struct Wrong(pub(super) String);

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong(error.to_string())
    }
}

fn wrong(column: &str, what: impl std::fmt::Display) -> Wrong {
    Wrong(format!("column {column}: {what}"))
}

/// Reads [`COLUMNS`], through the same checks that a new trace passes. The payload is taken
/// as it is.
pub(super) fn read(row: &Row<'_>) -> Result<Trace, Wrong> {
    let columns = Columns(row);
    let kind: TraceType = columns.text(16, "type")?.parse()?;
    let payload = Payload::trusted(columns.text(26, "payload")?);
    let id = id_of(columns.value(1, "id")?)?;
    let numbers = Dynamics {
        strength: columns.real(2, "strength")?,
        peak_strength: columns.real(3, "peak_strength")?,
        base_decay_rate: columns.real(4, "base_decay_rate")?,
        emotional_valence: columns.real(5, "emotional_valence")?,
        emotional_intensity: columns.real(6, "emotional_intensity")?,
        confidence: columns.real(7, "confidence")?,
        last_reinforced: columns.micros(8, "last_reinforced")?,
        last_decayed: columns.micros(9, "last_decayed")?,
        revision: columns.count(10, "revision")?,
        reinforcement_count: columns.count(11, "reinforcement_count")?,
        tier: columns.text(12, "tier")?.parse()?,
        unresolved: columns.flag(13, "unresolved")?,
        consolidation_candidate: columns.flag(14, "consolidation_candidate")?,
        pinned: columns.flag(15, "pinned")?,
    };
    let origin = columns.text(17, "origin")?.parse()?;
    let tags = columns.optional_text(24, "tags")?;
    let (created_at, partition) = (columns.micros(18, "created_at")?, columns.text(19, "partition")?);
    let mut new = NewTrace::stored(id, kind, origin, created_at, (partition, tags), payload, numbers);
    if let Some(agent) = columns.optional_text(20, "source_agent")? {
        new = new.source_agent(agent);
    }
    if let Some(key) = columns.optional_text(21, "encryption_key_id")? {
        new = new.encryption_key_id(key);
    }
    if let Some(parent) = columns.optional_blob(22, "parent")? {
        new = new.parent(id_of(ValueRef::Blob(parent)).map_err(|Wrong(what)| wrong("parent", what))?);
    }
    if let Some(children) = columns.optional_blob(23, "children")? {
        let (ids, rest) = children.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(wrong("children", "not a whole number of ids"));
        }
        new = new.children(ids.iter().copied().map(TraceId::from_bytes));
    }
    if let Some(bytes) = columns.optional_blob(25, "embedding")? {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(wrong("embedding", "not a whole number of floats"));
        }
        new = new.embedding(numbers.iter().copied().map(f32::from_le_bytes).collect::<Box<[f32]>>());
    }
    let end = columns.optional_integer(27, "valid_until")?;
    if let Some(micros) = end {
        new = new.valid_until(timestamp(micros).map_err(|error| wrong("valid_until", error))?);
    }
    if let Some(successor) = columns.optional_blob(28, "superseded_by")? {
        end.ok_or_else(|| wrong("superseded_by", "set without valid_until"))?;
        let id = id_of(ValueRef::Blob(successor)).map_err(|Wrong(what)| wrong("superseded_by", what))?;
        new = new.superseded_by(id);
    }
    Ok(new.into_stored()?)
}

pub(super) fn id_of(value: ValueRef<'_>) -> Result<TraceId, Wrong> {
    match value {
        ValueRef::Blob(bytes) => match <[u8; 16]>::try_from(bytes) {
            Ok(bytes) => Ok(TraceId::from_bytes(bytes)),
            Err(_) => Err(Wrong(format!("an id has {} bytes, not 16", bytes.len()))),
        },
        other => Err(Wrong(format!("an id is {}, not a blob", other.data_type()))),
    }
}

/// The columns of one row, each with its type checked.
pub(super) struct Columns<'r>(pub(super) &'r Row<'r>);

impl<'r> Columns<'r> {
    pub(super) fn value(&self, at: usize, name: &str) -> Result<ValueRef<'r>, Wrong> {
        self.0.get_ref(at).map_err(|error| wrong(name, error))
    }

    fn optional_text(&self, at: usize, name: &str) -> Result<Option<&'r str>, Wrong> {
        self.value(at, name)?.as_str_or_null().map_err(|error| wrong(name, error))
    }

    fn text(&self, at: usize, name: &str) -> Result<&'r str, Wrong> {
        self.value(at, name)?.as_str().map_err(|error| wrong(name, error))
    }

    fn optional_blob(&self, at: usize, name: &str) -> Result<Option<&'r [u8]>, Wrong> {
        self.value(at, name)?.as_blob_or_null().map_err(|error| wrong(name, error))
    }

    fn real(&self, at: usize, name: &str) -> Result<f64, Wrong> {
        self.value(at, name)?.as_f64().map_err(|error| wrong(name, error))
    }

    fn integer(&self, at: usize, name: &str) -> Result<i64, Wrong> {
        self.value(at, name)?.as_i64().map_err(|error| wrong(name, error))
    }

    fn optional_integer(&self, at: usize, name: &str) -> Result<Option<i64>, Wrong> {
        self.value(at, name)?.as_i64_or_null().map_err(|error| wrong(name, error))
    }

    pub(super) fn count<N: TryFrom<i64>>(&self, at: usize, name: &str) -> Result<N, Wrong> {
        let number = self.integer(at, name)?;
        N::try_from(number).map_err(|_| wrong(name, format_args!("{number} is out of range")))
    }

    fn flag(&self, at: usize, name: &str) -> Result<bool, Wrong> {
        match self.integer(at, name)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(wrong(name, format_args!("{other} is neither 0 nor 1"))),
        }
    }

    fn micros(&self, at: usize, name: &str) -> Result<Micros, Wrong> {
        Micros::stored(self.integer(at, name)?).map_err(|error| wrong(name, error))
    }

    pub(super) fn time(&self, at: usize, name: &str) -> Result<Timestamp, Wrong> {
        timestamp(self.integer(at, name)?).map_err(|error| wrong(name, error))
    }
}
