//! Errors that are logged become memories: which, what they say, and what is never done.
#![cfg(feature = "tracing-layer")]

use harness::Outcome;
use harness::backend::{Answer, Log, look, scripted};
use mnemon::{ErrorCounts, ErrorKind, ErrorMemories, LagPolicy, NewTrace, Trace, TraceStore, TraceType};
use serde_json::{Value, json};
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tracing::subscriber::with_default;
use tracing::{Dispatch, error, info};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// The thread's subscriber is the layer, over this store, while `work` runs.
fn logged(store: &TraceStore, work: impl FnOnce()) -> ErrorMemories {
    let errors = ErrorMemories::new(store);
    with_default(tracing_subscriber::registry().with(errors.clone()), work);
    errors
}

/// Stored, suppressed, dropped.
fn counts(errors: &ErrorMemories) -> (usize, usize, usize) {
    let ErrorCounts { stored, suppressed, dropped, .. } = errors.counts();
    (stored, suppressed, dropped)
}

fn only(store: &TraceStore) -> Outcome<Arc<Trace>> {
    let mut traces = store.iter();
    match (traces.next(), traces.next()) {
        (Some(trace), None) => Ok(trace),
        _ => Err(format!("{} traces, not one", store.len()).into()),
    }
}

fn payload(store: &TraceStore) -> Outcome<Value> {
    Ok(only(store)?.payload().as_value()?)
}

#[test]
fn error_becomes_unresolved_episodic_trace() -> Outcome {
    let store = TraceStore::builder().partition("agent-7").in_memory()?;
    let cause = std::io::Error::other("rusty");
    let line = line!() + 2;
    let errors = logged(&store, || {
        error!(target: "Harbour::Gate", berth = 7, depth = -1.5, open = false, who = "Ana", cause = &cause as &dyn std::error::Error, at = ?(1, 2), none = f64::NAN, "gate {} is stuck", 3);
    });
    assert_eq!(counts(&errors), (1, 0, 0));
    let trace = only(&store)?;
    assert_eq!(trace.trace_type(), TraceType::Episodic);
    assert_eq!(trace.tags().collect::<Vec<_>>(), ["error", "harbour::gate"]);
    assert_eq!((trace.emotional_valence(), trace.emotional_intensity()), (-0.6, 0.7));
    assert_eq!((trace.confidence(), trace.is_unresolved()), (0.9, true));
    assert_eq!(trace.partition(), "agent-7");
    let expected = json!({
        "message": "gate 3 is stuck",
        "target": "Harbour::Gate",
        "level": "ERROR",
        "file": file!(),
        "line": line,
        "fields": {
            "berth": 7, "depth": -1.5, "open": false, "who": "Ana", "cause": "rusty", "at": "(1, 2)",
            "none": "NaN",
        },
        "cut": false,
    });
    assert_eq!(trace.payload().as_value()?, expected);
    Ok(())
}

#[test]
fn other_levels_pass_through() {
    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicUsize>);
    impl<S: tracing::Subscriber> Layer<S> for Counting {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (store, others) = (TraceStore::in_memory(), Counting::default());
    let errors = ErrorMemories::new(&store);
    let subscriber = tracing_subscriber::registry().with(errors.clone()).with(others.clone());
    with_default(subscriber, || {
        tracing::trace!("calm");
        tracing::debug!("calm");
        info!("calm");
        tracing::warn!("a little wind");
    });
    assert_eq!((store.len(), counts(&errors)), (0, (0, 0, 0)));
    assert_eq!(others.0.load(Ordering::Relaxed), 4);
}

#[test]
fn only_repeats_are_suppressed() {
    let store = TraceStore::in_memory();
    let errors = logged(&store, || {
        for berth in 0..3 {
            error!(target: "north", berth, "stuck");
        }
        error!(target: "south", "stuck");
        error!(target: "north", "loose");
    });
    assert_eq!((store.len(), counts(&errors)), (3, (3, 2, 0)));
}

#[test]
fn event_without_message_has_its_place() -> Outcome {
    let store = TraceStore::in_memory();
    let errors = logged(&store, || {
        for berth in 0..2 {
            error!(berth);
        }
    });
    assert_eq!(counts(&errors), (1, 1, 0));
    let message = payload(&store)?["message"].to_string();
    assert!(message.contains(file!()), "{message}");
    with_default(tracing_subscriber::registry().with(errors.clone()), || error!(berth = 0));
    assert_eq!(counts(&errors), (2, 1, 0), "another place");
    Ok(())
}

#[test]
fn error_storm_makes_bounded_traces() {
    const THREADS: usize = 8;
    const EACH: usize = 12_500;
    let (store, barrier) = (TraceStore::in_memory(), Barrier::new(THREADS));
    let errors = ErrorMemories::new(&store);
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(errors.clone()));
    let started = Instant::now();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (dispatch, barrier) = (&dispatch, &barrier);
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    barrier.wait();
                    (0..EACH).for_each(|n| error!("error {n} of thread {thread}"));
                });
            });
        }
    });
    // Once, and once more for each minute that the test takes.
    let minutes = 1 + started.elapsed().as_secs() as usize / 60;
    let (stored, suppressed, dropped) = counts(&errors);
    assert!((1_024..=1_024 * minutes).contains(&stored), "{stored} were stored");
    assert_eq!((suppressed, stored + dropped), (0, THREADS * EACH));
    assert_eq!(store.len(), stored);
}

