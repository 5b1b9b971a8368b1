//! Wherever the power fails while a file of schema 1 is brought forward, it is of that schema or of the next, and holds
//! the same; and wherever it fails while a file keeps a history, that fits the rows.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::crash::{Crash, Image};
use fault_tests::disk::{Disk, Event};
use fault_tests::scratch::{database, folder, more};
use fault_tests::state::State;
use harness::{Rng, manual_flush};
use mnemon::{NewTrace, Progress, TraceStore, inspect, verify};
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// Has `check` look at images of each point of a record. Returns how many there were.
fn each_image(
    mut crash: Crash,
    events: &[Event],
    seed: u64,
    mut check: impl FnMut(&Crash, &Path) -> Outcome,
) -> Outcome<usize> {
    let (mut rng, folder, mut seen) = (Rng::with_seed(seed), folder()?, HashSet::new());
    let path = database(&folder);
    let mut look = |crash: &Crash, image: &Image| -> Outcome {
        if seen.insert((image.fingerprint(), crash.durable, crash.possible)) {
            image.write(&path)?;
            check(crash, &path)?;
        }
        Ok(())
    };
    for event in events {
        if crash.happened(event) {
            for image in crash.images(2 * more(), 3 * more(), &mut rng) {
                look(&crash, &image)?;
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn power_loss_while_migrating_leaves_either() -> Outcome {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../promises/schema_1");
    for name in ["closed.sqlite", "logged.sqlite"] {
        let folder = folder()?;
        let path = database(&folder);
        fs::copy(files.join(name), &path)?;
        let log = files.join(format!("{name}-wal"));
        if log.exists() {
            fs::copy(log, path.with_extension("db-wal"))?;
        }
        let before = verify(&path, Progress::ignore)?;
        let crash = Crash::of(&path)?;
        let disk = Disk::under(folder.path())?;
        disk.start_recording();
        let store = TraceStore::open(&path)?;
        let expected = State::of(&store);
        store.close()?;
        let mut versions = BTreeMap::<i64, usize>::new();
        let images = each_image(crash, &disk.events(), 5, |_, path| {
            let version = inspect(path)?.schema_version;
            *versions.entry(version).or_default() += 1;
            let report = verify(path, Progress::ignore)?;
            assert_eq!((report.schema_version, report.findings), (version, before.findings.clone()));
            let store = TraceStore::open(path)?;
            assert!(State::of(&store) == expected, "{name}, schema {version}");
            store.close()?;
            assert_eq!(inspect(path)?.schema_version, 2);
            Ok(())
        })?;
        println!("{name}: {images} images, of each schema {versions:?}");
        assert!(versions.keys().eq([&1, &2]) && images > 20, "{images}: {versions:?}");
    }
    Ok(())
}

#[test]
fn power_loss_keeps_rows_with_history() -> Outcome {
    const KEPT: u64 = 2;
    let folder = folder()?;
    let (disk, path) = (Disk::under(folder.path())?, database(&folder));
    disk.start_recording();
    let store = manual_flush().keep_history(KEPT as u32).open(&path)?;
    let id = store.insert(NewTrace::semantic(serde_json::json!(0)))?;
    store.flush()?;
    for n in 1..8 {
        store.update(id, |trace| trace.payload(serde_json::json!(n)))?;
        // As long as several pages, and then short again.
        let tags: Vec<_> =
            (0..if n % 3 == 1 { 900 } else { 1 }).map(|tag| format!("{n} {tag:>20}")).collect();
        store.update(id, |trace| trace.tags(&tags))?;
        store.flush()?;
    }
    store.close()?;
    let mut found = BTreeMap::<u64, usize>::new();
    let images = each_image(Crash::default(), &disk.events(), 6, |_, path| {
        let store = TraceStore::open(path)?;
        if let Some(trace) = store.get(id) {
            let now: u64 = trace.payload().deserialize()?;
            *found.entry(now).or_default() += 1;
            let history = store.history(id)?;
            let before = history.iter().map(|trace| trace.payload().deserialize());
            let before = before.collect::<mnemon::Result<Vec<u64>>>()?;
            assert_eq!(before, (now.saturating_sub(KEPT)..now).rev().collect::<Vec<_>>());
            assert!(
                history
                    .iter()
                    .zip(&before)
                    .all(|(trace, n)| trace.tags().all(|tag| tag.starts_with(&n.to_string())))
            );
        }
        store.close()?;
        Ok(())
    })?;
    println!("{images} images, of each content {found:?}");
    assert!(found.len() == 8 && images > 100, "{images}: {found:?}");
    Ok(())
}
