//! A trace and a link as columns, and the statements that write them.
//!
//! Each statement takes a column as one array. None is prepared under a name, so that any connection will do.

use crate::trace::{Link, Trace, TraceId};
use std::sync::LazyLock;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// A column: its name, the SQL type of a value, and the type of an array.
type Column = (&'static str, &'static str, Type);

/// The columns that count, grow and fade.
const NUMBERS: [Column; 14] = [
    ("strength", "float8", Type::FLOAT8_ARRAY),
    ("peak_strength", "float8", Type::FLOAT8_ARRAY),
    ("base_decay_rate", "float8", Type::FLOAT8_ARRAY),
    ("emotional_valence", "float8", Type::FLOAT8_ARRAY),
    ("emotional_intensity", "float8", Type::FLOAT8_ARRAY),
    ("confidence", "float8", Type::FLOAT8_ARRAY),
    ("last_reinforced", "int8", Type::INT8_ARRAY),
    ("last_decayed", "int8", Type::INT8_ARRAY),
    ("revision", "int8", Type::INT8_ARRAY),
    ("reinforcement_count", "int8", Type::INT8_ARRAY),
    ("tier", "text", Type::TEXT_ARRAY),
    ("unresolved", "bool", Type::BOOL_ARRAY),
    ("consolidation_candidate", "bool", Type::BOOL_ARRAY),
    ("pinned", "bool", Type::BOOL_ARRAY),
];

const CONTENT: [Column; 13] = [
    ("type", "text", Type::TEXT_ARRAY),
    ("origin", "text", Type::TEXT_ARRAY),
    ("created_at", "int8", Type::INT8_ARRAY),
    ("partition", "text", Type::TEXT_ARRAY),
    ("source_agent", "text", Type::TEXT_ARRAY),
    ("encryption_key_id", "text", Type::TEXT_ARRAY),
    ("parent", "uuid", Type::UUID_ARRAY),
    ("children", "bytea", Type::BYTEA_ARRAY),
    ("tags", "text", Type::TEXT_ARRAY),
    ("embedding", "bytea", Type::BYTEA_ARRAY),
    ("valid_until", "int8", Type::INT8_ARRAY),
    ("superseded_by", "uuid", Type::UUID_ARRAY),
    ("payload", "text", Type::TEXT_ARRAY),
];

/// The id and all other columns, each after `prefix`, in the order in which rows are read.
pub(super) fn names(prefix: &str) -> String {
    let all = NUMBERS.iter().chain(&CONTENT).map(|column| column.0);
    list(["id"].into_iter().chain(all).map(|name| format!("{prefix}{name}")))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// A statement, and the types of its parameters.
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) types: Vec<Type>,
}

impl Statement {
    fn new(text: impl Into<String>, types: &[Type]) -> Self {
        Self { text: text.into(), types: types.to_vec() }
    }

    /// On the space in `$1`, the ids in `$2` and these columns from `$3` on; `text` gets their names, the arrays, and
    /// assignments from the row `source`.
    fn of(columns: &[Column], source: &str, text: impl FnOnce(&str, &str, &str) -> String) -> Self {
        let names = list(columns.iter().map(|column| column.0.to_owned()));
        let arrays = columns.iter().enumerate().map(|(at, column)| format!("${}::{}[]", at + 3, column.1));
        let arrays = list(["$2::uuid[]".to_owned()].into_iter().chain(arrays));
        let sets = list(columns.iter().map(|column| format!("{0} = {source}.{0}", column.0)));
        let types =
            [Type::INT4, Type::UUID_ARRAY].into_iter().chain(columns.iter().map(|column| column.2.clone()));
        Self { text: text(&names, &arrays, &sets), types: types.collect() }
    }
}

/// Locks the space's row until the transaction ends, and goes through for its owner alone, at the watermark that it
/// left: to a new one, with a new lease. Notes the opening in `$7`, whose spill is in the first cut.
pub(super) static FENCE: LazyLock<Statement> = LazyLock::new(|| {
    let text = "WITH fence AS (
            UPDATE mnemon.spaces SET watermark = $5, committed_at = clock_timestamp(), clean = false, resumes = NULL,
                applied = coalesce($7, applied), lease_until = clock_timestamp() + $6 * interval '1 second'
            WHERE space = $1 AND boot = $2 AND epoch = $3 AND watermark = $4 RETURNING 1)
        SELECT 1 / count(*)::int FROM fence";
    Statement::new(
        text,
        &[Type::INT4, Type::UUID, Type::INT8, Type::INT8, Type::INT8, Type::FLOAT8, Type::UUID],
    )
});