#[test]
fn same_error_of_threads_is_one() {
    const THREADS: usize = 8;
    let (store, barrier) = (TraceStore::in_memory(), Barrier::new(THREADS));
    let errors = ErrorMemories::new(&store);
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(errors.clone()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    barrier.wait();
                    error!("the database is gone");
                });
            });
        }
    });
    assert_eq!((store.len(), counts(&errors)), (1, (1, THREADS - 1, 0)));
}

#[test]
fn errors_of_this_crate_are_ignored() {
    let store = TraceStore::in_memory();
    let errors = logged(&store, || {
        error!(target: "mnemon", "of its own");
        error!(target: "mnemon::store::close", "of its own");
        error!(target: "mnemonics", "of another");
    });
    assert_eq!((store.len(), counts(&errors)), (1, (1, 0, 0)));
}

/// The guard against recursion must not outlive the panic.
#[test]
fn panicking_field_silences_no_thread() {
    struct Panicking;
    impl fmt::Display for Panicking {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            std::panic::resume_unwind(Box::new(()))
        }
    }
    let store = TraceStore::in_memory();
    let errors = logged(&store, || {
        let logging = std::panic::catch_unwind(|| error!("{Panicking}"));
        assert!(logging.is_err());
        error!("after it");
    });
    assert_eq!(counts(&errors), (1, 0, 0));
}

#[test]
fn long_text_is_cut_and_marked() -> Outcome {
    let long = "é".repeat(1 << 20);
    let fits = "x".repeat(4_096);
    let store = TraceStore::in_memory();
    logged(&store, || error!("x{long}"));
    let found = payload(&store)?;
    assert_eq!((&found["message"], &found["cut"]), (&json!(format!("x{}…", &long[..4_094])), &json!(true)));

    let store = TraceStore::in_memory();
    logged(&store, || error!("{fits}"));
    let found = payload(&store)?;
    assert_eq!((&found["message"], &found["cut"]), (&json!(fits), &json!(false)));

    let store = TraceStore::in_memory();
    logged(&store, || error!(long, short = "whole", "m"));
    let found = payload(&store)?;
    assert_eq!(
        (&found["fields"]["long"], &found["cut"]),
        (&json!(format!("{}…", &long[..1_024])), &json!(true))
    );
    assert_eq!(found["fields"]["short"], "whole");
    Ok(())
}

/// A value that would write for ever is asked for no more than it may say.
#[test]
fn formatting_ends_at_the_cut() -> Outcome {
    struct Endless;
    impl fmt::Debug for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("and on ")?;
            }
        }
    }
    let store = TraceStore::in_memory();
    logged(&store, || error!(value = ?Endless, "m"));
    assert_eq!(payload(&store)?["cut"], true);
    Ok(())
}

#[test]
fn fields_are_bounded_alone_and_together() -> Outcome {
    /// An event with forty fields of the same value.
    macro_rules! wide_error {
        ($value:expr; $($name:ident)*) => { error!($($name = $value,)* "wide") };
    }
    let wide = |text: &str| -> Outcome<Value> {
        let store = TraceStore::in_memory();
        logged(&store, || {
            wide_error!(text; f00 f01 f02 f03 f04 f05 f06 f07 f08 f09 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19
                f20 f21 f22 f23 f24 f25 f26 f27 f28 f29 f30 f31 f32 f33 f34 f35 f36 f37 f38 f39);
        });
        payload(&store)
    };
    let found = wide("short")?;
    assert_eq!(found["fields"].as_object().map(|fields| fields.len()), Some(32));
    assert_eq!(found["cut"], true);

    let found = wide(&"x".repeat(1_024))?;
    let fields = found["fields"].as_object().ok_or("no fields")?;
    let bytes = |text: &Value| text.as_str().map_or(0, |text| text.trim_end_matches('…').len());
    let total: usize = fields.iter().map(|(name, text)| name.len() + bytes(text)).sum();
    assert_eq!((total, &found["cut"]), (16_384, &json!(true)));
    Ok(())
}

#[test]
fn any_target_becomes_a_tag() -> Outcome {
    // A thousand times a letter of two bytes, which has three in lower case.
    const LETTERS: [[u8; 2]; 1_000] = [[0xc8, 0xba]; 1_000];
    const LONG: &str = match str::from_utf8(LETTERS.as_flattened()) {
        Ok(letters) => letters,
        Err(_) => "",
    };
    let tags = |work: fn()| -> Outcome<Vec<String>> {
        let store = TraceStore::in_memory();
        logged(&store, work);
        Ok(only(&store)?.tags().map(str::to_owned).collect())
    };
    assert_eq!(tags(|| error!(target: LONG, "m"))?, ["error".to_owned(), "ⱥ".repeat(341)]);
    assert_eq!(tags(|| error!(target: "Un\0fit", "m"))?, ["error", "un\u{fffd}fit"]);
    assert_eq!(tags(|| error!(target: "ERROR", "m"))?, ["error"]);
    assert_eq!(tags(|| error!(target: "", "m"))?, ["error"]);
    Ok(())
}

