//! Writing the rows of traces.

use super::file::Attached;
use super::history;
use crate::backend::{Applied, RowNumber, TraceChange};
use crate::trace::{Dynamics, Trace, TraceId};
use rusqlite::types::ToSqlOutput;
use rusqlite::{CachedStatement, ToSql, params};
use std::sync::Arc;

const INSERT: &str = "
INSERT INTO traces (row, id, strength, peak_strength, base_decay_rate, emotional_valence, emotional_intensity,
    confidence, last_reinforced, last_decayed, revision, reinforcement_count, tier, unresolved,
    consolidation_candidate, pinned, type, origin, created_at, partition, source_agent, encryption_key_id,
    parent, children, tags, embedding, payload, valid_until, superseded_by)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
    ?23, ?24, ?25, ?26, ?27, ?28, ?29)
ON CONFLICT (row) DO UPDATE SET id = ?2, ";

/// All but what names the row.
const ALL: &str = "
    strength = ?3, peak_strength = ?4, base_decay_rate = ?5, emotional_valence = ?6, emotional_intensity = ?7,
    confidence = ?8, last_reinforced = ?9, last_decayed = ?10, revision = ?11, reinforcement_count = ?12,
    tier = ?13, unresolved = ?14, consolidation_candidate = ?15, pinned = ?16, type = ?17, origin = ?18,
    created_at = ?19, partition = ?20, source_agent = ?21, encryption_key_id = ?22, parent = ?23,
    children = ?24, tags = ?25, embedding = ?26, payload = ?27, valid_until = ?28,
    superseded_by = ?29";

const UPDATE_NUMBERS: &str = "
UPDATE traces SET
    strength = ?2, peak_strength = ?3, base_decay_rate = ?4, emotional_valence = ?5, emotional_intensity = ?6,
    confidence = ?7, last_reinforced = ?8, last_decayed = ?9, revision = ?10, reinforcement_count = ?11,
    tier = ?12, unresolved = ?13, consolidation_candidate = ?14, pinned = ?15
WHERE row = ?1";

const DELETE: &str = "DELETE FROM traces WHERE row = ?1";
/// The statements of a batch, prepared once for the connection.
pub(super) struct Statements<'c> {
    /// The highest row that was there when the batch began.
    last: RowNumber,
    /// Rows of other traces than before, in order.
    replaced: &'c [RowNumber],
    rewrite: CachedStatement<'c>,
    upsert: CachedStatement<'c>,
    update: UpdateNumbers<'c>,
    delete: CachedStatement<'c>,
    /// `None` if the file has no history and gets none.
    history: Option<history::Statements<'c>>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(attached: &'c Attached, replaced: &'c [RowNumber]) -> rusqlite::Result<Self> {
        let connection = &attached.connection;
        let history = attached
            .has_history
            .then(|| history::Statements::prepare(connection, attached.keep_history))
            .transpose()?;
        Ok(Self {
            history,
            replaced,
            last: connection
                .prepare_cached("SELECT coalesce(max(row), 0) FROM traces")?
                .query_row([], |row| row.get(0))?,
            rewrite: connection
                .prepare_cached(&format!("UPDATE traces SET {ALL} WHERE row = ?1 AND id = ?2"))?,
            upsert: connection.prepare_cached(&format!("{INSERT}{ALL}"))?,
            update: UpdateNumbers { statement: connection.prepare_cached(UPDATE_NUMBERS)?, bound: None },
            delete: connection.prepare_cached(DELETE)?,
        })
    }

    /// Makes one change, and counts it as what it was.
    pub(super) fn apply(&mut self, change: &TraceChange, applied: &mut Applied) -> rusqlite::Result<()> {
        match change {
            TraceChange::Delete { row, .. } => {
                if let Some(history) = &mut self.history {
                    history.forget(*row)?;
                }
                applied.deleted += self.delete.execute([row])? as u64;
            }
            TraceChange::UpdateNumbers { row, trace } if self.update.execute(*row, &trace.numbers)? => {
                applied.updated += 1
            }
            // Or the row that holds the rest is gone: somebody else deleted it, and memory is the truth.
            TraceChange::UpdateNumbers { row, trace } | TraceChange::Upsert { row, trace } => {
                self.upsert(*row, trace)?;
                applied.upserted += 1;
                applied.payload_bytes += trace.payload().as_str().len() as u64;
            }
        }
        Ok(())
    }

    fn upsert(&mut self, row: RowNumber, trace: &Trace) -> rusqlite::Result<()> {
        let (id, n, c) = (trace.id(), &trace.numbers, &trace.content);
        let values: &[&dyn ToSql] = params![
            row,
            id.as_bytes(),
            n.strength,
            n.peak_strength,
            n.base_decay_rate,
            n.emotional_valence,
            n.emotional_intensity,
            n.confidence,
            n.last_reinforced.get(),
            n.last_decayed.get(),
            n.revision as i64,
            n.reinforcement_count,
            n.tier.as_str(),
            n.unresolved,
            n.consolidation_candidate,
            n.pinned,
            c.kind.as_str(),
            c.origin.as_str(),
            c.created_at.get(),
            &*c.names.partition,
            c.rare.source_agent.as_deref(),
            c.rare.encryption_key_id.as_deref(),
            c.rare.parent.as_ref().map(TraceId::as_bytes),
            ids_to_bytes(&c.rare.children),
            tags_to_json(&c.names.tags)?,
            embedding_to_bytes(c.rare.embedding.as_deref()),
            c.payload.as_str(),
            c.rare.end.as_ref().map(|end| end.at.get()),
            c.rare.end.as_ref().and_then(|end| end.superseded_by.as_ref()).map(TraceId::as_bytes),
        ];
        if let Some(history) = self.history.as_mut().filter(|_| row <= self.last) {
            if self.replaced.binary_search(&row).is_ok() {
                history.forget(row)?;
            } else {
                history.keep(row, values)?;
            }
        }
        // A row that is there is written in place, so that the index of ids is neither looked at nor changed.
        if row > self.last || self.rewrite.execute(values)? == 0 {
            self.upsert.execute(values)?;
        }
        Ok(())
    }
}

