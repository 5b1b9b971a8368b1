//! What it tells of itself, and of those rows that it can not use.

use super::*;

fn until_lagging(shared: &Shared) {
    while shared.health() == Health::Healthy {
        std::thread::yield_now();
    }
}

#[test]
fn health_tells_the_worst() -> Outcome {
    let (patient, shared, _) = driver(FlushOptions { refuse_when_lagging: true, ..NEVER });
    shared.put('a');
    shared.admit()?;
    assert_eq!(shared.health(), Health::Healthy, "its time has not come");
    drop(patient);
    let bound = Duration::from_millis(1);
    let (mut driver, shared, told) =
        driver(FlushOptions { lag_bound: bound, refuse_when_lagging: true, ..NEVER });
    assert_eq!(shared.health(), Health::Healthy);
    shared.put('a');
    until_lagging(&shared);
    assert!(matches!(shared.health(), Health::Lagging { oldest, .. } if oldest > bound));
    let refused = shared.admit().err().ok_or("it lags")?;
    assert_eq!(refused.kind(), crate::ErrorKind::Lagging);
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    assert!(matches!(
        shared.health(),
        Health::Degraded { kind: crate::ErrorKind::DiskFull, attempts: 1, .. }
    ));
    assert!(shared.admit().is_err(), "it lags all the same");
    assert!(driver.turn(Reach::Durable, Opening::Open));
    shared.admit()?;
    assert_eq!(shared.health(), Health::Healthy);
    Ok(())
}

/// Waiters, statistics and the flusher may hold the lock of the progress: a write goes on, and is refused, without it.
#[test]
fn a_write_takes_no_lock_of_those_who_wait() -> Outcome {
    let bound = Duration::from_millis(1);
    let (_driver, shared, _) = driver(FlushOptions { lag_bound: bound, refuse_when_lagging: true, ..NEVER });
    shared.put('a');
    until_lagging(&shared);
    let held = shared.progress.hold_lock();
    let (writer, (told, outcome)) = (shared.clone(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        writer.touch('a');
        told.send(writer.admit().map_err(|error| error.kind()))
    });
    assert_eq!(outcome.recv_timeout(Duration::from_secs(60))?, Err(crate::ErrorKind::Lagging));
    drop(held);
    Ok(())
}

#[test]
fn a_flush_that_failed_is_told_to_who_waits() -> Outcome {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    let goal = shared.progress.request(1).map_err(|_| "it is not durable")?;
    told.next(Turn::Fail(ErrorClass::Full));
    driver.turn(Reach::Durable, Opening::Open);
    let Wait::<_, Error>::Failed(error) = shared.progress.wait(goal) else { return Err("it failed".into()) };
    assert_eq!(error.kind(), crate::ErrorKind::DiskFull);
    Ok(())
}

#[test]
fn an_unreadable_row_is_listed_until_it_is_erased() {
    let row = |letter: Option<char>, is_link| Quarantined {
        id: letter.map(id),
        is_link,
        reason: "unreadable".to_owned(),
        times: 1,
    };
    let all = [row(Some('a'), false), row(Some('a'), true), row(Some('b'), false), row(None, false)];
    let left_after = |erased_ids: &[char], erased_links: &[char]| {
        let (_driver, shared, _) = driver(NEVER);
        shared.telemetry.lock().unreadable.extend(all.clone());
        let [erased_ids, erased_links] =
            [erased_ids, erased_links].map(|letters| letters.iter().copied().map(id).collect());
        shared.telemetry.erased(&Applied { erased_ids, erased_links, ..Applied::default() });
        let left = shared.telemetry.lock().unreadable.clone();
        all.iter().map(|row| left.contains(row)).collect::<Vec<_>>()
    };
    assert_eq!(left_after(&[], &[]), [true; 4]);
    assert_eq!(left_after(&['a'], &[]), [false, true, true, true]);
    assert_eq!(left_after(&[], &['a']), [true, false, true, true]);
    assert_eq!(left_after(&['b'], &['a']), [true, false, false, true]);
}

/// The rows of loaded traces and links are known to be there.
#[test]
fn what_was_loaded_is_deleted_when_it_is_removed() -> Outcome {
    let (mut driver, shared, told) = driver(NEVER);
    let built = [('a', 1), ('b', 2)].map(|(letter, row)| {
        let trace = NewTrace::semantic(serde_json::json!(1)).id(id(letter)).into_trace();
        trace.map(|trace| {
            let known = crate::state::Row::stored(row, &trace);
            shared.traces.load(id(letter), trace, known)
        })
    });
    assert!(built.into_iter().all(|loaded| loaded.is_ok_and(|loaded| loaded)));
    let ends = Ends::of(id('a'), id('b')).ok_or("two")?;
    let births = ends.both().map(|id| shared.traces.get(&id).map(|trace| trace.birth()));
    let [Some(first), Some(second)] = births else { return Err("they are there".into()) };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let tie = Tie::new(Link::new((id('a'), id('b')), 1, now, now)?, [first, second]);
    assert!(shared.links.load(ends, tie, LinkRow::stored()));
    assert_eq!((shared.dirty(), shared.cells()), (0, (2, 1)));
    shared.touch('a');
    shared.remove('b');
    // Its links are captured with it, though their own removal is not in this cut.
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 -b ~a -ab"]);
    let rows: BTreeSet<_> = shared.links.keys().into_iter().collect();
    assert_eq!(rows, BTreeSet::from([ends]), "it has not been removed from memory");
    Ok(())
}
