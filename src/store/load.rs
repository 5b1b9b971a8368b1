//! Loading: filling the maps of a store with the rows that a backend has stored.

#[cfg(all(feature = "sqlite", not(loom)))]
use crate::backend::sqlite::Moment;
use crate::backend::{self, Loaded};
use crate::error::{Error, Result};
#[cfg(all(feature = "sqlite", not(loom)))]
use crate::progress::Watch;
use crate::protocol::{Adjacency, Map};
use crate::state::{LinkRow, Links, Quarantined, Row, Traces};
use crate::trace::{Link, LinkState, TraceId};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Receiver of stored rows, called as they are read.
type Into<'a> = &'a mut dyn FnMut(backend::Stored);

/// The content of a backend, in memory.
pub(super) struct Stored {
    pub(super) traces: Traces,
    pub(super) links: Links,
    pub(super) unreadable: Vec<Quarantined>,
    pub(super) loaded: Loaded,
    /// Highest generation that the spill of an earlier opening has used, or that another history may have.
    pub(super) taken: u64,
    #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(super) home: Option<Home>,
    /// Two rows had one id.
    pub(super) has_twins: AtomicBool,
}

/// Where the data of a store is kept.
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
#[derive(Clone)]
#[cfg_attr(not(feature = "snapshot"), allow(dead_code, reason = "without it there are no spills"))]
pub(super) struct Home {
    /// For people.
    pub(super) place: Box<str>,
    /// The SQLite file, if that is it.
    #[cfg(feature = "sqlite")]
    pub(super) file: Option<std::path::PathBuf>,
    /// The path of this opening's spill.
    pub(super) spill: std::path::PathBuf,
    /// Names this opening.
    pub(super) boot: uuid::Uuid,
    /// The spill that this opening has to apply, if it is there, and the opening that left it.
    pub(super) left: Option<(std::path::PathBuf, uuid::Uuid)>,
    /// The longest payload that is read and written, in bytes.
    pub(super) longest_payload: usize,
}

impl Stored {
    pub(super) fn nothing() -> Self {
        let (traces, links) = (Map::new(()), Map::new(Adjacency::new()));
        Self {
            traces,
            links,
            unreadable: Vec::new(),
            loaded: Loaded::default(),
            taken: 0,
            #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
            home: None,
            has_twins: AtomicBool::new(false),
        }
    }

    /// Returns the path of the file, or the place of the space, if there is one.
    pub(super) fn path(&self) -> Option<Box<str>> {
        #[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
        {
            self.home.as_ref().map(|home| home.place.clone())
        }
        #[cfg(not(all(any(feature = "sqlite", feature = "postgres"), not(loom))))]
        {
            None
        }
    }

    /// Loads all rows; `read` gives every trace before any link.
    pub(super) fn load<E>(read: impl FnOnce(Into<'_>) -> Result<Loaded, E>) -> Result<Self>
    where
        Error: From<E>,
    {
        let stored = Self::nothing();
        let (loaded, unreadable) = stored.fill(|into| Ok(read(into)?))?;
        Ok(Self { loaded, unreadable, ..stored })
    }

    /// Loads a file, its traces with several threads.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub(super) fn load_file(mut moment: Moment<'_>, watch: Option<&Watch>) -> Result<Self> {
        let mut stored = Self::nothing();
        let (mut loaded, mut unreadable) = moment.traces(watch, &|row| stored.take(row))?;
        if stored.has_twins.load(Relaxed) {
            // Which row of an id was put in is a matter of luck: the first one should be.
            stored = Self::nothing();
            moment.in_order();
            (loaded, unreadable) = moment.traces(watch, &|row| stored.take(row))?;
        }
        let (loaded, links) = stored.fill(|into| moment.links(into).map(|()| loaded))?;
        unreadable.extend(links);
        Ok(Self { loaded, unreadable, ..stored })
    }

    /// This thread reads, and another one puts the rows into the maps, so that neither waits for the memory or the
    /// disk of the other.
    #[cfg(not(loom))]
    fn fill(&self, read: impl FnOnce(Into<'_>) -> Result<Loaded>) -> Result<(Loaded, Vec<Quarantined>)> {
        /// Number of rows handed over at once, and number of such batches that may be queued.
        const ROWS: usize = 64;
        const HANDS: usize = 4;
        std::thread::scope(|scope| {
            let (give, given) = std::sync::mpsc::sync_channel::<Vec<_>>(HANDS);
            let take =
                move || given.into_iter().flatten().filter_map(|row| self.take(row)).collect::<Vec<_>>();
            let thread = std::thread::Builder::new().name("mnemon-loader".to_owned());
            let Ok(taking) = thread.spawn_scoped(scope, take) else { return self.fill_alone(read) };
            let mut hand = Vec::with_capacity(ROWS);
            let loaded = read(&mut |row| {
                hand.push(row);
                if hand.len() == ROWS {
                    // The send fails if the other thread has panicked: the panic is passed on below.
                    give.send(std::mem::replace(&mut hand, Vec::with_capacity(ROWS))).ok();
                }
            });
            give.send(hand).ok();
            drop(give);
            let unreadable = taking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((loaded?, unreadable))
        })
    }

    #[cfg(loom)]
    fn fill(&self, read: impl FnOnce(Into<'_>) -> Result<Loaded>) -> Result<(Loaded, Vec<Quarantined>)> {
        self.fill_alone(read)
    }

    fn fill_alone(
        &self,
        read: impl FnOnce(Into<'_>) -> Result<Loaded>,
    ) -> Result<(Loaded, Vec<Quarantined>)> {
        let mut unreadable = Vec::new();
        let loaded = read(&mut |row| unreadable.extend(self.take(row)))?;
        Ok((loaded, unreadable))
    }

    /// Stores the row; if it can't be used, returns the reason.
    fn take(&self, row: backend::Stored) -> Option<Quarantined> {
        let is_link = matches!(row, backend::Stored::Link(_));
        let (id, reason) = self.put(row).err()?;
        Some(Quarantined { id, is_link, reason, times: 1 })
    }

    /// Stores the row, or returns the id of its trace and the reason why it can't be used.
    fn put(&self, row: backend::Stored) -> Result<(), (Option<TraceId>, String)> {
        match row {
            backend::Stored::Trace { row, trace } => {
                let mut trace = trace.map_err(|wrong| (wrong.id, format!("row {row}: {}", wrong.reason)))?;
                let (id, held) = (trace.id(), Row::loaded(row, &mut trace));
                if self.traces.load(id, trace, held) {
                    Ok(())
                } else {
                    self.has_twins.store(true, Relaxed);
                    Err((Some(id), format!("row {row} has the id of another row")))
                }
            }
            backend::Stored::Link(link) => {
                let link = link.map_err(|wrong| (wrong.id, format!("a link: {}", wrong.reason)))?;
                self.put_link(link).map_err(|reason| (Some(link.ends().0), reason))
            }
        }
    }

    fn put_link(&self, link: Link) -> Result<(), String> {
        let [a, b] = link.ends.ids();
        let birth = |id| match self.traces.get(&id) {
            Some(trace) => Ok(trace.birth()),
            None => Err(format!("the link of {a} and {b}: there is no trace {id}")),
        };
        let tie = LinkState::new(link, [birth(a)?, birth(b)?]);
        if self.links.load(link.ends, tie, LinkRow::stored()) {
            Ok(())
        } else {
            Err(format!("the link of {a} and {b} is there twice"))
        }
    }
}
