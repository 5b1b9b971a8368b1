//! What of the host's runs on the threads of a store: a subscriber, a waker or a backend that panics ends nothing, and
//! what waits is refused there. Everything here runs under a subscriber that panics whatever it is told.
#![cfg(feature = "sqlite")]

use harness::backend::{Answer, look, scripted};
use harness::process::alone_for;
use harness::{Outcome, TestDir, clock, manual_flush, minutes, note, rows};
use mnemon::{ErrorKind, Health, LagPolicy, NewTrace, TraceStore, TraceType, Upkeep};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// What the host panics with: it panics once more when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any("the payload's own");
    }
}

fn fails() -> ! {
    panic_any(Bomb)
}

/// How many warnings it was given.
static WARNINGS: AtomicUsize = AtomicUsize::new(0);

/// As one whose output can't be written.
struct Hostile;

impl Subscriber for Hostile {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        // Some are made, so that being inside them is tried.
        match attributes.metadata().name() {
            "mnemon.flush" | "mnemon.close" | "mnemon.open" => Id::from_u64(1),
            _ => fails(),
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {
        fails()
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        fails()
    }

    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() == Level::WARN && event.metadata().target() == "mnemon::store" {
            WARNINGS.fetch_add(1, Ordering::Relaxed);
        }
        fails()
    }

    fn enter(&self, _: &Id) {
        // Every second one: it is left, or it is not.
        static ENTERED: AtomicUsize = AtomicUsize::new(0);
        if ENTERED.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            fails()
        }
    }

    fn exit(&self, _: &Id) {
        fails()
    }

    fn try_close(&self, _: Id) -> bool {
        fails()
    }
}

/// Runs a test under that subscriber, in a process of its own, and fails where it would wait for ever.
fn hostile<W: FnOnce() -> Result<(), Failed> + Send + 'static>(work: W) -> Outcome {
    alone_for::<W>(|| under_hostile_subscriber(work))
}

fn under_hostile_subscriber(work: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Outcome {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<&str>();
        let planned = panic.payload().is::<Bomb>() || text == Some(&"the payload's own");
        if !planned {
            told(panic);
        }
    }));
    assert!(tracing::subscriber::set_global_default(Hostile).is_ok(), "it is the only one");
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    outcome.recv_timeout(Duration::from_secs(120))?.map_err(|error| format!("{error:?}").into())
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn text(error: impl ToString) -> Failed {
    error.to_string().into()
}

/// A store whose backend fails first, and a trace in it.
fn failing_once(kind: ErrorKind) -> Result<TraceStore, Failed> {
    let mut failures = 1;
    let (backend, _) = scripted(move |_| match std::mem::take(&mut failures) {
        0 => Answer::Apply,
        _ => Answer::Fail(kind),
    });
    let store = manual_flush().open_with(backend)?;
    store.insert(note(1))?;
    Ok(store)
}

#[test]
fn panicking_subscriber_ends_no_flusher() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        // Reopened and damaged: each says something of its own.
        for kind in [ErrorKind::DiskFull, ErrorKind::Io, ErrorKind::Corrupt] {
            let store = failing_once(kind)?;
            assert!(store.flush().is_err());
            assert!(matches!(store.health(), Health::Degraded { kind, .. } if kind != ErrorKind::Panicked));
            store.flush()?;
            assert_eq!((store.health(), store.stats().dirty), (Health::Healthy, 0));
            store.close().map_err(text)?;
        }
        Ok(())
    })
}

#[test]
fn panicking_subscriber_lets_open_and_close() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        let file = TestDir::new().map_err(text)?;
        for count in 1..=3 {
            let store = manual_flush().open(file.path())?;
            store.insert(note(count))?;
            store.flush()?;
            store.erase_type(TraceType::Sensory)?;
            assert_eq!(store.health(), Health::Healthy, "the housekeeping says something as well");
            store.close().map_err(text)?;
            assert_eq!(rows(&file.reader().map_err(text)?).map_err(text)?, count);
        }
        Ok(())
    })
}

/// It does not abort: what a drop has to say is said while a panic unwinds.
#[test]
fn panicking_subscriber_while_unwinding_aborts_nothing() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        let (backend, _) = scripted(|_| Answer::Fail(ErrorKind::DiskFull));
        let store = manual_flush().close_timeout(Duration::from_millis(20)).open_with(backend)?;
        store.insert(note(1))?;
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _dropped_by_the_panic = store;
            std::panic::resume_unwind(Box::new("of the caller's own"));
        }));
        let panic = panicked.err().ok_or("it panics")?;
        assert_eq!(panic.downcast_ref(), Some(&"of the caller's own"));
        Ok(())
    })
}

/// Runs once, where it is woken.
struct OnWake(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        let work = self.0.lock().ok().and_then(|mut work| work.take());
        work.into_iter().for_each(|work| work());
    }
}

fn on_wake(work: impl FnOnce() + Send + 'static) -> Waker {
    Arc::new(OnWake(Mutex::new(Some(Box::new(work))))).into()
}

type Flush = Pin<Box<dyn Future<Output = mnemon::Result<mnemon::FlushReport>> + Send>>;

