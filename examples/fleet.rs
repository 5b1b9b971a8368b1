//! One host of a fleet. You see what the owner of the space before has left, and each memory once it is in the database;
//! where another host has the space, it waits until that one ends. Start two, and kill the one that writes:
//! `cargo run --features postgres --example fleet -- postgres://localhost/agents agent-7`

use mnemon::{NewTrace, TraceStore};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, space] = &arguments[..] else { return Err("give the URL of a database, and a space".into()) };
    // So soon another host may take the space over once this one is gone.
    let builder = TraceStore::builder().space(space.as_str()).lease(Duration::from_secs(2));
    let store = builder.wait_for_lease(Duration::from_secs(3_600)).connect(url)?;
    println!("{} memories are here", store.len());
    loop {
        store.insert(NewTrace::text("a boat came in"))?;
        store.flush()?; // `InUse` if another host has taken the space over
        println!("{} memories are in the database", store.len());
        std::thread::sleep(Duration::from_millis(100));
    }
}
