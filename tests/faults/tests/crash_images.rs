//! Wherever the power fails, and whatever the disk has made of what was not synced: the file is exactly at some
//! cut, and not before the last one that was reported durable, nor below any durable watermark that was told.
#![cfg(unix)]

use fault_tests::Outcome;
use fault_tests::crash::{Crash, Image};
use fault_tests::disk::{Call, Disk, Event, Fault, How};
use fault_tests::run::{Cuts, Run, note};
use fault_tests::scratch::{database, folder, more};
use fault_tests::state::{State, check_rows, reader};
use harness::Rng;
use mnemon::TraceStore;
use std::collections::HashSet;
use std::path::Path;
use tempfile::TempDir;

/// How many images of each sort there are at most at one cut-off; an unoptimized build is slow at making them.
const EACH: usize = if cfg!(debug_assertions) { 3 } else { 24 };
const RANDOM: usize = if cfg!(debug_assertions) { 3 } else { 16 };

/// What was tried, and what was found.
#[derive(Default, Debug)]
struct Tally {
    cut_offs: usize,
    images: usize,
    durable_losses: usize,
    torn_cuts: usize,
    not_opened: usize,
    /// A durable watermark had been told that the file does not have.
    ahead: usize,
    /// One of the failures, in words.
    first: Option<String>,
}

impl Tally {
    fn report(&self, title: &str) -> Outcome {
        println!(
            "{title}: {} cut-offs, {} images, durable losses {}, torn cuts {}, not opened {}, told ahead {}",
            self.cut_offs, self.images, self.durable_losses, self.torn_cuts, self.not_opened, self.ahead
        );
        match &self.first {
            None => Ok(()),
            Some(first) => Err(format!("{title}: {first}; {self:?}").into()),
        }
    }
}

/// Tries images of a run.
struct Trial<'r> {
    states: &'r [State],
    folder: TempDir,
    tally: Tally,
    seen: HashSet<(u64, usize, usize, u64)>,
}

impl<'r> Trial<'r> {
    fn of(states: &'r [State]) -> Outcome<Self> {
        Ok(Self { states, folder: folder()?, tally: Tally::default(), seen: HashSet::new() })
    }

    /// Tries an image, if there was no such one.
    fn check(&mut self, image: &Image, crash: &Crash) -> Outcome {
        let (durable, possible) = (crash.durable, crash.possible.min(self.states.len() - 1));
        if !self.seen.insert((image.fingerprint(), durable, possible, crash.told)) {
            return Ok(());
        }
        self.tally.images += 1;
        let path = self.folder.path().join("memory.db");
        image.write(&path)?;
        let store = match TraceStore::open(&path) {
            Ok(store) => store,
            Err(error) => {
                self.tally.not_opened += 1;
                self.tally.first.get_or_insert(format!("{error:?}"));
                return Ok(());
            }
        };
        let watermark = store.watermark().durable;
        if watermark < crash.told {
            self.tally.ahead += 1;
            let first = format!("the file is at {watermark}, and {} was told as durable", crash.told);
            self.tally.first.get_or_insert(first);
        }
        let found = State::of(&store);
        if !self.states[durable..=possible].contains(&found) {
            let cut = self.states.iter().position(|state| *state == found);
            match cut {
                Some(_) => self.tally.durable_losses += 1,
                None => self.tally.torn_cuts += 1,
            }
            let first = format!("found cut {cut:?} ({}), expected {durable} to {possible}", found.summary());
            self.tally.first.get_or_insert(first);
        }
        if self.tally.images.is_multiple_of(8) {
            go_on(&store, &path)?;
        }
        Ok(store.close().map(drop)?)
    }
}

/// The store is as good as any other.
fn go_on(store: &TraceStore, path: &Path) -> Outcome {
    store.insert(note(99_999, 30))?;
    store.flush()?;
    check_rows(&reader(path)?, &State::of(store))
}

/// A run to its end, and its record.
fn record(cuts: Cuts, fault: Option<Fault>, large: usize) -> Outcome<(Vec<State>, Vec<Event>)> {
    let folder = folder()?;
    let (disk, path) = (Disk::under(folder.path())?, database(&folder));
    disk.start_recording();
    disk.set_fault(fault);
    let mut run = Run::new(&disk, &path, cuts);
    run.large = large;
    run.all()?;
    run.close()?;
    Ok((run.states, disk.events()))
}

#[test]
fn power_loss_anywhere_leaves_durable_cut() -> Outcome {
    let (states, events) = record(Cuts::Planned, None, 3_000)?;
    let mut trial = Trial::of(&states)?;
    let (mut crash, mut rng) = (Crash::default(), Rng::with_seed(1));
    for event in &events {
        if crash.happened(event) {
            trial.tally.cut_offs += 1;
            for image in crash.images(EACH * more(), RANDOM * more(), &mut rng) {
                trial.check(&image, &crash)?;
            }
        }
    }
    assert!(trial.tally.images > 1_000, "{:?}", trial.tally);
    trial.tally.report("power losses")
}