/// A store whose backend waits for the test, and a flush of it that is waited for with this waker.
fn held_up(
    answer: impl Fn() -> Answer + Send + 'static,
    waker: impl FnOnce(&TraceStore) -> Waker,
) -> Result<(TraceStore, mpsc::Sender<()>, Flush), Failed> {
    let (go, wait) = mpsc::channel();
    // Its end lets all go.
    let (backend, _) = scripted(move |_| wait.recv().map_or(Answer::Apply, |()| answer()));
    let store = manual_flush().open_with(backend)?;
    store.insert(NewTrace::sensory(serde_json::json!("at the window")))?;
    let mut flush: Flush = Box::pin(store.flush_async());
    let waker = waker(&store);
    assert!(flush.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    Ok((store, go, flush))
}

#[test]
fn panicking_waker_ends_no_flusher() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        let (says, woken) = mpsc::channel();
        let waker = on_wake(move || {
            says.send(()).expect("the test waits");
            fails();
        });
        let (store, go, flush) = held_up(|| Answer::Fail(ErrorKind::DiskFull), |_| waker)?;
        go.send(())?;
        drop(go);
        // The flush has failed, so the next one is not answered by its error.
        woken.recv_timeout(Duration::from_secs(60))?;
        store.flush()?;
        drop(flush);
        store.close().map_err(text)?;
        Ok(())
    })
}

#[test]
fn panicking_subscriber_ends_no_upkeep() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        let clock = clock();
        let stuck = Arc::new(AtomicBool::new(true));
        let is_stuck = stuck.clone();
        let (backend, _) = scripted(move |_| {
            if is_stuck.load(Ordering::Relaxed) { Answer::Fail(ErrorKind::DiskFull) } else { Answer::Apply }
        });
        let upkeep = Upkeep { decay: Some(Duration::from_millis(1)), tiers: None, quota: None };
        let builder = manual_flush().clock(&clock).upkeep(upkeep).when_lagging(LagPolicy::RejectWrites);
        let store = builder.lag_bound(Duration::from_millis(1)).open_with(backend)?;
        let id = store.insert(NewTrace::sensory(serde_json::json!("fades")).base_decay_rate(2.0))?;
        clock.advance(minutes(1_000));
        let told = WARNINGS.load(Ordering::Relaxed);
        while WARNINGS.load(Ordering::Relaxed) == told {
            thread::yield_now();
        }
        stuck.store(false, Ordering::Relaxed);
        store.flush()?;
        let deadline = Instant::now() + Duration::from_secs(60);
        while store.contains(id) {
            assert!(Instant::now() < deadline, "it prunes no more");
            thread::yield_now();
        }
        Ok(())
    })
}

/// A flusher that waited for itself would wait for ever.
#[test]
fn waiting_on_flusher_thread_is_refused() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        let (told, kinds) = mpsc::channel();
        let (store, go, _flush) = held_up(
            || Answer::Apply,
            |store| {
                let store = store.clone();
                on_wake(move || {
                    let feed = store.subscribe(10);
                    let inserted = store.insert(note("in a waker"));
                    let refused = [
                        store.flush().err(),
                        store.erase_type(TraceType::Sensory).err(),
                        store.erase_partition("default").err(),
                        store.clone().close().err().map(|failed| failed.error),
                    ];
                    let kinds = refused.map(|error| error.map(|error| error.kind()));
                    drop(store.flush_async());
                    let _ = told.send((inserted.is_ok(), kinds, feed.recv().is_none(), store.len()));
                })
            },
        )?;
        drop(go);
        let refused = [Some(ErrorKind::WouldDeadlock); 4];
        assert_eq!(kinds.recv()?, (true, refused, true, 2), "and nothing of them is done");
        store.flush()?;
        store.close().map_err(text)?;
        Ok(())
    })
}

/// Nor for another store's, which may wait for this one.
#[test]
fn store_dropped_on_others_flusher_closes() -> Outcome {
    hostile(|| -> Result<(), Failed> {
        let (backend, log) = scripted(|_| Answer::Apply);
        let other = manual_flush().open_with(backend)?;
        let id = other.insert(note("of the other"))?;
        let (told, refused) = mpsc::channel();
        let (store, go, _flush) = held_up(
            || Answer::Apply,
            |_| {
                on_wake(move || {
                    let refused = other.flush().err().map(|error| error.kind());
                    drop(other);
                    let _ = told.send(refused);
                })
            },
        )?;
        drop(go);
        assert_eq!(refused.recv()?, Some(ErrorKind::WouldDeadlock));
        while !look(&log).live.contains(id) {
            thread::yield_now();
        }
        store.close().map_err(text)?;
        Ok(())
    })
}

/// Each event and span of the library is told through `guarded`: one that is not brings a subscriber's panic to wherever
/// it is told, as the tests above can't know of those that they do not reach.
#[test]
fn every_event_is_guarded() -> Outcome {
    const SAYING: [&str; 7] =
        ["trace!(", "debug!(", "info!(", "warn!(", "error!(", "event!(", "debug_span!("];
    let says = |line: &str| {
        let starts =
            |at: usize| !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        SAYING.iter().any(|it| line.match_indices(it).any(|(at, _)| starts(at)))
    };
    let (mut folders, mut said) = (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            // The program is a host, and the layer's words are examples.
            if path.is_dir() && !path.ends_with("src/bin") && !path.ends_with("src/observe/memories") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)?;
                let lines: Vec<_> =
                    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                for (at, line) in lines.iter().enumerate().filter(|(_, line)| says(line)) {
                    let guarded =
                        lines[at.saturating_sub(1)..=at].iter().any(|line| line.contains("guarded::"));
                    assert!(guarded, "{}: {line}", path.display());
                    said += 1;
                }
            }
        }
    }
    assert!(said > 20, "{said} were found");
    Ok(())
}
