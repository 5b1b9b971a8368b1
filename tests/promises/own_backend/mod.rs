//! An engine of one's own, which has nothing but the public API: a store over a journal of JSON lines is after each
//! opening what it was before, whatever was done to it, and whatever went wrong with the file meanwhile.

mod engine;
mod journal;
mod record;
mod rows;
use harness::{Outcome, by_id, manual_flush, note};
use journal::Journal;
use mnemon::backend::{Applied, Backend, BackendError, Batch, Loaded, Reopened, Stored};
use mnemon::{ErrorKind, Link, NewTrace, Origin, Payload, Tier, Trace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All that a store holds, in the order of ids.
type Held = (Vec<Arc<Trace>>, Vec<Link>);

fn all(store: &TraceStore) -> Held {
    let traces = by_id(store);
    let links = traces.iter().flat_map(|trace| {
        let of_it = store.links(trace.id()).into_iter();
        of_it.filter(|link| link.ends().0 == trace.id())
    });
    let links = links.collect();
    (traces, links)
}

fn open(path: &Path) -> mnemon::Result<TraceStore> {
    manual_flush().open_with(Journal::open(path)?)
}

fn place() -> Outcome<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.jsonl");
    Ok((folder, path))
}

/// Every field differs from its default, and no float is short.
fn full(n: usize) -> Outcome<NewTrace> {
    let x = 1.0 / (3.0 + n as f64);
    let kind = TraceType::ALL[n % TraceType::ALL.len()];
    let payload = Payload::from_json(format!(r#" {{"b": {n}.50, "a": ["caf\u00e9 日本", 1e3, null]}} "#))?;
    let at = |hour| format!("2026-11-24T0{hour}:00:00.123456Z").parse::<jiff::Timestamp>();
    Ok(NewTrace::new(kind, payload)
        .id(TraceId::from_reference(&n.to_string()))
        .partition(["even", "odd"][n % 2])
        .origin(Origin::MeshTransfer)
        .embedding([0.1_f32, -1.0 / 3.0, f32::MIN_POSITIVE, n as f32])
        .tags(["a tag", "\"quoted\"\n"])
        .source_agent("another")
        .encryption_key_id("key 7")
        .parent(TraceId::from_reference("parent"))
        .children([TraceId::from_reference("2"), TraceId::from_reference("1")])
        .strength(x)
        .peak_strength(x * 1.7)
        .base_decay_rate(x / 7.0)
        .emotional_valence(-x / 1.1)
        .emotional_intensity(x / 1.3)
        .confidence(x / 1.9)
        .created_at(at(1)?)
        .last_reinforced(at(2)?)
        .last_decayed(at(3)?)
        .reinforcement_count(u32::MAX)
        .revision(i64::MAX as u64)
        .tier(Tier::Cold)
        .unresolved(true)
        .consolidation_candidate(true)
        .valid_until(at(4)?)
        .superseded_by(TraceId::from_reference("successor"))
        .pinned(true))
}

/// What would be found if the process ended now.
fn after_a_kill(path: &Path) -> Outcome<Held> {
    let (_folder, copy) = place()?;
    fs::copy(path, &copy)?;
    let store = open(&copy)?;
    assert!(store.stats().quarantined.is_empty());
    Ok(all(&store))
}

#[test]
fn reopening_finds_everything() -> Outcome {
    let (_folder, path) = place()?;
    let mut store = open(&path)?;
    for round in 0..6 {
        let ids = store.insert_many((0..14).map(|n| full(100 * round + n)).collect::<Outcome<Vec<_>>>()?)?;
        let brief = store.insert(note(round))?;
        for (a, b) in ids.iter().zip(&ids[1..]).chain([(&ids[0], &brief)]) {
            store.co_activate(*a, *b)?;
        }
        store.flush()?;
        store.co_activate(ids[0], ids[1])?;
        store.reinforce(ids[2])?;
        store.update(ids[5], |trace| trace.payload(json!("another")).no_embedding().no_parent())?;
        store.update(ids[6], |trace| trace.confidence(2.0 / 3.0))?;
        store.remove(ids[7])?;
        store.remove(brief)?;
        store.insert(note("of the same id").id(brief))?;
        store.flush()?;
        assert_eq!(after_a_kill(&path)?, all(&store), "round {round}");
        match round {
            2 => assert!(store.erase_partition("odd")?.rows > 0),
            4 => assert!(store.erase_type(TraceType::Identity)?.links > 0),
            _ => {}
        }
        assert_eq!(after_a_kill(&path)?, all(&store), "round {round}");
        let (before, watermark) = (all(&store), store.watermark().durable);
        store.close()?;
        store = open(&path)?;
        assert_eq!(all(&store), before, "round {round}");
        assert!(store.watermark().durable >= watermark);
    }
    assert!(store.len() > 40 && store.link_count() > 20);
    Ok(())
}

#[test]
fn erased_data_leaves_no_bytes() -> Outcome {
    let (folder, path) = place()?;
    let store = open(&path)?;
    let occurs = || -> Outcome<bool> {
        let texts = fs::read_dir(folder.path())?.map(|file| Ok(fs::read_to_string(file?.path())?));
        Ok(texts.collect::<Outcome<Vec<_>>>()?.iter().any(|text| text.contains("secret")))
    };
    let kept = store.insert(note("kept"))?;
    for n in 0..5 {
        let id = store.insert(note(format!("secret {n}")).partition("hers"))?;
        store.co_activate(id, kept)?;
        store.flush()?;
        store.update(id, |trace| trace.payload(json!(format!("another secret {n}"))))?;
        store.flush()?;
    }
    assert!(occurs()?);
    let report = store.erase_partition("hers")?;
    assert_eq!((report.traces, report.links, report.rows), (5, 5, 5));
    assert!(!occurs()?);
    assert_eq!((after_a_kill(&path)?, store.len(), store.link_count()), (all(&store), 1, 0));
    Ok(())
}

/// A journal of which the next batches stop half way.
struct Stopping {
    journal: Journal,
    kind: ErrorKind,
    left: Arc<AtomicUsize>,
}

impl Backend for Stopping {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        self.journal.load(into)
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let fewer = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_err() {
            return self.journal.apply(batch);
        }
        let mut file = OpenOptions::new().append(true).open(&self.journal.path).unwrap();
        file.write_all(br#"{"watermark":9,"traces":{"1":{"id":"#).unwrap();
        Err(BackendError::new(self.kind, "stopped half way, as the test has it"))
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.journal.reopen()
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        self.journal.replace()
    }

    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        self.journal.close(watermark)
    }
}

#[test]
fn half_written_batch_is_written_again() -> Outcome {
    let kinds = [
        ErrorKind::DiskFull,
        ErrorKind::OutOfMemory,
        ErrorKind::Io,
        ErrorKind::Unreachable,
        ErrorKind::Corrupt,
    ];
    for kind in kinds {
        let (_folder, path) = place()?;
        let left = Arc::new(AtomicUsize::new(0));
        let backend = Stopping { journal: Journal::open(&path)?, kind, left: left.clone() };
        let store = manual_flush().open_with(backend)?;
        let (a, b) = (store.insert(note("a"))?, store.insert(note("b"))?);
        store.flush()?;
        store.co_activate(a, b)?;
        store.update(a, |trace| trace.confidence(0.9))?;
        left.store(1, Ordering::SeqCst);
        let error = store.flush().expect_err("it stops half way");
        assert_eq!(error.kind(), kind);
        store.remove(b)?;
        store.insert(note("meanwhile"))?;
        store.flush()?;
        assert_eq!(after_a_kill(&path)?, all(&store), "{kind:?}");
        let before = all(&store);
        store.close()?;
        assert_eq!(all(&open(&path)?), before, "{kind:?}");
    }
    Ok(())
}

#[test]
fn moved_journal_is_noticed_and_rewritten() -> Outcome {
    let (folder, path) = place()?;
    let store = open(&path)?;
    store.insert(note("a"))?;
    store.flush()?;
    let away = folder.path().join("away");
    fs::rename(&path, &away)?;
    store.insert(note("b"))?;
    assert_eq!(store.flush().expect_err("nobody would find it").kind(), ErrorKind::Unreachable);
    fs::write(&path, "somebody else's\n")?;
    assert_eq!(store.flush().expect_err("it is not ours").kind(), ErrorKind::NotAStore);
    assert_eq!(fs::read_to_string(&path)?, "somebody else's\n");
    fs::remove_file(&path)?;
    store.flush()?;
    assert_eq!((after_a_kill(&path)?, store.len()), (all(&store), 2));
    Ok(())
}

#[test]
fn torn_last_line_was_never_written() -> Outcome {
    let (_folder, path) = place()?;
    let store = open(&path)?;
    let id = store.insert(note("a"))?;
    store.flush()?;
    let (before, whole) = (all(&store), fs::read(&path)?.len());
    store.update(id, |trace| trace.payload(json!("b")))?;
    store.flush()?;
    let (after, bytes) = (all(&store), fs::read(&path)?);
    let (_other, torn) = place()?;
    for end in (whole..bytes.len()).step_by(29).chain([bytes.len() - 1, bytes.len()]) {
        fs::write(&torn, &bytes[..end])?;
        let found = all(&open(&torn)?);
        assert!(found == if end < bytes.len() { before.clone() } else { after.clone() }, "cut at {end}");
    }
    Ok(())
}

#[test]
fn damaged_or_foreign_journal_is_refused() -> Outcome {
    let (_folder, path) = place()?;
    let store = open(&path)?;
    for n in 0..3 {
        store.insert(note(n))?;
        store.flush()?;
    }
    let text = fs::read_to_string(&path)?;
    drop(store);
    let damaged = text.replacen("\"watermark\"", "\"watermerk\"", 1);
    for (wrong, kind) in [(damaged, ErrorKind::Corrupt), ("text\n".to_owned(), ErrorKind::NotAStore)] {
        fs::write(&path, &wrong)?;
        assert_eq!(open(&path).expect_err("it can't be read").kind(), kind);
        assert_eq!(fs::read_to_string(&path)?, wrong);
    }
    Ok(())
}

#[test]
fn bad_row_stays_until_erased() -> Outcome {
    let (_folder, path) = place()?;
    let store = open(&path)?;
    let hers = store.insert(NewTrace::episodic(json!("a")).partition("hers"))?;
    store.co_activate(hers, store.insert(note("b"))?)?;
    store.close()?;
    fs::write(&path, fs::read_to_string(&path)?.replace("episodic", "nonsense"))?;
    for _ in 0..2 {
        let store = open(&path)?;
        assert_eq!((store.len(), store.stats().quarantined.len()), (1, 2), "the row and the link");
        store.close()?;
    }
    let store = open(&path)?;
    assert_eq!(store.erase_partition("hers")?.rows, 1);
    store.close()?;
    let store = open(&path)?;
    assert_eq!((store.len(), store.stats().quarantined.len()), (1, 0));
    Ok(())
}

#[test]
fn a_journal_has_one_owner() -> Outcome {
    let (_folder, path) = place()?;
    let store = open(&path)?;
    assert_eq!(open(&path).expect_err("it is open").kind(), ErrorKind::InUse);
    store.close()?;
    open(&path)?;
    Ok(())
}
