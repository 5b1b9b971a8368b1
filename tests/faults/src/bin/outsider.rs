//! Somebody else's process, for the tests: it does one thing to a store's file.
//!
//! - `outsider lock FILE` begins a transaction that writes, says so, and keeps it until its input ends;
//! - `outsider scribble FILE OFFSET BYTES` writes over a part of the file;
//! - `outsider cut FILE LENGTH` makes it so long, shorter or longer;
//! - `outsider copy FROM TO` copies, into the file that is there;
//! - `outsider own FILE` opens it as a store, says so or why not, and closes it when its input ends.
//!
//! None of it can be done by the test's own process: a process's locks do not exclude itself, and closing a file
//! gives up all that it holds.

use mnemon::TraceStore;
use rusqlite::Connection;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["lock", file] => lock(Path::new(file)),
        ["scribble", file, offset, bytes] => scribble(Path::new(file), offset.parse()?, bytes.parse()?),
        ["cut", file, length] => Ok(OpenOptions::new().write(true).open(file)?.set_len(length.parse()?)?),
        ["copy", from, to] => Ok(std::fs::copy(from, to).map(drop)?),
        ["own", file] => own(Path::new(file)),
        _ => {
            Err("usage: outsider lock|own FILE | scribble FILE OFFSET BYTES | cut FILE LENGTH | copy FROM TO"
                .into())
        }
    }
}

fn lock(file: &Path) -> Outcome {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    println!("locked");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(connection.execute_batch("ROLLBACK")?)
}

fn scribble(file: &Path, offset: u64, bytes: usize) -> Outcome {
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file.write_all(&vec![0xa5; bytes])?)
}

fn own(file: &Path) -> Outcome {
    let store = match TraceStore::open(file) {
        Ok(store) => store,
        Err(error) => {
            println!("{error:?}");
            return Ok(());
        }
    };
    println!("owned");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(store.close().map(drop)?)
}
