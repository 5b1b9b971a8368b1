//! The rows of the original, cell by cell.

use super::cells::{self, Partly, Wrong};
use super::import::Original;
use super::{ASSOCIATIONS, PAIR_COLUMNS, PAIR_TIMES, SERVER_COLUMNS, TRACE_COLUMNS, TRACES, finding};
use crate::backend::sqlite::Finding;
use crate::trace::{ASSOCIATED_AT, Link, NewTrace, TraceId};
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement};
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet, hash_map};

/// A trace's row, its times of creation and last reinforcement, and the traces that the original associates with it.
struct Known {
    row: i64,
    created_at: Timestamp,
    last_reinforced: Timestamp,
    associated: Vec<TraceId>,
}

/// A pair's row, its count, and its first and last time where they are stored.
struct Pair {
    row: i64,
    count: u32,
    times: [Option<Timestamp>; 2],
}

#[derive(Default)]
pub(super) struct Reading {
    traces: Vec<(i64, NewTrace)>,
    known: HashMap<TraceId, Known>,
    /// Ordered by id, so that the same file always gives the same result.
    pairs: BTreeMap<(TraceId, TraceId), Pair>,
    findings: Vec<Finding>,
}

impl Reading {
    /// Returns whether the table of traces exists, with the columns that it must have.
    pub(super) fn traces(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let Some(columns) = Columns::of(connection, TRACES, &[&TRACE_COLUMNS[..], &SERVER_COLUMNS].concat())?
        else {
            return Ok(false);
        };
        if !["trace_id", "trace_type", "content"].iter().all(|column| columns.has(column)) {
            return Ok(false);
        }
        let mut statement = columns.select(connection)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut cells = Cells::new(row, &columns, &mut self.findings)?;
            let Some((id, new, known)) = cells.trace() else { continue };
            match self.known.entry(id) {
                hash_map::Entry::Occupied(_) => {
                    cells.find("trace_id", format!("left out: another row has {id}"))
                }
                hash_map::Entry::Vacant(place) => {
                    place.insert(known);
                    self.traces.push((cells.number, new));
                }
            }
        }
        Ok(true)
    }

    pub(super) fn associations(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let columns = Columns::of(connection, ASSOCIATIONS, &[&PAIR_COLUMNS[..], &PAIR_TIMES].concat())?;
        let Some(columns) = columns.filter(|columns| !columns.names.is_empty()) else { return Ok(()) };
        let mut statement = columns.select(connection)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut cells = Cells::new(row, &columns, &mut self.findings)?;
            let (a, b) = (cells.required("trace_id_a", cells::id), cells.required("trace_id_b", cells::id));
            let (Some(a), Some(b)) = (a, b) else { continue };
            if a == b {
                cells.find("trace_id_b", "left out: a trace with itself");
                continue;
            }
            let stranger = [("trace_id_a", a), ("trace_id_b", b)];
            if let Some((column, id)) = stranger.into_iter().find(|(_, id)| !self.known.contains_key(id)) {
                cells.find(column, format!("left out: there is no trace {id}"));
                continue;
            }
            let count = cells.optional("coactivation_count", cells::count).unwrap_or(1);
            if count == 0 {
                cells.find("coactivation_count", "left out: never active together");
                continue;
            }
            let (row, times) = (cells.number, PAIR_TIMES.map(|column| cells.partly(column, cells::time)));
            match self.pairs.entry((a.min(b), a.max(b))) {
                Entry::Vacant(place) => drop(place.insert(Pair { row, count, times })),
                Entry::Occupied(mut place) => {
                    let Pair { row: other, count: there, .. } = *place.get();
                    if there != count {
                        let larger = there.max(count);
                        cells.find(
                            "coactivation_count",
                            format!(
                                "{count}, and in row {other}, the other direction, {there}: {larger} is taken"
                            ),
                        );
                        place.insert(Pair { row, count: larger, times });
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn done(mut self) -> Original {
        self.associated();
        let link = |(&(a, b), &Pair { row, count, times })| {
            let [a, b] = [a, b].map(|id| (id, self.known.get(&id)));
            let ((a, Some(of_a)), (b, Some(of_b))) = (a, b) else { return None };
            let [first, last] = times;
            let first = first.unwrap_or(of_a.created_at.max(of_b.created_at));
            let last = first.max(last.unwrap_or(of_a.last_reinforced.max(of_b.last_reinforced)));
            Some((row, Link::new((a, b), count, first, last).ok()?))
        };
        let links = self.pairs.iter().filter_map(link).collect();
        Original { traces: self.traces, links, findings: self.findings }
    }

    /// Adds pairs that only a trace's own list of associated traces names: the list should say no more than the
    /// pairs, so such a pair was lost.
    fn associated(&mut self) {
        let mut known: Vec<_> = self.known.iter().collect();
        known.sort_by_key(|(_, known)| known.row);
        for (&id, known) in known {
            let mut seen = HashSet::new();
            for &other in known.associated.iter().filter(|&&other| seen.insert(other)) {
                let pair = (id.min(other), id.max(other));
                let reason: Wrong = match self.known.contains_key(&other) {
                    _ if id == other => "left out: a trace with itself".into(),
                    false => format!("left out: there is no trace {other}").into(),
                    true => match self.pairs.entry(pair) {
                        Entry::Occupied(_) => continue,
                        Entry::Vacant(place) => {
                            place.insert(Pair { row: known.row, count: ASSOCIATED_AT, times: [None; 2] });
                            format!("there is no pair with {other}: a count of {ASSOCIATED_AT} is taken")
                                .into()
                        }
                    },
                };
                self.findings.push(finding(TRACES, known.row, "associated_traces", reason));
            }
        }
        self.findings.sort_by(|a, b| (b.part, a.row).cmp(&(a.part, b.row)));
    }
}

/// The columns that a table has, of those asked for.
struct Columns {
    table: &'static str,
    names: Vec<&'static str>,
}

impl Columns {
    fn of(
        connection: &Connection,
        table: &'static str,
        columns: &[&'static str],
    ) -> rusqlite::Result<Option<Self>> {
        let mut statement = connection.prepare(
            "SELECT name FROM pragma_table_info(?1) WHERE EXISTS (
                SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND sql LIKE 'CREATE TABLE%')",
        )?;
        let there =
            statement.query_map([table], |row| row.get(0))?.collect::<Result<HashSet<String>, _>>()?;
        let names = columns.iter().copied().filter(|&name| there.contains(name)).collect();
        Ok((!there.is_empty()).then_some(Self { table, names }))
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    fn select<'c>(&self, connection: &'c Connection) -> rusqlite::Result<Statement<'c>> {
        let names = self.names.join(", ");
        connection.prepare(&format!("SELECT rowid, {names} FROM {} ORDER BY rowid", self.table))
    }
}

/// A row, read cell by cell; a cell that can't be used becomes a finding.
struct Cells<'a> {
    row: &'a Row<'a>,
    number: i64,
    columns: &'a Columns,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Cells<'a> {
    fn new(row: &'a Row<'a>, columns: &'a Columns, findings: &'a mut Vec<Finding>) -> rusqlite::Result<Self> {
        Ok(Self { row, number: row.get(0)?, columns, findings })
    }

    fn find(&mut self, column: &'static str, reason: impl Into<Wrong>) {
        self.findings.push(finding(self.columns.table, self.number, column, reason.into()));
    }

    /// Returns NULL if there is no such column.
    fn cell(&self, column: &str) -> ValueRef<'a> {
        let at = self.columns.names.iter().position(|&name| name == column);
        at.and_then(|at| self.row.get_ref(at + 1).ok()).unwrap_or(ValueRef::Null)
    }

    fn required<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(ValueRef<'a>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let parsed = parse(self.cell(column));
        parsed.map_err(|wrong| self.find(column, format!("the row is left out: {wrong}"))).ok()
    }

    /// Returns `None` for NULL, and for a cell that can't be used.
    fn optional<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(ValueRef<'a>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let cell = self.cell(column);
        if cell == ValueRef::Null {
            return None;
        }
        parse(cell).map_err(|wrong| self.find(column, format!("left at its default: {wrong}"))).ok()
    }

    fn partly<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(ValueRef<'a>) -> Result<Partly<T>, Wrong>,
    ) -> Option<T> {
        let Partly { value, lost } = self.optional(column, parse)?;
        lost.into_iter().for_each(|lost| self.find(column, lost));
        Some(value)
    }

    fn trace(&mut self) -> Option<(TraceId, NewTrace, Known)> {
        let id = self.required("trace_id", cells::id)?;
        let kind = self.required("trace_type", cells::parsed)?;
        let content = self.required("content", cells::content)?;
        let mut new = NewTrace::new(kind, content).id(id);

        let created_at = self.partly("created_at", cells::time).unwrap_or_default();
        let last_reinforced = self.partly("last_reinforced", cells::time).unwrap_or(created_at);
        let last_decayed = self.partly("last_decayed", cells::time).unwrap_or(created_at);
        new = new.created_at(created_at).last_reinforced(last_reinforced).last_decayed(last_decayed);

        if let Some(strength) = self.optional("strength", cells::fraction) {
            new = new.strength(strength);
        }
        if let Some(peak) = self.optional("peak_strength", cells::fraction) {
            new = new.peak_strength(peak);
        }
        if let Some(rate) = self.optional("base_decay_rate", cells::rate) {
            new = new.base_decay_rate(rate);
        }
        if let Some(valence) = self.partly("emotional_valence", cells::valence) {
            new = new.emotional_valence(valence);
        }
        if let Some(intensity) = self.optional("emotional_intensity", cells::fraction) {
            new = new.emotional_intensity(intensity);
        }
        if let Some(tags) = self.partly("domain_tags", cells::tags) {
            new = new.tags(tags);
        }
        if let Some(origin) = self.optional("origin", cells::parsed) {
            new = new.origin(origin);
        }
        if let Some(count) = self.optional("reinforcement_count", cells::count) {
            new = new.reinforcement_count(count);
        }
        if let Some(confidence) = self.optional("confidence", cells::fraction) {
            new = new.confidence(confidence);
        }
        if let Some(tier) = self.optional("storage_tier", cells::parsed) {
            new = new.tier(tier);
        }
        if let Some(partition) = self.optional("partition_id", cells::name) {
            new = new.partition(partition);
        }
        if let Some(parent) = self.optional("parent_id", cells::id) {
            new = new.parent(parent);
        }
        if let Some(children) = self.partly("child_ids", cells::ids) {
            new = new.children(children);
        }
        if let Some(unresolved) = self.optional("unresolved", cells::flag) {
            new = new.unresolved(unresolved);
        }
        if let Some(candidate) = self.optional("consolidation_candidate", cells::flag) {
            new = new.consolidation_candidate(candidate);
        }
        if let Some(agent) = self.optional("source_agent_id", cells::name) {
            new = new.source_agent(agent);
        }
        if let Some(key) = self.optional("encryption_key_id", cells::name) {
            new = new.encryption_key_id(key);
        }
        if let Some(embedding) = self.optional("embedding", cells::embedding) {
            new = new.embedding(embedding);
        }
        let associated = self.partly("associated_traces", cells::ids).unwrap_or_default();
        Some((id, new, Known { row: self.number, created_at, last_reinforced, associated }))
    }
}
