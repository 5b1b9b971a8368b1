//! What the store says of itself to `tracing`: nothing when it is well; of trouble one warning when it begins and one
//! line when it ends; spans around opening, flushing and closing. Messages, levels and fields are those that
//! `src/guide/operating.md` documents.
//!
//! The flusher has a thread of its own, so the subscriber is the process's: each test looks at what was said of its
//! own store, which it knows by its partition.
#![cfg(all(feature = "sqlite", feature = "testkit"))]

mod heard;
mod spans;

use harness::process::alone;
use harness::{Outcome, TestDir, note, wait_until};
use heard::{events, heard, milliseconds, number, only, said_of, spans, told};
use mnemon::testkit::{Call, Fault, Faults};
use mnemon::{ErrorKind, Progress};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tracing::Level;

const FAILED: &str = "the backend failed: pending changes are kept, and tried again";
const WORKS: &str = "the backend works again";

#[test]
fn healthy_store_is_silent() -> Outcome {
    alone(|| {
        let scratch = TestDir::new()?;
        for opening in 0..2 {
            let store = heard("healthy").open(scratch.path())?;
            let ids = store.insert_many((0..1_000).map(|n| note(n).tag("numbered")))?;
            for (n, pair) in ids.windows(2).enumerate() {
                store.update(pair[0], |trace| trace.confidence(0.4))?;
                store.co_activate(pair[0], pair[1])?;
                if n % 100 == 0 {
                    store.flush()?;
                }
            }
            store.remove(ids[0])?;
            store.decay()?;
            store.update_tiers()?;
            store.flush()?;
            store.erase_partition("nobody's")?;
            store.stats();
            assert_eq!(store.len(), 999 * (opening + 1));
            store.close()?;
        }
        let said = said_of("healthy");
        assert!(spans(&said, "mnemon.flush").len() >= 20, "it was listened to: {}", said.len());
        assert_eq!(told(&said), []);
        // Nor is there anything of which it can't be told whose it is.
        let nobodys: Vec<_> = heard::said().iter().filter(|said| said.partition.is_none()).cloned().collect();
        assert_eq!(told(&nobodys), []);
        Ok(())
    })
}

#[test]
fn trouble_is_one_warning_one_end() -> Outcome {
    let faults = Faults::new();
    let store = heard("full").open_with(faults.backend())?;
    faults.fail(Call::Apply).times(5).with(ErrorKind::DiskFull);
    store.insert(note(1))?;
    store.insert(note(2))?;
    while store.flush().is_err() {}
    let watermark = store.close()?.durable;

    let said = said_of("full");
    assert_eq!(told(&said), [(Level::WARN, FAILED), (Level::INFO, WORKS)]);
    let warning = only(&events(&said, Level::WARN, FAILED))?;
    assert_eq!(warning.target, "mnemon::flusher");
    assert_eq!((&warning.fields["step"], &warning.fields["kind"]), (&json!("commit"), &json!("disk full")));
    assert_eq!(warning.fields["error"], "a planned failure of Apply: disk full");
    assert_eq!((number(warning, "pending")?, number(warning, "attempts")?), (2, 1));
    let wait = milliseconds(warning, "retry_in_ms")?;
    assert!(wait > 0.0 && wait <= 1_250.0, "{wait}");
    assert!(!warning.fields.contains_key("path") && warning.fields["partition"] == "full");
    let tries: Vec<_> = events(&said, Level::DEBUG, FAILED);
    let attempts: Vec<_> = tries.iter().map(|said| number(said, "attempts")).collect::<Outcome<_>>()?;
    assert_eq!(attempts, [2, 3, 4, 5]);
    let end = only(&events(&said, Level::INFO, WORKS))?;
    assert_eq!((&end.fields["step"], &end.fields["kind"]), (&json!("commit"), &json!("disk full")));
    assert_eq!(number(end, "attempts")?, 5);
    assert!(number(end, "watermark")? > 0 && number(end, "watermark")? <= watermark);
    assert!(milliseconds(end, "failed_for_ms")? > 0.0);
    Ok(())
}

