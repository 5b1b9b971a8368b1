//! What it tells of itself, and of those rows that it can not use.

use super::*;

fn until_lagging(state: &State) {
    while state.health() == Health::Healthy {
        std::thread::yield_now();
    }
}

#[test]
fn health_tells_the_worst() -> Outcome {
    let (patient, state, _) = flusher(FlushOptions { refuse_when_lagging: true, ..NEVER });
    state.put('a');
    state.check_lag()?;
    assert_eq!(state.health(), Health::Healthy, "its time has not come");
    drop(patient);
    let bound = Duration::from_millis(1);
    let (mut flusher, state, told) =
        flusher(FlushOptions { lag_bound: bound, refuse_when_lagging: true, ..NEVER });
    assert_eq!(state.health(), Health::Healthy);
    state.put('a');
    until_lagging(&state);
    assert!(matches!(state.health(), Health::Lagging { oldest, .. } if oldest > bound));
    let refused = state.check_lag().err().ok_or("it lags")?;
    assert_eq!(refused.kind(), crate::ErrorKind::Lagging);
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    assert!(matches!(state.health(), Health::Degraded { kind: crate::ErrorKind::DiskFull, attempts: 1, .. }));
    assert!(state.check_lag().is_err(), "it lags all the same");
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    state.check_lag()?;
    assert_eq!(state.health(), Health::Healthy);
    Ok(())
}

/// Waiters, statistics and the flusher may hold the lock of the progress: a write goes on, and is refused, without it.
#[test]
fn a_write_takes_no_lock_of_those_who_wait() -> Outcome {
    let bound = Duration::from_millis(1);
    let (_driver, state, _) = flusher(FlushOptions { lag_bound: bound, refuse_when_lagging: true, ..NEVER });
    state.put('a');
    until_lagging(&state);
    let held = state.progress.hold_lock();
    let (writer, (told, outcome)) = (state.clone(), std::sync::mpsc::channel());
    std::thread::spawn(move || {
        writer.touch('a');
        told.send(writer.check_lag().map_err(|error| error.kind()))
    });
    assert_eq!(outcome.recv_timeout(Duration::from_secs(60))?, Err(crate::ErrorKind::Lagging));
    drop(held);
    Ok(())
}

#[test]
fn a_flush_that_failed_is_told_to_who_waits() -> Outcome {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    let goal = state.progress.request(1).map_err(|_| "it is not durable")?;
    told.next(Turn::Fail(ErrorKind::DiskFull));
    flusher.flush_once(Durability::Durable, Opening::Open);
    let FlushOutcome::<_, Error>::Failed(error) = state.progress.wait(goal) else {
        return Err("it failed".into());
    };
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
        let (_driver, state, _) = flusher(NEVER);
        state.counters.lock().unreadable.extend(all.clone());
        let [erased_ids, erased_links] =
            [erased_ids, erased_links].map(|letters| letters.iter().copied().map(id).collect());
        state.counters.erased(&Applied { erased_ids, erased_links, ..Applied::default() });
        let left = state.counters.lock().unreadable.clone();
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
    let (mut flusher, state, told) = flusher(NEVER);
    let built = [('a', 1), ('b', 2)].map(|(letter, row)| {
        let trace = NewTrace::semantic(serde_json::json!(1)).id(id(letter)).into_trace();
        trace.map(|mut trace| {
            let known = crate::state::Row::loaded(row, &mut trace);
            state.traces.load(id(letter), trace, known)
        })
    });
    assert!(built.into_iter().all(|loaded| loaded.is_ok_and(|loaded| loaded)));
    let ends = LinkKey::of(id('a'), id('b')).ok_or("two")?;
    let births = ends.ids().map(|id| state.traces.get(&id).map(|trace| trace.birth()));
    let [Some(first), Some(second)] = births else { return Err("they are there".into()) };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let tie = LinkState::new(Link::new((id('a'), id('b')), 1, now, now)?, [first, second]);
    assert!(state.links.load(ends, tie, LinkRow::stored()));
    assert_eq!((state.dirty(), state.cells()), (0, (2, 1)));
    state.touch('a');
    state.remove('b');
    // Its links are captured with it, though their own removal is not in this cut.
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 -b ~a -ab"]);
    let rows: BTreeSet<_> = state.links.keys().into_iter().collect();
    assert_eq!(rows, BTreeSet::from([ends]), "it has not been removed from memory");
    Ok(())
}