/// Notes for followers what a cut changes: the ids of traces, and both of each link.
pub(super) static NOTE: LazyLock<Statement> = LazyLock::new(|| {
    let text = "INSERT INTO mnemon.cuts (space, previous, watermark, ids, links) VALUES ($1, $2, $3, $4, $5)";
    Statement::new(text, &[Type::INT4, Type::INT8, Type::INT8, Type::UUID_ARRAY, Type::UUID_ARRAY])
});

/// Deletes all links, except those in `$3` and `$4`, and those of the traces in `$2`.
pub(super) static CLEAR_LINKS: LazyLock<Statement> = LazyLock::new(|| {
    let text = "DELETE FROM mnemon.links l WHERE space = $1 AND a <> ALL ($2) AND b <> ALL ($2)
        AND NOT EXISTS (SELECT FROM unnest($3::uuid[], $4::uuid[]) AS u (a, b) WHERE u.a = l.a AND u.b = l.b)";
    Statement::new(text, &[Type::INT4, Type::UUID_ARRAY, Type::UUID_ARRAY, Type::UUID_ARRAY])
});

/// Deletes all traces, except those in `$2`.
pub(super) static CLEAR: LazyLock<Statement> = LazyLock::new(|| {
    Statement::new(
        "DELETE FROM mnemon.traces WHERE space = $1 AND id <> ALL ($2)",
        &[Type::INT4, Type::UUID_ARRAY],
    )
});

pub(super) static DELETE: LazyLock<Statement> = LazyLock::new(|| {
    Statement::new(
        "DELETE FROM mnemon.traces WHERE space = $1 AND id = ANY ($2)",
        &[Type::INT4, Type::UUID_ARRAY],
    )
});

/// Writes whole rows, whether or not they are there.
pub(super) static UPSERT: LazyLock<Statement> = LazyLock::new(|| {
    let all: Vec<_> = NUMBERS.iter().chain(&CONTENT).cloned().collect();
    Statement::of(&all, "excluded", |names, arrays, sets| {
        format!(
            "INSERT INTO mnemon.traces (space, id, {names}) SELECT $1, u.* FROM unnest({arrays}) AS u (id, {names})
             ON CONFLICT (space, id) DO UPDATE SET {sets}"
        )
    })
});

/// Writes the numbers of rows; fails if one of them is not there.
pub(super) static UPDATE: LazyLock<Statement> = LazyLock::new(|| {
    Statement::of(&NUMBERS, "u", |names, arrays, sets| {
        format!(
            "WITH done AS (UPDATE mnemon.traces t SET {sets} FROM unnest({arrays}) AS u (id, {names})
                WHERE t.space = $1 AND t.id = u.id RETURNING 1)
             SELECT 1 / (count(*) = cardinality($2))::int FROM done"
        )
    })
});

pub(super) static DELETE_LINKS: LazyLock<Statement> = LazyLock::new(|| {
    let text = "DELETE FROM mnemon.links l USING unnest($2::uuid[], $3::uuid[]) AS u (a, b)
        WHERE l.space = $1 AND l.a = u.a AND l.b = u.b";
    Statement::new(text, &[Type::INT4, Type::UUID_ARRAY, Type::UUID_ARRAY])
});

/// Only between traces that have rows. Returns the links that were written.
pub(super) static UPSERT_LINKS: LazyLock<Statement> = LazyLock::new(|| {
    let text = "INSERT INTO mnemon.links AS l (space, a, b, count, first_at, last_at)
        SELECT $1, u.* FROM unnest($2::uuid[], $3::uuid[], $4::int8[], $5::int8[], $6::int8[])
            AS u (a, b, count, first_at, last_at)
        WHERE EXISTS (SELECT FROM mnemon.traces t WHERE t.space = $1 AND t.id = u.a)
            AND EXISTS (SELECT FROM mnemon.traces t WHERE t.space = $1 AND t.id = u.b)
        ON CONFLICT (space, a, b) DO UPDATE SET count = excluded.count, first_at = excluded.first_at,
            last_at = excluded.last_at
        RETURNING l.a, l.b";
    let (ids, numbers) = (Type::UUID_ARRAY, Type::INT8_ARRAY);
    Statement::new(text, &[Type::INT4, ids.clone(), ids, numbers.clone(), numbers.clone(), numbers])
});

/// Those of some links that are there.
pub(super) static FIND_LINKS: LazyLock<Statement> = LazyLock::new(|| {
    let text = "SELECT l.a, l.b FROM mnemon.links l JOIN unnest($2::uuid[], $3::uuid[]) AS u (a, b)
            ON l.a = u.a AND l.b = u.b
        WHERE l.space = $1";
    Statement::new(text, &[Type::INT4, Type::UUID_ARRAY, Type::UUID_ARRAY])
});