/// As `tracing-log` hands on what is logged by way of the `log` crate.
#[test]
fn bridged_record_keeps_target_and_place() -> Outcome {
    let store = TraceStore::in_memory();
    let bridged = |target: &str| {
        error!(target: "log", { log.target = target, log.file = "gate.rs", log.line = 12u64 }, "stuck");
    };
    let errors = logged(&store, || {
        bridged("Harbour");
        bridged("mnemon::store");
    });
    assert_eq!(counts(&errors), (1, 0, 0));
    assert!(only(&store)?.has_tag("harbour"));
    let found = payload(&store)?;
    assert_eq!((&found["target"], &found["file"]), (&json!("Harbour"), &json!("gate.rs")));
    assert_eq!((&found["line"], &found["fields"]), (&json!(12), &json!({})));
    Ok(())
}

#[test]
fn refused_error_is_counted_storable_later() -> Outcome {
    let store = TraceStore::builder().max_payload_bytes(300).in_memory()?;
    let errors = logged(&store, || {
        error!(detail = "x".repeat(1_000), "stuck");
        error!(detail = "short", "stuck");
    });
    assert_eq!((store.len(), counts(&errors)), (1, (1, 0, 1)));
    Ok(())
}

#[test]
fn lagging_store_is_left_alone() -> Outcome {
    let never = Duration::from_secs(3600);
    let store = TraceStore::builder()
        .flush_interval(never)
        .lag_bound(Duration::ZERO)
        .when_lagging(LagPolicy::RejectWrites)
        .in_memory()?;
    store.insert(NewTrace::semantic(json!("the oldest change")))?;
    let errors = logged(&store, || error!("stuck"));
    assert_eq!((store.len(), counts(&errors)), (1, (0, 0, 1)));
    Ok(())
}

#[test]
fn after_a_close_nothing_happens() -> Outcome {
    let store = TraceStore::in_memory();
    let clone = store.clone();
    let errors = ErrorMemories::new(&store);
    let subscriber = tracing_subscriber::registry().with(errors.clone());
    with_default(subscriber, || -> Outcome {
        error!("the gate is stuck");
        store.close()?;
        error!("the gate is stuck");
        error!("the gate is lost");
        assert_eq!((clone.len(), counts(&errors)), (1, (1, 0, 0)), "closed");
        drop(clone);
        error!("the gate is gone");
        assert_eq!(counts(&errors), (1, 0, 0), "gone");
        Ok(())
    })
}

#[test]
fn layer_does_not_keep_store_open() -> Outcome {
    let (backend, log) = scripted(|_| Answer::Apply);
    let store = TraceStore::builder().open_with(backend)?;
    let errors = ErrorMemories::new(&store);
    with_default(tracing_subscriber::registry().with(errors.clone()), || {
        error!("before");
        drop(store);
        assert_eq!(look(&log).closed, 1, "the drop of the store closed it");
        error!("after");
    });
    assert_eq!(counts(&errors), (1, 0, 0));
    Ok(())
}

/// The flusher goes on trying after such a drop; what is left to write must not grow.
#[test]
fn undrained_dropped_store_gets_nothing() -> Outcome {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = failing.clone();
    let (backend, _) = scripted(move |_| {
        if fails.load(Ordering::Acquire) { Answer::Fail(ErrorKind::DiskFull) } else { Answer::Apply }
    });
    let store = TraceStore::builder().close_timeout(Duration::ZERO).open_with(backend)?;
    let errors = ErrorMemories::new(&store);
    with_default(tracing_subscriber::registry().with(errors.clone()), || {
        error!("before");
        drop(store);
        error!("after");
    });
    assert_eq!(counts(&errors), (1, 0, 0));
    failing.store(false, Ordering::Release);
    Ok(())
}

/// The layer owns no handle even while it is at work: the thread that logs never has to drain the store.
#[test]
fn store_dropped_in_layer_closes_there() -> Outcome {
    struct Dropping {
        store: Cell<Option<TraceStore>>,
        log: Arc<Mutex<Log>>,
        ended_in_drop: Cell<usize>,
    }
    impl fmt::Display for Dropping {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            drop(self.store.take());
            self.ended_in_drop.set(look(&self.log).closed);
            Ok(())
        }
    }
    let (backend, log) = scripted(|_| Answer::Apply);
    let store = TraceStore::builder().open_with(backend)?;
    let errors = ErrorMemories::new(&store);
    let dropping = Dropping { store: Cell::new(Some(store)), log, ended_in_drop: Cell::default() };
    let subscriber = tracing_subscriber::registry().with(errors.clone());
    with_default(subscriber, || error!(field = %dropping, "m"));
    assert_eq!((dropping.ended_in_drop.get(), counts(&errors)), (1, (0, 0, 0)));
    Ok(())
}
