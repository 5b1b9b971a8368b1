//! The tables of the original system, LegionIO's lex-agentic-memory, as it has them in PostgreSQL.

use super::error::Failure;
use super::lease::begin;
use super::server::Server;
use crate::backend::BackendError;
use crate::error::ErrorKind;
use std::time::{Duration, Instant};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

/// Time that the reading of both tables may take.
const LIMIT: Duration = Duration::from_secs(3_600);

/// Rows as JSON objects, with the columns that there are.
pub(crate) struct Rows {
    pub(crate) traces: Vec<String>,
    /// Each pair once: the original counts each order of its two traces in a row of its own.
    pub(crate) pairs: Vec<String>,
}

/// Reads both tables as of one moment: all rows, or those of one tenant, where an empty name stands for none.
pub(crate) fn original(url: &str, tenant: Option<String>) -> Result<Rows, BackendError> {
    let server = Server::of(url)?;
    let (lender, place) = (server.clone(), server.place().to_owned());
    let read = server.run(Instant::now() + LIMIT, async move {
        let lent = lender.lend().await?;
        let begin = begin(LIMIT);
        lent.batch_execute(&format!(
            "{begin}; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL TIME ZONE 'UTC'"
        ))
        .await?;
        let sql = "SELECT count(*) FILTER (WHERE attrelid = to_regclass('memory_traces')
                AND attname IN ('trace_id', 'trace_type', 'content')) = 3,
            to_regclass('memory_associations') IS NOT NULL
            FROM pg_attribute WHERE NOT attisdropped";
        let there = lent.query_typed_one(sql, &[]).await?;
        let (has_traces, has_pairs): (bool, bool) = (there.try_get(0)?, there.try_get(1)?);
        if !has_traces {
            lent.roll_back().await;
            let message = format!(
                "{place} has no table memory_traces with ids, types and content: give a database of the original system"
            );
            return Err(BackendError::new(ErrorKind::NotAStore, message).into());
        }
        // By way of JSON, since a database may lack the column.
        let is_of_tenant = "($1::text IS NULL OR coalesce(to_jsonb(t) ->> 'tenant_id', '') = $1)";
        let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&tenant, Type::TEXT)];
        let sql = format!("SELECT to_json(t)::text FROM memory_traces t WHERE {is_of_tenant} ORDER BY id");
        let traces = lent.query_typed(&sql, &parameters).await?;
        let sql = format!(
            "SELECT json_build_object('id', min(id),
                'trace_id_a', least(trace_id_a, trace_id_b), 'trace_id_b', greatest(trace_id_a, trace_id_b),
                'coactivation_count', sum(coactivation_count),
                'created_at', min(created_at), 'updated_at', max(updated_at))::text
            FROM memory_associations WHERE $1::text IS NULL OR EXISTS (
                SELECT FROM memory_traces t WHERE t.trace_id IN (trace_id_a, trace_id_b) AND {is_of_tenant})
            GROUP BY least(trace_id_a, trace_id_b), greatest(trace_id_a, trace_id_b) ORDER BY min(id)"
        );
        let pairs = if has_pairs { lent.query_typed(&sql, &parameters).await? } else { Vec::new() };
        lent.batch_execute("COMMIT").await?;
        lent.give_back();
        let texts = |rows: Vec<Row>| rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<_>, _>>();
        Ok::<_, Failure>(Rows { traces: texts(traces)?, pairs: texts(pairs)? })
    });
    read.map_err(|failure| failure.explained("reading", server.place(), LIMIT))
}
