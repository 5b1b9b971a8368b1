//! The tables, their version, and the steps from one version to the next.

use super::columns;
use super::error::{Failure, is_not_there};
use crate::backend::BackendError;
use crate::error::ErrorKind;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// The steps to each version from the one before; the last is the one that this crate writes.
const STEPS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema_2.sql")];

/// Names the lock under which the schema is made and changed; any constant that nobody else uses.
const LOCK: i64 = 0x006d_6e65_6d6f_6e01;

/// Makes the schema if it is not there, or brings it to the version that this crate writes. To be called outside of a
/// transaction; `begin` begins one.
pub(super) async fn prepare(client: &Client, begin: &str) -> Result<(), Failure> {
    if version(client).await? < STEPS.len() {
        // Two hosts that make the same schema at once would get in each other's way.
        client.batch_execute(&format!("{begin}; SELECT pg_advisory_xact_lock({LOCK})")).await?;
        let from = version(client).await?;
        for step in STEPS.iter().skip(from) {
            client.batch_execute(step).await.map_err(of_another)?;
        }
        let version = STEPS.len();
        client
            .batch_execute(&format!(
                "INSERT INTO mnemon.version (version) VALUES ({version})
                    ON CONFLICT (one) DO UPDATE SET version = excluded.version; COMMIT"
            ))
            .await?;
    }
    check_columns(client).await
}

/// Whether there is a schema, of this version or an earlier one.
pub(super) async fn is_there(client: &Client) -> Result<bool, Failure> {
    Ok(version(client).await? > 0)
}

/// The version of the schema; 0 if there is none.
async fn version(client: &Client) -> Result<usize, Failure> {
    let sql = "SELECT current_setting('server_encoding') AS encoding,
        to_regclass('mnemon.version') IS NOT NULL AS is_there,
        EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('mnemon')) AS is_taken";
    let row = client.query_typed_one(sql, &[]).await?;
    let encoding: String = row.try_get("encoding")?;
    if encoding != "UTF8" {
        return Err(foreign(format!("its encoding is {encoding}, not UTF8")).into());
    }
    match (row.try_get("is_there")?, row.try_get("is_taken")?) {
        (true, _) => {}
        (false, true) => {
            return Err(foreign("its schema mnemon is that of another program".to_owned()).into());
        }
        (false, false) => return Ok(0),
    }
    let found =
        client.query_typed_opt("SELECT v.version FROM mnemon.version v", &[]).await.map_err(of_another)?;
    let found = found.map(|row| row.try_get::<_, i32>(0)).transpose()?;
    let version = found.and_then(|version| usize::try_from(version).ok()).filter(|version| *version > 0);
    let version = version.ok_or_else(|| foreign("its schema mnemon has no version".to_owned()))?;
    let newest = STEPS.len();
    if version > newest {
        let message = format!(
            "the schema mnemon has version {version}, and this version of mnemon knows up to {newest}"
        );
        let failure =
            BackendError::new(ErrorKind::NewerSchema, message).with_hint("use a newer version of mnemon");
        return Err(failure.into());
    }
    Ok(version)
}

/// Whether all that is written and read is there.
async fn check_columns(client: &Client) -> Result<(), Failure> {
    let sql = format!(
        "SELECT {} FROM mnemon.traces, mnemon.spaces s, mnemon.links l, mnemon.cuts c WHERE false AND $1 = 0
            AND (s.name, s.epoch, s.boot, s.resumes, s.applied, s.owner, s.lease_until, s.followed_until, s.watermark,
                s.clean) IS NULL
            AND (l.space, l.a, l.b, l.count, l.first_at, l.last_at) IS NULL
            AND (c.space, c.previous, c.watermark, c.at, c.ids, c.links) IS NULL",
        columns::names("traces."),
    );
    client.query_typed(&sql, &[(&0_i32, Type::INT4)]).await.map_err(of_another)?;
    Ok(())
}

fn of_another(error: tokio_postgres::Error) -> Failure {
    if is_not_there(&error) {
        foreign("its schema mnemon is not as mnemon makes it".to_owned()).into()
    } else {
        error.into()
    }
}

fn foreign(why: String) -> BackendError {
    BackendError::new(ErrorKind::NotAStore, format!("the database can't hold a store: {why}"))
        .with_hint("give another database")
}