#[test]
fn episodes_and_changes_of_kind_told() -> Outcome {
    let faults = Faults::new();
    let store = heard("changing").open_with(faults.backend())?;
    for episode in 0..2 {
        faults.fail(Call::Apply).with(ErrorKind::DiskFull);
        // Contention is no mere contention any more.
        faults.fail(Call::Apply).at(2).with(ErrorKind::Busy);
        faults.fail(Call::Apply).at(3).times(2).with(ErrorKind::Io);
        faults.fail(Call::Apply).at(5).with(Fault::Panic);
        store.insert(note(episode))?;
        while store.flush().is_err() {}
    }
    store.close()?;
    let said = said_of("changing");
    let one = [(Level::WARN, FAILED); 4].into_iter().chain([(Level::INFO, WORKS)]);
    assert_eq!(told(&said), one.clone().chain(one).collect::<Vec<_>>());
    let kinds: Vec<_> =
        events(&said, Level::WARN, FAILED).iter().map(|said| said.fields["kind"].clone()).collect();
    assert_eq!(kinds[..4], ["disk full", "busy", "input or output failed", "panicked"]);
    assert_eq!(kinds[..4], kinds[4..]);
    assert!(!events(&said, Level::DEBUG, "the backend was reopened").is_empty());
    Ok(())
}

#[test]
fn contention_is_told_when_it_lasts() -> Outcome {
    for (name, times) in [("a moment's contention", 2), ("contention", 3)] {
        let faults = Faults::new();
        let store = heard(name).open_with(faults.backend())?;
        faults.fail(Call::Apply).times(times).with(ErrorKind::Busy);
        store.insert(note(1))?;
        while store.flush().is_err() {}
        store.close()?;
        let said = said_of(name);
        assert_eq!(events(&said, Level::DEBUG, FAILED).len(), 2);
        match times {
            2 => assert_eq!(told(&said), []),
            _ => {
                assert_eq!(told(&said), [(Level::WARN, FAILED), (Level::INFO, WORKS)]);
                assert_eq!(number(only(&events(&said, Level::WARN, FAILED))?, "attempts")?, 3);
            }
        }
    }
    Ok(())
}

/// Housekeeping that fails is trouble, though every flush succeeds.
#[test]
fn warning_names_failed_step() -> Outcome {
    let faults = Faults::new();
    let store = heard("tidying").open_with(faults.backend())?;
    faults.fail(Call::Tidy).with(ErrorKind::OutOfMemory);
    faults.fail(Call::Close).with(ErrorKind::OutOfMemory);
    store.insert(note(1))?;
    store.flush()?;
    store.close()?;
    let said = said_of("tidying");
    let steps = said.iter().filter(|said| said.level <= Level::INFO);
    let steps: Vec<_> = steps.map(|said| (said.level, said.fields["step"].clone())).collect();
    let of = |step| [(Level::WARN, json!(step)), (Level::INFO, json!(step))];
    assert_eq!(steps, [of("tidy"), of("close")].concat());
    Ok(())
}

#[test]
fn refused_row_is_one_error() -> Outcome {
    const TRACE: &str = "the backend refuses this trace's row: it is quarantined, and the rest goes on";
    const LINK: &str = "the backend refuses this link's row: it is left out, and the rest goes on";
    let faults = Faults::new();
    let store = heard("refused").open_with(faults.backend())?;
    let [bad, good] = store.insert_many([note(1), note(2)])?[..] else { unreachable!() };
    for _ in 0..3 {
        store.co_activate(bad, good)?;
    }
    faults.refuse(bad);
    for n in 0..3 {
        store.update(bad, |trace| trace.confidence(0.1 * f64::from(n)))?;
        store.flush()?;
    }
    faults.accept(bad);
    store.update(bad, |trace| trace.confidence(0.9))?;
    store.flush()?;
    store.remove(bad)?;
    store.flush()?;
    let before = said_of("refused").len();
    faults.refuse(bad);
    store.insert(note(3).id(bad))?;
    store.co_activate(bad, good)?;
    store.flush()?;
    store.close()?;

    let said = said_of("refused");
    assert_eq!(told(&said[..before]), [(Level::ERROR, TRACE), (Level::ERROR, LINK)], "once");
    let news = [(Level::ERROR, TRACE), (Level::ERROR, LINK)];
    assert_eq!(told(&said[before..]), news, "after they were accepted");
    let row = events(&said, Level::ERROR, TRACE)[0];
    assert_eq!((&row.fields["id"], number(row, "times")?), (&json!(bad.to_string()), 1));
    assert_eq!(row.fields["reason"], "refused, as the test has it");
    let again = events(&said, Level::DEBUG, TRACE);
    assert_eq!(again.iter().map(|said| number(said, "times")).collect::<Outcome<Vec<_>>>()?, [2, 3]);
    let link = events(&said, Level::ERROR, LINK)[0];
    let ends =
        BTreeSet::from([&link.fields["id"], &link.fields["other"]].map(|id| id.as_str().unwrap_or("")));
    assert_eq!(ends, BTreeSet::from([&*bad.to_string(), &*good.to_string()]));
    assert_eq!(link.fields["reason"], "one of its traces has no row");
    assert_eq!(events(&said, Level::DEBUG, LINK).len(), 2);
    Ok(())
}

