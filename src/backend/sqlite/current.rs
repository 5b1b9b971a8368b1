//! The view `current_traces`, for readers of the file: the traces with their strengths as of now, and whether they are
//! valid.

use crate::memory::DecayCurve;
use crate::memory::constants::{EMOTION_WEIGHT, RATE_OF_HALF_LIFE, TICK_SECONDS};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

/// Makes the view for this curve, in place of one for another. A table or index of that name is a person's, and stays.
pub(super) fn show(connection: &mut Connection, curve: DecayCurve) -> rusqlite::Result<()> {
    let sql = view(curve);
    // The name of a trigger takes no other's.
    let found = connection.query_row(
        "SELECT type = 'view', sql = ?1 FROM sqlite_schema
         WHERE name = 'current_traces' COLLATE NOCASE AND type <> 'trigger'",
        [&sql],
        |row| Ok((row.get(0)?, row.get(1)?)),
    );
    if matches!(found.optional()?, Some((false, _) | (_, Some(true)))) {
        return Ok(());
    }
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(&format!("DROP VIEW IF EXISTS current_traces; {sql}"))?;
    transaction.commit()
}

/// Computes what [`DecayCurve::strength_at`] does, for the time of the query. Needs SQLite's `pow`.
fn view(curve: DecayCurve) -> String {
    let elapsed = "max(now - last_reinforced, 0) / 1e6";
    let rate = format!("base_decay_rate / (1 + {EMOTION_WEIGHT} * emotional_intensity)");
    let left = match curve {
        DecayCurve::PowerLaw => format!("pow({elapsed} / {TICK_SECONDS:?} + 1, -({rate}))"),
        DecayCurve::Exponential { half_life } if half_life.is_zero() => {
            "CASE WHEN now > last_reinforced AND base_decay_rate > 0 THEN 0 ELSE 1 END".to_owned()
        }
        DecayCurve::Exponential { half_life } => {
            let half_life = half_life.as_secs_f64();
            format!("pow(2, -({elapsed} / {half_life:?} * ({rate}) / {RATE_OF_HALF_LIFE}))")
        }
        DecayCurve::None => "1".to_owned(),
    };
    format!(
        "CREATE VIEW current_traces AS
SELECT traces.*, CASE type WHEN 'firmware' THEN strength ELSE min(
    CASE WHEN last_decayed > max(now, last_reinforced) THEN 1.0 ELSE strength END,
    peak_strength * {left}) END AS current_strength, coalesce(valid_until > now, 1) AS is_valid
FROM traces, (SELECT CAST((julianday('now') - 2440587.5) * 86400e6 AS INTEGER) AS now)"
    )
}
