//! How much stack a thread needs that calls the store.
#![cfg(feature = "sqlite")]

use harness::{Outcome, TestDir, note};
use mnemon::{NewTrace, Payload, Progress, TraceStore};

/// What the guide says is enough, in a debug build too; with too little the process ends.
const STACK: usize = 256 << 10;

#[test]
fn small_stack_suffices_for_every_call() -> Outcome {
    let file = TestDir::new()?;
    let calls = move || -> Result<(), String> {
        let calls = || -> Outcome {
            let store = TraceStore::open(file.path())?;
            let ids = store.insert_many((0..3).map(|n| note(n).tag("x")))?;
            store.update(ids[0], |trace| trace.confidence(0.5))?;
            store.co_activate(ids[0], ids[1])?;
            assert!(store.reinforce(ids[0])?.is_some());
            // The deepest payload that is taken.
            let deepest = "[".repeat(127) + &"]".repeat(127);
            let deep = store.insert(NewTrace::semantic(Payload::from_json(deepest)?))?;
            store.get(deep).ok_or("it is there")?.payload().as_value()?;
            assert_eq!(store.query().tagged("x").limit(5).run().len(), 3);
            store.rank(ids.iter().copied());
            store.walk(ids[0], 4, 0.0);
            store.decay()?;
            store.remove(ids[2])?;
            store.flush()?;
            store.close()?;
            assert!(mnemon::verify(file.path(), Progress::ignore)?.is_sound());
            mnemon::inspect(file.path())?;
            mnemon::backup(file.path(), file.folder().join("copy.db"), Progress::ignore)?;
            Ok(TraceStore::open(file.path())?.close().map(drop)?)
        };
        calls().map_err(|error| error.to_string())
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(calls)?;
    Ok(thread.join().map_err(|_| "it panicked")??)
}
