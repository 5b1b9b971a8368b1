//! Writing through: what a host does that puts each change into a store on disk at once, without a sync.

use crate::Outcome;
use mnemon::{Durability, TraceId, TraceStore};
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Puts a record under an id. It survives the end of the process; with some a moment later.
pub trait Puts: Sync {
    fn name(&self) -> &'static str;
    fn put(&self, id: TraceId, number: f64) -> Outcome;
}

/// The record of a put that writes bytes: what a trace of 300 bytes comes to as JSON.
fn record(id: TraceId, number: f64) -> Vec<u8> {
    format!(r#"{{"id":"{id}","confidence":{number},"payload":"{:0>448}"}}"#, 1).into_bytes()
}

impl Puts for TraceStore {
    fn name(&self) -> &'static str {
        "mnemon"
    }

    fn put(&self, id: TraceId, number: f64) -> Outcome {
        self.update(id, |trace| trace.confidence(number))?;
        Ok(())
    }
}

/// A store in the folder, with the traces of `ids` to be.
pub fn mnemon(folder: &Path, count: usize) -> Outcome<(TraceStore, Vec<TraceId>)> {
    let store = TraceStore::builder().durability(Durability::Committed).open(folder.join("mnemon.db"))?;
    let ids = crate::fill(&store, count)?;
    store.flush()?;
    Ok((store, ids))
}

/// A transaction for each row, a prepared statement, WAL, `synchronous = NORMAL`.
pub struct Sqlite(Mutex<Connection>);

impl Sqlite {
    pub fn filled(folder: &Path, ids: &[TraceId]) -> Outcome<Self> {
        let connection = Connection::open(folder.join("plain.db"))?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.execute_batch(
            "PRAGMA synchronous = NORMAL;
             CREATE TABLE records (id BLOB PRIMARY KEY, confidence REAL, record BLOB) STRICT; BEGIN",
        )?;
        for id in ids {
            let (id, record) = (uuid::Uuid::from(*id), record(*id, 0.0));
            connection.execute("INSERT INTO records VALUES (?1, 0, ?2)", params![id.as_bytes(), record])?;
        }
        connection.execute_batch("COMMIT")?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Puts for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite write-through"
    }

    fn put(&self, id: TraceId, number: f64) -> Outcome {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut update = connection.prepare_cached("UPDATE records SET confidence = ?2 WHERE id = ?1")?;
        update.execute(params![uuid::Uuid::from(id).as_bytes(), number])?;
        Ok(())
    }
}

const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("records");

/// `Durability::None`.
pub struct Redb(redb::Database);

impl Redb {
    pub fn filled(folder: &Path, ids: &[TraceId]) -> Outcome<Self> {
        let database = redb::Database::create(folder.join("redb"))?;
        let all = database.begin_write()?;
        {
            let mut table = all.open_table(TABLE)?;
            for id in ids {
                table.insert(uuid::Uuid::from(*id).as_bytes().as_slice(), record(*id, 0.0).as_slice())?;
            }
        }
        all.commit()?;
        Ok(Self(database))
    }
}

impl Puts for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn put(&self, id: TraceId, number: f64) -> Outcome {
        let mut one = self.0.begin_write()?;
        one.set_durability(redb::Durability::None)?;
        let record = record(id, number);
        one.open_table(TABLE)?.insert(uuid::Uuid::from(id).as_bytes().as_slice(), record.as_slice())?;
        one.commit()?;
        Ok(())
    }
}

/// Into the buffers of the system at once.
pub struct Fjall {
    keyspace: fjall::Keyspace,
    _database: fjall::Database,
}

impl Fjall {
    pub fn filled(folder: &Path, ids: &[TraceId]) -> Outcome<Self> {
        let database = fjall::Database::builder(folder.join("fjall")).open()?;
        let keyspace = database.keyspace("records", fjall::KeyspaceCreateOptions::default)?;
        for id in ids {
            keyspace.insert(uuid::Uuid::from(*id).as_bytes(), record(*id, 0.0))?;
        }
        Ok(Self { keyspace, _database: database })
    }
}

impl Puts for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn put(&self, id: TraceId, number: f64) -> Outcome {
        self.keyspace.insert(uuid::Uuid::from(id).as_bytes(), record(id, number))?;
        Ok(())
    }
}

/// Flushed by its own thread each 500 ms, as by default.
pub struct Sled(sled::Db);

impl Sled {
    pub fn filled(folder: &Path, ids: &[TraceId]) -> Outcome<Self> {
        let database = sled::open(folder.join("sled"))?;
        for id in ids {
            database.insert(uuid::Uuid::from(*id).as_bytes(), record(*id, 0.0))?;
        }
        Ok(Self(database))
    }
}

impl Puts for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn put(&self, id: TraceId, number: f64) -> Outcome {
        self.0.insert(uuid::Uuid::from(id).as_bytes(), record(id, number))?;
        Ok(())
    }
}
