//! A trace's partition and tags: names that many traces have.
//!
//! Traces that one thread makes share the memory of theirs: of all of them if they are equal, and else of each.

#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use super::parts;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use crate::error::Result;
use foldhash::fast::FixedState;
use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::thread::LocalKey;

/// The partition and the tags of a trace.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Names {
    pub(crate) partition: Arc<str>,
    /// Sorted, each once.
    pub(crate) tags: Box<[Arc<str>]>,
}

/// What a thread keeps for its next traces, each in the place of its hash.
type Kept<T> = LocalKey<RefCell<[Option<T>; PLACES]>>;

const PLACES: usize = 128;
/// Bytes of the longest name that is kept, and of the longest column of tags; number of tags of the longest list. So a
/// thread that makes no more traces holds 300 KiB at most.
const LONGEST: usize = 64;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
const LONGEST_COLUMN: usize = 256;
const MOST_TAGS: usize = 8;

thread_local! {
    static NAMES: RefCell<[Option<Arc<str>>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
    static OF_TRACES: RefCell<[Option<Arc<Names>>; PLACES]> = const { RefCell::new([const { None }; PLACES]) };
}

#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
thread_local! {
    /// With the column of the tags.
    static OF_ROWS: RefCell<[Option<(Option<Box<str>>, Arc<Names>)>; PLACES]> =
        const { RefCell::new([const { None }; PLACES]) };
}

/// Returns what is kept in the place of a hash, if it is what is asked for. A thread that ends keeps nothing.
fn find<T, R>(kept: &'static Kept<T>, hash: u64, is_it: impl FnOnce(&T) -> Option<R>) -> Option<R> {
    kept.try_with(|kept| is_it(kept.borrow()[hash as usize % PLACES].as_ref()?)).ok()?
}

fn keep<T>(kept: &'static Kept<T>, hash: u64, made: T) {
    kept.try_with(|kept| kept.borrow_mut()[hash as usize % PLACES] = Some(made)).ok();
}

/// Returns the name, which is in the memory of an earlier one that is equal if this thread has kept that.
pub(super) fn shared(name: &str) -> Arc<str> {
    if name.len() > LONGEST {
        return name.into();
    }
    let hash = FixedState::default().hash_one(name);
    find(&NAMES, hash, |kept| (**kept == *name).then(|| kept.clone())).unwrap_or_else(|| {
        let made: Arc<str> = name.into();
        keep(&NAMES, hash, made.clone());
        made
    })
}

impl Names {
    /// Returns these names, in the memory of earlier ones that are equal if this thread has kept those.
    pub(super) fn shared(partition: &Arc<str>, tags: &[Arc<str>]) -> Arc<Self> {
        let make = || Arc::new(Self { partition: partition.clone(), tags: tags.into() });
        if tags.len() > MOST_TAGS || tags.iter().chain([partition]).any(|name| name.len() > LONGEST) {
            return make();
        }
        let hash = FixedState::default().hash_one((partition, tags));
        let is_it = |kept: &Arc<Self>| kept.partition == *partition && *kept.tags == *tags;
        find(&OF_TRACES, hash, |kept| is_it(kept).then(|| kept.clone())).unwrap_or_else(|| {
            let made = make();
            keep(&OF_TRACES, hash, made.clone());
            made
        })
    }

    /// Returns the names of a row: its partition, and its tags, a JSON array if there are any.
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(super) fn stored(partition: &str, tags: Option<&str>) -> Result<Arc<Self>> {
        let hash = FixedState::default().hash_one((partition, tags));
        let is_it = |(of, names): &(Option<Box<str>>, Arc<Self>)| {
            (of.as_deref() == tags && *names.partition == *partition).then(|| names.clone())
        };
        if let Some(names) = find(&OF_ROWS, hash, is_it) {
            return Ok(names);
        }
        let all = tags.map_or(Ok(Vec::new()), parts::tags_of_json)?;
        let names = Self::shared(&shared(parts::name("partition", partition)?), &all);
        if tags.is_none_or(|tags| tags.len() <= LONGEST_COLUMN) {
            keep(&OF_ROWS, hash, (tags.map(Box::from), names.clone()));
        }
        Ok(names)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{LONGEST, Names, PLACES, shared};
    use std::sync::Arc;

    #[test]
    fn equal_names_share_their_memory() {
        assert!(Arc::ptr_eq(&shared("harbour"), &shared("harbour")));
        let long = "x".repeat(LONGEST + 1);
        assert!(!Arc::ptr_eq(&shared(&long), &shared(&long)));
        let names = |partition: &str, tags: &[&str]| {
            Names::shared(&shared(partition), &tags.iter().map(|tag| shared(tag)).collect::<Vec<_>>())
        };
        assert!(Arc::ptr_eq(&names("a", &["b", "c"]), &names("a", &["b", "c"])));
        // Whatever else a thread names meanwhile, it gets what it asks for.
        for n in 0..4 * PLACES {
            let name = format!("tag {n}");
            assert_eq!((&*shared(&name), &*shared("harbour")), (&*name, "harbour"));
            let both = names(&name, &["b", &name]);
            assert_eq!((&*both.partition, both.tags.len(), &*both.tags[1]), (&*name, 2, &*name));
            assert_eq!((names("b", &["a"]).tags.len(), names("b", &[]).tags.len()), (1, 0));
        }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    #[test]
    fn names_of_rows_are_as_stored() -> crate::Result<()> {
        for _ in 0..2 {
            for n in 0..2 * PLACES {
                let partition = format!("agent {n}");
                let json = format!(r#"["b","a","tag {n}"]"#);
                let with = Names::stored(&partition, Some(&json))?;
                assert_eq!((&*with.partition, with.tags.len(), &*with.tags[0]), (&*partition, 3, "a"));
                let without = Names::stored(&partition, None)?;
                assert_eq!((&*without.partition, without.tags.len()), (&*partition, 0));
                assert!(Names::stored("", None).is_err());
                assert!(Names::stored(&partition, Some(r#"["", "a"]"#)).is_err());
                assert!(Names::stored(&partition, Some("")).is_err());
            }
        }
        Ok(())
    }
}
