//! Tags and partitions are names that many traces have: traces that one thread makes share the memory of theirs.

use foldhash::fast::FixedState;
use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Number of names that a thread keeps for its next traces.
const KEPT: usize = 128;
/// Bytes of the longest that it keeps: a thread that makes no more traces holds 16 KiB at most.
const LONGEST: usize = 64;

thread_local! {
    static NAMES: RefCell<[Option<Arc<str>>; KEPT]> = const { RefCell::new([const { None }; KEPT]) };
}

/// Returns the name, which is in the memory of an earlier one that is equal if this thread has kept that.
pub(super) fn shared(name: &str) -> Arc<str> {
    if name.len() > LONGEST {
        return name.into();
    }
    let place = FixedState::default().hash_one(name) as usize % KEPT;
    let kept = NAMES.try_with(|names| {
        let kept = &mut names.borrow_mut()[place];
        match kept {
            Some(kept) if **kept == *name => kept.clone(),
            _ => kept.insert(name.into()).clone(),
        }
    });
    // A thread that ends keeps none.
    kept.unwrap_or_else(|_| name.into())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{KEPT, LONGEST, shared};
    use std::sync::Arc;

    #[test]
    fn equal_names_share_their_memory() {
        assert!(Arc::ptr_eq(&shared("harbour"), &shared("harbour")));
        let long = "x".repeat(LONGEST + 1);
        assert!(!Arc::ptr_eq(&shared(&long), &shared(&long)));
        // Whatever else a thread names meanwhile, it gets what it asks for.
        for n in 0..4 * KEPT {
            let name = format!("tag {n}");
            assert_eq!((&*shared(&name), &*shared("harbour")), (&*name, "harbour"));
        }
    }
}
