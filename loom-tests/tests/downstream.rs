//! An example to copy: how a crate that uses mnemon model-checks code of its own. You see one test pass, after loom has
//! run it in every order that its two threads can take with as many preemptions as `LOOM_MAX_PREEMPTIONS` allows.
//! Without `--cfg loom` there is nothing.
#![cfg(loom)]

use mnemon::{NewTrace, TraceId, TraceStore};

/// Code of yours: notes one more visit, starting the count with the first.
fn note_visit(store: &TraceStore, page: TraceId) -> mnemon::Result<()> {
    let visited = store.update(page, |trace| {
        let so_far = trace.before().payload().as_value().ok().and_then(|count| count.as_u64());
        trace.payload(serde_json::json!(so_far.unwrap_or(0) + 1))
    })?;
    if visited.is_some() {
        return Ok(());
    }
    match store.insert(NewTrace::episodic(serde_json::json!(1)).id(page)) {
        // Another thread began the count meanwhile.
        Err(error) if error.kind() == mnemon::ErrorKind::AlreadyExists => note_visit(store, page),
        other => other.map(drop),
    }
}

#[test]
fn two_visits_at_once_both_count() {
    loom::model(|| {
        let store = TraceStore::in_memory();
        let page = TraceId::from_reference("/index.html");
        let other = store.clone();
        let visitor = loom::thread::spawn(move || note_visit(&other, page));
        note_visit(&store, page).unwrap();
        visitor.join().unwrap().unwrap();

        let count = store.get(page).unwrap().payload().as_value().unwrap();
        assert_eq!(count, 2);
        assert_eq!(store.stats().dirty, 1);
        store.flush().unwrap();
        assert_eq!(store.stats().dirty, 0);
    });
}