/// The system may have marked as clean what it could not write: no later sync makes it certain.
#[test]
fn power_loss_after_failed_sync() -> Outcome {
    let images = (EACH.min(4), RANDOM.min(6) * more());
    after_each_failed_sync("power losses", 3_000, images, 16 / more())
}

/// Among the syncs are those of the thread that moves the log beside the flusher.
#[test]
fn power_loss_after_large_failed_sync() -> Outcome {
    after_each_failed_sync("power losses with a large log", 900_000, (1, 2), usize::MAX)
}

/// A power loss where something has just been reported durable, and after each so many events.
fn after_each_failed_sync(title: &str, large: usize, most: (usize, usize), step: usize) -> Outcome {
    let folder = folder()?;
    let disk = Disk::under(folder.path())?;
    let mut run = Run::new(&disk, &database(&folder), Cuts::Anywhere);
    run.large = large;
    run.all()?;
    run.close()?;
    let syncs = disk.calls()[&Call::Sync];
    let (mut all, mut rng) = (Tally::default(), Rng::with_seed(2));
    for nth in 1..=syncs {
        let fault = Fault { call: Call::Sync, nth, times: 1, how: How::Error };
        let (states, events) =
            record(Cuts::Anywhere, Some(fault), large).map_err(|error| format!("sync {nth}: {error}"))?;
        let mut trial = Trial::of(&states)?;
        let failed = events.iter().position(|event| matches!(event, Event::SyncFailed(_)));
        let mut crash = Crash::default();
        for (at, event) in events.iter().enumerate() {
            let changed = crash.happened(event);
            let worth = matches!(event, Event::Durable(_)) || at % step.max(1) == 0;
            if changed && worth && failed.is_some_and(|failed| at >= failed) {
                trial.tally.cut_offs += 1;
                for image in crash.images(most.0, most.1, &mut rng) {
                    trial.check(&image, &crash)?;
                }
            }
        }
        let Tally { cut_offs, images, durable_losses, torn_cuts, not_opened, ahead, first } = trial.tally;
        all.cut_offs += cut_offs;
        all.images += images;
        all.durable_losses += durable_losses;
        all.torn_cuts += torn_cuts;
        all.not_opened += not_opened;
        all.ahead += ahead;
        all.first = all.first.or(first.map(|first| format!("sync {nth} failed: {first}")));
    }
    all.report(&format!("{title} after each of {syncs} syncs failed"))
}

/// Pages are moved, the log is emptied, and the file is cut off behind what is left.
#[test]
fn power_loss_while_compacting_leaves_cut() -> Outcome {
    let folder = folder()?;
    let (disk, path) = (Disk::under(folder.path())?, database(&folder));
    disk.start_recording();
    let mut run = Run::new(&disk, &path, Cuts::Planned);
    run.large = 20_000;
    let begins = run.compacting_life()?;
    let events = disk.events();
    run.close()?;
    let mut trial = Trial::of(&run.states)?;
    let (mut crash, mut rng) = (Crash::default(), Rng::with_seed(4));
    let step = ((events.len() - begins) / (60 * more())).max(1);
    let mut cut_off = 0;
    for (at, event) in events.iter().enumerate() {
        let decisive = matches!(event, Event::Synced { .. } | Event::Truncated { .. });
        cut_off += usize::from(at >= begins && matches!(event, Event::Truncated { .. }));
        if crash.happened(event) && at >= begins && (decisive || at % step == 0) {
            trial.tally.cut_offs += 1;
            for image in crash.images(1, 2, &mut rng) {
                trial.check(&image, &crash)?;
            }
        }
    }
    assert!(cut_off >= 2 && trial.tally.images > 100, "file and log, {cut_off}: {:?}", trial.tally);
    trial.tally.report("power losses while compacting")
}

/// A log of more than 1,000 pages is moved into the file while the store goes on.
#[test]
fn power_loss_during_checkpoint_leaves_cut() -> Outcome {
    let (states, events) = record(Cuts::Planned, None, 900_000)?;
    let mut trial = Trial::of(&states)?;
    let (mut crash, mut rng) = (Crash::default(), Rng::with_seed(3));
    let step = (events.len() / (60 * more())).max(1);
    for (at, event) in events.iter().enumerate() {
        let synced = matches!(event, Event::Synced { .. } | Event::Truncated { .. });
        if crash.happened(event) && (synced || at % step == 0) {
            trial.tally.cut_offs += 1;
            for image in crash.images(1, 2, &mut rng) {
                trial.check(&image, &crash)?;
            }
        }
    }
    trial.tally.report("power losses with a large log")
}
