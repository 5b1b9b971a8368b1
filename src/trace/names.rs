//! A trace's partition and tags: names that many traces have.
//!
//! Traces that one thread makes share the memory of theirs: of all of them if they are equal, and else of each.

#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use super::parts;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
use crate::error::Result;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::thread::LocalKey;

/// The partition and the tags of a trace.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Names {
    pub(crate) partition: Arc<str>,
    /// Sorted, each once.
    pub(crate) tags: Box<[Arc<str>]>,
}

/// What a thread keeps for its next traces: emptied when it is full.
type Kept<T> = LocalKey<RefCell<HashTable<T>>>;

const MOST: usize = 1_024;
/// Bytes of the longest name that is kept, and of the longest column of tags; number of tags of the longest list. So a
/// thread that makes no more traces holds 1 MiB or so at most.
const LONGEST: usize = 64;
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
const LONGEST_COLUMN: usize = 256;
const MOST_TAGS: usize = 8;

thread_local! {
    static NAMES: RefCell<HashTable<Arc<str>>> = const { RefCell::new(HashTable::new()) };
    static OF_TRACES: RefCell<HashTable<Arc<Names>>> = const { RefCell::new(HashTable::new()) };
}

#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
thread_local! {
    static OF_ROWS: RefCell<HashTable<OfRow>> = const { RefCell::new(HashTable::new()) };
}

/// The column of the tags, and the names that it stands for with the partition.
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
struct OfRow(Option<Box<str>>, Arc<Names>);

fn hash(key: impl Hash) -> u64 {
    FixedState::default().hash_one(key)
}

/// Applies `found` to the kept entry that `is_it` accepts, if there is one. A thread that is ending keeps none.
fn find<T, R>(
    kept: &'static Kept<T>,
    hash: u64,
    is_it: impl FnMut(&T) -> bool,
    found: impl FnOnce(&T) -> R,
) -> Option<R> {
    kept.try_with(|kept| kept.borrow().find(hash, is_it).map(found)).ok()?
}

fn keep<T>(kept: &'static Kept<T>, made: T, hash_of: impl Fn(&T) -> u64) {
    let keep = |kept: &RefCell<HashTable<T>>| {
        let mut kept = kept.borrow_mut();
        if kept.len() == MOST {
            kept.clear();
        }
        kept.insert_unique(hash_of(&made), made, hash_of);
    };
    kept.try_with(keep).ok();
}

/// Returns the name, which is in the memory of an earlier one that is equal if this thread has kept that.
pub(super) fn shared(name: &str) -> Arc<str> {
    if name.len() > LONGEST {
        return name.into();
    }
    find(&NAMES, hash(name), |kept| **kept == *name, Arc::clone).unwrap_or_else(|| {
        let made = Arc::<str>::from(name);
        keep(&NAMES, made.clone(), |kept| hash(&**kept));
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
        let is_it = |kept: &Arc<Self>| kept.partition == *partition && *kept.tags == *tags;
        find(&OF_TRACES, hash((partition, tags)), is_it, Arc::clone).unwrap_or_else(|| {
            let made = make();
            keep(&OF_TRACES, made.clone(), |kept| hash((&kept.partition, &*kept.tags)));
            made
        })
    }

    /// Returns the names of a row: its partition, and its tags, a JSON array if there are any.
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(super) fn stored(partition: &str, tags: Option<&str>) -> Result<Arc<Self>> {
        let is_it = |OfRow(column, names): &_| column.as_deref() == tags && *names.partition == *partition;
        if let Some(names) = find(&OF_ROWS, hash((partition, tags)), is_it, |OfRow(_, names)| names.clone()) {
            return Ok(names);
        }
        let all = tags.map_or(Ok(Vec::new()), parts::tags_of_json)?;
        let names = Self::shared(&shared(parts::name("partition", partition)?), &all);
        if tags.is_none_or(|tags| tags.len() <= LONGEST_COLUMN) {
            let row = OfRow(tags.map(Box::from), names.clone());
            keep(&OF_ROWS, row, |OfRow(column, names)| hash((&*names.partition, column.as_deref())));
        }
        Ok(names)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{LONGEST, MOST, Names, OF_TRACES, shared};
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
        for n in 0..2 * MOST {
            let name = format!("tag {n}");
            assert_eq!((&*shared(&name), &*shared("harbour")), (&*name, "harbour"));
            let both = names(&name, &["b", &name]);
            assert_eq!((&*both.partition, both.tags.len(), &*both.tags[1]), (&*name, 2, &*name));
            assert_eq!((names("b", &["a"]).tags.len(), names("b", &[]).tags.len()), (1, 0));
            assert!(OF_TRACES.with(|kept| kept.borrow().len() <= MOST));
        }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    #[test]
    fn names_of_rows_are_as_stored() -> crate::Result<()> {
        for _ in 0..2 {
            for n in 0..2 * MOST {
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