const DAMAGED: &str =
    "the stored data is damaged: it was quarantined, and everything is written anew from memory";

#[test]
fn damage_is_one_error_despite_retries() -> Outcome {
    let faults = Faults::new();
    let store = heard("damaged").open_with(faults.backend())?;
    store.insert_many((0..7).map(note))?;
    store.flush()?;
    faults.fail(Call::Apply).with(ErrorKind::Corrupt);
    faults.fail(Call::Replace).times(3).with(ErrorKind::Corrupt);
    store.insert(note(8))?;
    while store.flush().is_err() {}
    store.close()?;
    let said = said_of("damaged");
    assert_eq!(told(&said), [(Level::WARN, FAILED), (Level::ERROR, DAMAGED), (Level::INFO, WORKS)]);
    let damage = only(&events(&said, Level::ERROR, DAMAGED))?;
    assert_eq!((number(damage, "traces")?, number(damage, "links")?), (8, 0));
    assert_eq!(only(&events(&said, Level::WARN, FAILED))?.fields["kind"], "corrupt");
    Ok(())
}

#[test]
fn damage_found_at_reopening_is_told() -> Outcome {
    let faults = Faults::new();
    let store = heard("damaged meanwhile").open_with(faults.backend())?;
    faults.fail(Call::Apply).with(ErrorKind::Io);
    faults.fail(Call::Reopen).with(ErrorKind::Corrupt);
    store.insert(note(1))?;
    while store.flush().is_err() {}
    store.close()?;
    let said = said_of("damaged meanwhile");
    let found = only(&events(&said, Level::DEBUG, "the stored data is not what was written"))?;
    assert_eq!(found.fields["error"], "a planned failure of Reopen: corrupt");
    only(&events(&said, Level::ERROR, DAMAGED))?;
    Ok(())
}

/// The files of SQLite: quarantined files are named, and so is the cause of a failure.
#[cfg(unix)]
#[test]
fn fate_of_file_is_told() -> Outcome {
    const QUARANTINED: &str = "a file was quarantined";
    const OLDER: &str = "an older copy was in the file's place: it was quarantined, and everything is written anew from memory";
    let scratch = TestDir::new()?;
    let store = heard("older").open(scratch.path())?;
    store.insert(note(1))?;
    store.close()?;
    let copy = scratch.folder().join("copy.db");
    let store = heard("older").open(scratch.path())?;
    mnemon::backup(scratch.path(), &copy, Progress::ignore)?;
    store.insert(note(2))?;
    store.flush()?;
    std::fs::rename(&copy, scratch.path())?;
    store.insert(note(3))?;
    while store.flush().is_err() {}
    store.close()?;

    let said = said_of("older");
    let unreachable = only(&events(&said, Level::WARN, FAILED))?;
    assert_eq!(unreachable.fields["kind"], "unreachable");
    let older = only(&events(&said, Level::ERROR, OLDER))?;
    assert!(number(older, "found")? < number(older, "durable")?);
    let quarantined = events(&said, Level::INFO, QUARANTINED);
    let names: Vec<_> = quarantined.iter().map(|said| said.fields["to"].as_str().unwrap_or("")).collect();
    assert!(names.iter().any(|name| name.contains(".damaged-")), "{names:?}");
    assert!(names.iter().all(|name| std::fs::exists(name).is_ok_and(|there| there)), "{names:?}");
    only(&events(&said, Level::INFO, WORKS))?;
    Ok(())
}