/// Updates the numbers of rows. A number is bound only if it differs from that of the row before: SQLite keeps what is
/// bound.
struct UpdateNumbers<'c> {
    statement: CachedStatement<'c>,
    bound: Option<[Number; 14]>,
}

/// A value to bind.
#[derive(Clone, Copy, PartialEq)]
enum Number {
    Integer(i64),
    /// As bits, for 0.0 and -0.0 are equal.
    Real(u64),
    Text(&'static str),
}

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match *self {
            Number::Integer(number) => number.into(),
            Number::Real(bits) => f64::from_bits(bits).into(),
            Number::Text(text) => text.into(),
        })
    }
}

impl UpdateNumbers<'_> {
    /// Returns whether the row was there.
    fn execute(&mut self, row: RowNumber, n: &Dynamics) -> rusqlite::Result<bool> {
        let real = |number: f64| Number::Real(number.to_bits());
        let flag = |is_set: bool| Number::Integer(is_set.into());
        let numbers = [
            real(n.strength),
            real(n.peak_strength),
            real(n.base_decay_rate),
            real(n.emotional_valence),
            real(n.emotional_intensity),
            real(n.confidence),
            Number::Integer(n.last_reinforced.get()),
            Number::Integer(n.last_decayed.get()),
            Number::Integer(n.revision as i64),
            Number::Integer(n.reinforcement_count.into()),
            Number::Text(n.tier.as_str()),
            flag(n.unresolved),
            flag(n.consolidation_candidate),
            flag(n.pinned),
        ];
        // After an error it is not known what is bound.
        let bound = self.bound.take();
        self.statement.raw_bind_parameter(1, row)?;
        for (at, number) in numbers.iter().enumerate() {
            if bound.is_none_or(|bound| bound[at] != *number) {
                self.statement.raw_bind_parameter(at + 2, number)?;
            }
        }
        let updated = self.statement.raw_execute()?;
        self.bound = Some(numbers);
        Ok(updated > 0)
    }
}

fn ids_to_bytes(ids: &[TraceId]) -> Option<Vec<u8>> {
    (!ids.is_empty()).then(|| ids.iter().flat_map(TraceId::as_bytes).copied().collect())
}

fn tags_to_json(tags: &[Arc<str>]) -> rusqlite::Result<Option<String>> {
    let tags: Vec<_> = tags.iter().map(|tag| &**tag).collect();
    let json = (!tags.is_empty()).then(|| serde_json::to_string(&tags)).transpose();
    json.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// Little-endian, four bytes a number.
fn embedding_to_bytes(vector: Option<&[f32]>) -> Option<Vec<u8>> {
    vector.map(|vector| vector.iter().flat_map(|number| number.to_le_bytes()).collect())
}
