//! Kill it and run it again, as often as you like: you see what was durable, and that nothing is missing.
//!
//! `cargo run --example crash` writes until it is killed (`kill -9`, or Ctrl-C). With a number of steps it ends by
//! itself.

use mnemon::{NewTrace, TraceId, TraceStore};
use serde_json::json;

fn main() -> mnemon::Result<()> {
    let steps = std::env::args().nth(1).and_then(|steps| steps.parse().ok()).unwrap_or(usize::MAX);
    let id = |n: usize| TraceId::from_reference(&format!("step {n}"));
    let store = TraceStore::open("crash.db")?;
    let found = store.len();
    // A cut has with a write every write before it: so the first ones are there, and none is missing.
    let missing = (0..found).filter(|&n| !store.contains(id(n))).count();
    println!("found {found}, missing {missing}");
    for n in (found..usize::MAX).take(steps) {
        store.insert(NewTrace::episodic(json!({"step": n})).id(id(n)))?;
        if n % 10_000 == 9_999 {
            store.flush()?;
            println!("durable {}", n + 1);
        }
    }
    Ok(())
}
