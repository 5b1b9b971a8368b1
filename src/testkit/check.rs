//! The form of a batch, whatever is stored: each row once, removals first, the rest in ascending order.

use crate::backend::{Batch, LinkChange, RowNumber, TraceChange};
use crate::trace::TraceId;
use std::collections::BTreeSet;

/// Returns an error that names the rule that the batch breaks.
pub(super) fn well_formed(batch: &Batch<'_>) -> Result<(), String> {
    let traces =
        batch.traces.iter().map(|change| (row(change), matches!(change, TraceChange::Delete { .. })));
    in_order("row", traces)?;
    let mut written = BTreeSet::new();
    for change in batch.traces.iter().filter(|change| !matches!(change, TraceChange::Delete { .. })) {
        if !written.insert(change.id()) {
            return Err(format!("trace {} is written twice in a batch", change.id()));
        }
    }
    in_order(
        "link",
        batch.links.iter().map(|change| (ends(change), matches!(change, LinkChange::Delete(..)))),
    )
}

fn in_order<K: Ord + Copy + std::fmt::Debug>(
    what: &str,
    changes: impl Iterator<Item = (K, bool)>,
) -> Result<(), String> {
    let (mut all, mut last) = (BTreeSet::new(), None);
    for (key, is_removal) in changes {
        if !all.insert(key) {
            return Err(format!("{what} {key:?} is in a batch twice"));
        }
        if is_removal && last.is_some() {
            return Err(format!("{what} {key:?} is removed after others were written"));
        }
        if !is_removal && last.replace(key).is_some_and(|last| last > key) {
            return Err(format!("{what} {key:?} is not in rising order"));
        }
    }
    Ok(())
}

fn row(change: &TraceChange) -> RowNumber {
    match change {
        TraceChange::Delete { row, .. }
        | TraceChange::Upsert { row, .. }
        | TraceChange::UpdateNumbers { row, .. } => *row,
    }
}

fn ends(change: &LinkChange) -> (TraceId, TraceId) {
    match change {
        LinkChange::Delete(a, b) => (*a, *b),
        LinkChange::Upsert(link) => link.ends(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::well_formed;
    use crate::Durability;
    use crate::backend::{Batch, TraceChange};
    use crate::trace::TraceId;
    use crate::{NewTrace, Result};
    use std::sync::Arc;

    fn delete(row: i64) -> TraceChange {
        TraceChange::Delete { row, id: TraceId::from_reference(&row.to_string()) }
    }

    fn upsert(row: i64) -> Result<TraceChange> {
        let new = NewTrace::semantic(serde_json::json!(row)).id(TraceId::from_reference(&row.to_string()));
        Ok(TraceChange::Upsert { row, trace: Arc::new(new.into_trace()?) })
    }

    #[test]
    fn a_batch_has_each_row_once_removals_first_and_the_rest_rising() -> Result<()> {
        let wrong =
            |traces: &[TraceChange]| well_formed(&Batch::new(1, Durability::Durable).traces(traces)).err();
        assert_eq!(wrong(&[delete(4), delete(6), upsert(2)?, upsert(5)?]), None);
        assert!(wrong(&[delete(2), upsert(2)?]).is_some_and(|why| why.contains("twice")));
        assert!(wrong(&[upsert(1)?, delete(2)]).is_some_and(|why| why.contains("removed after")));
        assert!(wrong(&[upsert(5)?, upsert(2)?]).is_some_and(|why| why.contains("rising")));
        Ok(())
    }
}
