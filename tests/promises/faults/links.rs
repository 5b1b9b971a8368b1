//! Rows of links after a failed sync, a refused row, or an unanswered batch.

use super::script::state_of;
use harness::{Outcome, State, manual_flush, note, wait_until};
use mnemon::testkit::{Call, Faults};
use mnemon::{Durability, ErrorKind, TraceStore};

/// A store whose flusher commits each change at once, and syncs nothing.
fn relaxed(faults: &Faults) -> mnemon::Result<TraceStore> {
    manual_flush().flush_threshold(1).durability(Durability::Committed).open_with(faults.backend())
}

fn committed(store: &TraceStore) {
    wait_until(|| store.stats().dirty == 0);
}

/// What was committed and not synced is sent again after a failed sync. The removal of a link was not: the flusher
/// remembered that the row was gone, and it came back with a power loss.
#[test]
fn removed_link_stays_after_failed_sync() -> Outcome {
    let faults = Faults::new();
    let store = relaxed(&faults)?;
    let (a, b) = (store.insert(note("a"))?, store.insert(note("b"))?);
    store.co_activate(a, b)?;
    store.flush()?;
    assert!(faults.durable().link(a, b).is_some());
    // The trace stays away from the cut in which its link ends, so that the two come in batches of their own.
    store.remove(a)?;
    store.insert(note("a again").id(a))?;
    committed(&store);
    faults.fail(Call::Apply).with(ErrorKind::Io);
    store.insert(note("c"))?;
    let _ = store.flush();
    store.flush()?;
    assert_eq!(store.link(a, b), None);
    assert_eq!(faults.durable().link(a, b), None);
    assert_eq!(faults.violations(), [""; 0]);
    Ok(())
}

/// The removed link stays among what is not synced, and a new one of the same two traces is another record. A failed
/// sync brought the removed one back into the batch, in the place of the new.
#[test]
fn new_link_survives_failed_sync() -> Outcome {
    let faults = Faults::new();
    let store = relaxed(&faults)?;
    let (a, b) = (store.insert(note("a"))?, store.insert(note("b"))?);
    store.co_activate(a, b)?;
    committed(&store);
    store.remove(a)?;
    committed(&store);
    store.insert(note("a again").id(a))?;
    committed(&store);
    faults.fail(Call::Apply).with(ErrorKind::Io);
    store.co_activate(a, b)?;
    let _ = store.flush();
    store.flush()?;
    assert_eq!(faults.durable().link(a, b).copied(), store.link(a, b));
    assert_eq!(faults.live().link(a, b).copied(), store.link(a, b));
    Ok(())
}

/// And where the new one goes as well before anything is synced, the row of the first goes.
#[test]
fn new_removed_link_leaves_no_row() -> Outcome {
    let faults = Faults::new();
    let store = relaxed(&faults)?;
    let (a, b) = (store.insert(note("a"))?, store.insert(note("b"))?);
    store.co_activate(a, b)?;
    store.flush()?;
    store.remove(a)?;
    committed(&store);
    // The failed sync, and one more failure after what was not synced is pending again.
    faults.fail(Call::Apply).with(ErrorKind::Io);
    faults.fail(Call::Apply).at(2).with(ErrorKind::DiskFull);
    store.insert(note("a again").id(a))?;
    let _ = store.flush();
    let _ = store.flush();
    store.co_activate(a, b)?;
    store.remove(a)?;
    store.flush()?;
    assert_eq!(faults.durable().link(a, b), None);
    assert_eq!(faults.live().link(a, b), None);
    assert_eq!(faults.violations(), [""; 0]);
    Ok(())
}

/// A batch that was committed and not answered for may have left a row, of a link too.
#[test]
fn unanswered_link_goes_when_removed() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().open_with(faults.backend())?;
    let (a, b) = (store.insert(note("a"))?, store.insert(note("b"))?);
    store.co_activate(a, b)?;
    faults.fail(Call::Apply).late().with(ErrorKind::DiskFull);
    assert!(store.flush().is_err() && faults.live().link(a, b).is_some());
    store.remove(a)?;
    store.insert(note("a again").id(a))?;
    store.flush()?;
    assert_eq!(faults.live().link(a, b), None);
    Ok(())
}

#[test]
fn link_comes_with_its_accepted_trace() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().open_with(faults.backend())?;
    let (a, b) = (store.insert(note("a"))?, store.insert(note("b"))?);
    store.co_activate(a, b)?;
    faults.refuse(a);
    assert_eq!(store.flush()?.rows_refused, 2, "the trace, and its link");
    assert!(faults.live().trace(a).is_none() && faults.live().link(a, b).is_none());
    faults.accept(a);
    store.update(a, |trace| trace.confidence(0.1))?;
    store.flush()?;
    assert!(state_of(&faults.durable()) == State::of(&store));
    Ok(())
}
