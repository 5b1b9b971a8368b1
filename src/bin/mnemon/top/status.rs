//! A status file, read: what mnemon's `StatusFile` writes.

use super::Reading;
use super::render::{line, render};
use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// A host writes once a second: after so long it has ended, or hangs.
const STALE: Duration = Duration::from_secs(10);

/// What a status file says. A later format may say more.
#[derive(Deserialize)]
pub struct Status {
    pub at: Timestamp,
    pub process: u32,
    pub health: String,
    pub trouble: Option<String>,
    pub traces: u64,
    pub links: u64,
    pub dirty: u64,
    pub lag_seconds: f64,
    pub last_flush_seconds: Option<f64>,
    pub mean_flush_seconds: Option<f64>,
    pub writes_per_second: Option<f64>,
    pub flushes_per_second: Option<f64>,
    pub rows_per_second: Option<f64>,
    pub wal_bytes: u64,
    pub committed: u64,
    pub durable: u64,
    pub quarantined: u64,
    #[serde(skip)]
    path: PathBuf,
    /// All that is in the file.
    #[serde(skip)]
    fields: Value,
}

impl Status {
    /// One that is no older than ten seconds.
    pub fn read(path: &Path) -> Result<Self> {
        let file = path.display();
        let text = fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow::anyhow!(
                "{file} is not there: start the host with `mnemon host --status`, or have yours write a StatusFile"
            ),
            _ => anyhow::Error::new(error).context(format!("{file} can't be read")),
        })?;
        let foreign = || format!("{file} is no status file: give the one that the host writes, or its store");
        let fields: Value = serde_json::from_slice(&text).with_context(foreign)?;
        let status = Self::deserialize(&fields).with_context(foreign)?;
        let (age, process) = (status.age(), status.process);
        if status.at.duration_since(Timestamp::now()) > SignedDuration::try_from(STALE)? {
            bail!(
                "{file} is of a time to come: its host, process {process}, has ended, or the clock was set back"
            );
        }
        match (age > STALE, status.is_closed()) {
            (true, true) => {
                bail!("{file} is {}: its host, process {process}, has closed the store", old(age))
            }
            (true, false) => bail!("{file} is {}: its host, process {process}, has ended or hangs", old(age)),
            (false, _) => Ok(Self { path: path.to_owned(), fields, ..status }),
        }
    }

    pub fn age(&self) -> Duration {
        Duration::try_from(Timestamp::now().duration_since(self.at)).unwrap_or_default()
    }

    fn is_closed(&self) -> bool {
        self.health == "closed"
    }
}

impl Reading for Status {
    fn json(&self) -> Value {
        self.fields.clone()
    }

    fn line(&self) -> String {
        line(self)
    }

    fn picture(&self, width: usize) -> Vec<String> {
        render(&self.path, self, width)
    }

    fn is_same(&self, last: &Self) -> bool {
        self.at == last.at
    }

    fn is_last(&self) -> bool {
        self.is_closed()
    }
}

/// In whole units, as people say it.
fn old(age: Duration) -> String {
    let seconds = age.as_secs();
    let (number, unit) = match seconds {
        0..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3_600, "hours"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit} old")
}

#[cfg(test)]
mod tests {
    use super::old;
    use std::time::Duration;

    #[test]
    fn an_age_is_said_in_the_unit_that_suits_it() {
        let ages = [11, 119, 120, 7_199, 7_200, 172_799, 172_800].map(Duration::from_secs);
        let said = ["11 seconds", "119 seconds", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days"];
        assert_eq!(ages.map(old), said.map(|said| format!("{said} old")));
    }
}