#[test]
fn unreadable_rows_are_one_error() -> Outcome {
    const UNREADABLE: &str =
        "stored rows can't be used: they are quarantined where they are; this is the first";
    let scratch = TestDir::new()?;
    let store = heard("written").open(scratch.path())?;
    store.insert_many((0..50).map(note))?;
    store.close()?;
    scratch.reader()?.execute("UPDATE traces SET tier = 'lukewarm'", [])?;
    heard("unreadable").open(scratch.path())?.close()?;
    let said = said_of("unreadable");
    assert_eq!(told(&said), [(Level::ERROR, UNREADABLE)]);
    let error = only(&events(&said, Level::ERROR, UNREADABLE))?;
    assert_eq!(number(error, "rows")?, 50);
    assert!(
        error.fields.contains_key("id") && error.fields["reason"].to_string().contains("tier"),
        "{error:?}"
    );
    assert_eq!(events(&said, Level::DEBUG, "a stored row can't be used").len(), 50);
    assert_eq!(number(only(&spans(&said, "mnemon.open"))?, "unreadable")?, 50);
    Ok(())
}

#[test]
fn undrained_drop_says_what_is_owed() -> Outcome {
    const DROPPED: &str = "a store was dropped before it could be drained: its unflushed changes are lost if the process ends now";
    let faults = Faults::new();
    let store = heard("dropped").close_timeout(Duration::ZERO).open_with(faults.backend())?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    store.insert_many((0..3).map(note))?;
    assert!(store.flush().is_err());
    drop(store);
    let said = said_of("dropped");
    let error = only(&events(&said, Level::ERROR, DROPPED))?;
    assert_eq!((&error.fields["kind"], number(error, "pending")?), (&json!("disk full"), 3));
    assert_eq!(error.fields["cause"], "a planned failure of Apply: disk full");
    faults.lift();
    Ok(())
}

#[test]
fn removals_are_told_once_a_cycle() -> Outcome {
    const PRUNED: &str = "a decay cycle has removed what had faded away";
    const EXPIRED: &str = "a decay cycle has removed what was not valid any more";
    const EVICTED: &str = "the quota has removed traces";
    let store = heard("removing").quota(mnemon::Quota { max_traces: 5, ..Default::default() }).in_memory()?;
    for _ in 0..2 {
        store.insert_many((0..3).map(|n| note(n).strength(0.0)))?;
        store.insert_many((0..6).map(note))?;
        store.insert_many((0..2).map(|n| note(n).valid_until(jiff::Timestamp::UNIX_EPOCH)))?;
        store.decay()?;
        store.enforce_quota()?;
    }
    let said = said_of("removing");
    assert_eq!(
        told(&said),
        [(Level::INFO, PRUNED), (Level::INFO, EXPIRED), (Level::INFO, EVICTED)].repeat(2)
    );
    let expired = events(&said, Level::INFO, EXPIRED);
    assert_eq!(expired.iter().map(|said| number(said, "traces")).collect::<Outcome<Vec<_>>>()?, [2, 2]);
    let pruned = events(&said, Level::INFO, PRUNED);
    assert_eq!(pruned.iter().map(|said| number(said, "traces")).collect::<Outcome<Vec<_>>>()?, [3, 3]);
    let evicted = events(&said, Level::INFO, EVICTED);
    assert_eq!(evicted.iter().map(|said| number(said, "traces")).collect::<Outcome<Vec<_>>>()?, [1, 6]);
    assert_eq!(number(evicted[1], "payload_bytes")?, 6 * r#"{"note":0}"#.len() as u64);
    Ok(())
}

#[test]
fn upkeep_that_fails_is_a_warning() -> Outcome {
    const UPKEEP: &str = "the upkeep could not do its work; it is done next time";
    let every = Some(Duration::from_millis(1));
    let upkeep = mnemon::Upkeep { decay: every, tiers: None, quota: None };
    let refusing = heard("upkeep")
        .when_lagging(mnemon::LagPolicy::RejectWrites)
        .lag_bound(Duration::ZERO)
        .upkeep(upkeep);
    let store = refusing.in_memory()?;
    store.insert(note(1))?;
    wait_until(|| !events(&said_of("upkeep"), Level::WARN, UPKEEP).is_empty());
    let said = said_of("upkeep");
    let warning = events(&said, Level::WARN, UPKEEP)[0];
    assert_eq!((&warning.fields["task"], &warning.fields["kind"]), (&json!("decay"), &json!("lagging")));
    Ok(())
}