/// The values of a statement's parameters.
pub(super) type Values<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

pub(super) fn uuid(id: TraceId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) fn trace_id(id: Uuid) -> TraceId {
    TraceId::from_bytes(id.into_bytes())
}

/// The parameters of [`UPDATE`].
pub(super) fn numbers<'a>(space: i32, traces: &[&'a Trace]) -> Values<'a> {
    let mut columns = Columns { traces, values: vec![Box::new(space)] };
    columns.push(|trace| uuid(trace.id()));
    columns.numbers();
    columns.values
}

/// The parameters of [`UPSERT`].
pub(super) fn rows<'a>(space: i32, traces: &[&'a Trace]) -> Values<'a> {
    let mut columns = Columns { traces, values: vec![Box::new(space)] };
    columns.push(|trace| uuid(trace.id()));
    columns.numbers();
    columns.content();
    columns.values
}

struct Columns<'s, 'a> {
    traces: &'s [&'a Trace],
    values: Values<'a>,
}

impl<'a> Columns<'_, 'a> {
    fn push<T: ToSql + Sync + Send + 'a>(&mut self, value: impl Fn(&'a Trace) -> T) {
        self.values.push(Box::new(self.traces.iter().map(|trace| value(trace)).collect::<Vec<T>>()));
    }

    /// In the order of [`NUMBERS`].
    fn numbers(&mut self) {
        self.push(|trace| trace.numbers.strength);
        self.push(|trace| trace.numbers.peak_strength);
        self.push(|trace| trace.numbers.base_decay_rate);
        self.push(|trace| trace.numbers.emotional_valence);
        self.push(|trace| trace.numbers.emotional_intensity);
        self.push(|trace| trace.numbers.confidence);
        self.push(|trace| trace.numbers.last_reinforced.get());
        self.push(|trace| trace.numbers.last_decayed.get());
        self.push(|trace| trace.numbers.revision as i64);
        self.push(|trace| i64::from(trace.numbers.reinforcement_count));
        self.push(|trace| trace.numbers.tier.as_str());
        self.push(|trace| trace.numbers.unresolved);
        self.push(|trace| trace.numbers.consolidation_candidate);
        self.push(|trace| trace.numbers.pinned);
    }

    /// In the order of [`CONTENT`].
    fn content(&mut self) {
        self.push(|trace| trace.content.kind.as_str());
        self.push(|trace| trace.content.origin.as_str());
        self.push(|trace| trace.content.created_at.get());
        self.push(|trace| &*trace.content.names.partition);
        self.push(|trace| trace.content.rare.source_agent.as_deref());
        self.push(|trace| trace.content.rare.encryption_key_id.as_deref());
        self.push(|trace| trace.content.rare.parent.map(uuid));
        self.push(|trace| {
            let ids = &trace.content.rare.children;
            (!ids.is_empty()).then(|| ids.iter().flat_map(TraceId::as_bytes).copied().collect::<Vec<u8>>())
        });
        self.push(|trace| {
            let tags = &trace.content.names.tags;
            (!tags.is_empty()).then(|| {
                serde_json::Value::from(tags.iter().map(|tag| &**tag).collect::<Vec<_>>()).to_string()
            })
        });
        self.push(|trace| {
            let vector = trace.content.rare.embedding.as_deref();
            vector.map(|vector| vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
        });
        self.push(|trace| trace.content.rare.end.map(|end| end.at.get()));
        self.push(|trace| trace.content.rare.end.and_then(|end| end.superseded_by).map(uuid));
        self.push(|trace| trace.content.payload.as_str());
    }
}

/// The parameters of [`UPSERT_LINKS`].
pub(super) fn links(space: i32, links: &[&Link]) -> Values<'static> {
    let mut values = ends(space, links.iter().map(|link| link.ends()));
    values.push(Box::new(links.iter().map(|link| i64::from(link.count)).collect::<Vec<_>>()));
    values.push(Box::new(links.iter().map(|link| link.first_at.get()).collect::<Vec<_>>()));
    values.push(Box::new(links.iter().map(|link| link.last_at.get()).collect::<Vec<_>>()));
    values
}

/// The parameters of [`DELETE_LINKS`] and [`FIND_LINKS`].
pub(super) fn ends(space: i32, links: impl Iterator<Item = (TraceId, TraceId)>) -> Values<'static> {
    let (a, b): (Vec<_>, Vec<_>) = links.map(|(a, b)| (uuid(a), uuid(b))).unzip();
    vec![Box::new(space), Box::new(a), Box::new(b)]
}
