//! The files that a power loss may leave.
//!
//! A [`Crash`] is fed the record of a run, event by event; at any point it makes [`Image`]s: what a computer that
//! lost its power there may find on its disk. Legal is what SQLite itself assumes of a disk, and no less:
//!
//! - A sync of a file that succeeds makes everything done to that file before certain. It says nothing of any
//!   other file: each file has its own choice.
//! - Of what was done to a file since, any subset may be there, in whatever order it was done: a write that was
//!   made last may be there alone. What is there lies over what was there before in the order of the calls, as two
//!   writes to one place go through one cache.
//! - A write may be torn: any of the disk's sectors of 512 bytes that it touches may be there without the others.
//!   Bytes beside the range that was written stay as they were, in the same sector too ("powersafe overwrite",
//!   which SQLite assumes unless it is told otherwise).
//! - A truncation is there whole or not at all, and a file is as long as what is there of it makes it; a hole
//!   reads as zeros. SQLite assumes no order between the size and the content of a file.
//! - A name is as the folder was when it was last synced, or later: a file that was made may be missing, one that
//!   was removed may be back with what it held, but the names' changes keep their order. Files are synced into
//!   their folder as SQLite does it: with the first sync of a log or journal.
//! - After a sync that failed, the system may have marked what it could not write as clean: none of it is certain
//!   any more, whatever sync succeeds later, unless it is written again.
//! - The index of the log (`-shm`) does not outlive the system.

use crate::disk::{Event, Name};
use harness::Rng;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

const SECTOR: u64 = 512;

/// What may become of something that was done to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The next sync makes it certain.
    Pending,
    /// No sync does.
    Doomed,
    /// It is kept only because something before it is not certain.
    Certain,
}

#[derive(Clone, Debug)]
enum Deed {
    Write { offset: u64, data: Box<[u8]> },
    Truncate(u64),
}

/// What is there of an uncertain deed.
#[derive(Clone, Copy, Debug)]
enum Keep {
    Nothing,
    Whole,
    /// The sectors of which the bits are set, over and over.
    Torn(u64),
}

/// One file, by whatever name.
#[derive(Clone, Default, Debug)]
struct Content {
    synced: Vec<u8>,
    deeds: Vec<(Deed, Fate)>,
}

/// The files that one name may stand for, the one that it stands for now last.
#[derive(Clone, Debug)]
struct Slot {
    name: Name,
    versions: Vec<Option<Content>>,
}

/// The disk at some point of a run.
#[derive(Clone, Debug)]
pub struct Crash {
    slots: Vec<Slot>,
    /// The newest cut that was reported durable.
    pub durable: usize,
    /// The newest that may be there.
    pub possible: usize,
    /// The highest durable watermark that was told.
    pub told: u64,
}

/// A store's files after a power loss.
#[derive(Hash)]
pub struct Image(Vec<(Name, Option<Vec<u8>>)>);

impl Default for Crash {
    fn default() -> Self {
        let slots = Name::WITH_DATA.map(|name| Slot { name, versions: vec![None] }).into();
        Self { slots, durable: 0, possible: 0, told: 0 }
    }
}

impl Crash {
    /// A disk with the files of this database, as they are now.
    pub fn of(database: &Path) -> std::io::Result<Self> {
        let mut crash = Self::default();
        for slot in &mut crash.slots {
            let mut path = database.as_os_str().to_owned();
            path.push(slot.name.suffix());
            slot.versions = vec![match std::fs::read(path) {
                Ok(synced) => Some(Content { synced, deeds: Vec::new() }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            }];
        }
        Ok(crash)
    }

    /// One more thing has happened. `true` if it changes what a power loss may leave.
    pub fn happened(&mut self, event: &Event) -> bool {
        match event {
            Event::Durable(cut) => self.durable = *cut,
            Event::Possible(cut) => self.possible = *cut,
            Event::Told(watermark) => self.told = self.told.max(*watermark),
            Event::Found(name) | Event::Created(name) => {
                let Some(slot) = self.slot(*name) else { return false };
                if slot.versions.last().is_some_and(Option::is_some) {
                    return false;
                }
                slot.versions.push(Some(Content::default()));
            }
            Event::Deleted { name, synced } => {
                self.slot(*name).into_iter().for_each(|slot| slot.versions.push(None));
                if *synced {
                    self.sync_folder();
                }
            }
            Event::Written { name, offset, data } => {
                self.did(*name, Deed::Write { offset: *offset, data: data.clone() })
            }
            Event::Truncated { name, size } => self.did(*name, Deed::Truncate(*size)),
            Event::Synced { name, folder } => {
                self.content(*name).into_iter().for_each(Content::sync);
                if *folder {
                    self.sync_folder();
                }
            }
            Event::SyncFailed(name) => self.content(*name).into_iter().for_each(Content::fail_to_sync),
        }
        true
    }

    fn slot(&mut self, name: Name) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.name == name)
    }

    fn content(&mut self, name: Name) -> Option<&mut Content> {
        self.slot(name)?.versions.last_mut()?.as_mut()
    }

    fn did(&mut self, name: Name, deed: Deed) {
        if let Some(content) = self.content(name) {
            content.deeds.push((deed, Fate::Pending));
        }
    }

    fn sync_folder(&mut self) {
        for slot in &mut self.slots {
            slot.versions.drain(..slot.versions.len() - 1);
        }
    }

    /// How many deeds are uncertain, if each name stands for the file that it stands for now.
    pub fn uncertain(&self) -> usize {
        let contents = self.slots.iter().filter_map(|slot| slot.versions.last()?.as_ref());
        contents.map(Content::uncertain).sum()
    }

    /// Images: nothing of what is uncertain, all of it, all and nothing of each file, each deed alone and each one
    /// missing (at most `each` of them, spread), and as many random subsets of whole and of torn deeds as told.
    pub fn images(&self, each: usize, random: usize, rng: &mut Rng) -> Vec<Image> {
        let mut images = vec![
            self.image(|versions| versions - 1, |_, _| Keep::Whole),
            self.image(|versions| versions - 1, |_, _| Keep::Nothing),
            self.image(|_| 0, |_, _| Keep::Nothing),
            self.image(|_| 0, |_, _| Keep::Whole),
        ];
        for only in Name::WITH_DATA {
            let keep = |whole| if whole { Keep::Whole } else { Keep::Nothing };
            images.push(self.image(|versions| versions - 1, |name, _| keep(name == only)));
            images.push(self.image(|versions| versions - 1, |name, _| keep(name != only)));
        }
        let uncertain = self.uncertain();
        for chosen in (0..uncertain).step_by(uncertain.div_ceil(each.max(1)).max(1)) {
            let newest = |versions| versions - 1;
            let alone = |at| if at == chosen { Keep::Whole } else { Keep::Nothing };
            let missing = |at| if at == chosen { Keep::Nothing } else { Keep::Whole };
            images.push(self.image(newest, |_, at| alone(at)));
            images.push(self.image(newest, |_, at| missing(at)));
            let torn = rng.u64(..);
            let halves = |at| if at == chosen { Keep::Torn(torn) } else { Keep::Whole };
            images.push(self.image(newest, |_, at| halves(at)));
        }
        for round in 0..random {
            let mut names = Rng::with_seed(rng.u64(..));
            images.push(self.image(
                |versions| versions - 1 - usize::from(names.u8(..4) == 0) % versions,
                |_, _| match rng.u8(..if round % 2 == 0 { 2 } else { 4 }) {
                    0 => Keep::Nothing,
                    1 => Keep::Whole,
                    _ => Keep::Torn(rng.u64(..)),
                },
            ));
        }
        images
    }

    /// `version` says which of so many files a name stands for, `keep` what is there of each uncertain deed.
    fn image(
        &self,
        mut version: impl FnMut(usize) -> usize,
        mut keep: impl FnMut(Name, usize) -> Keep,
    ) -> Image {
        let mut at = 0;
        let mut files = Vec::new();
        for slot in &self.slots {
            let content = slot.versions[version(slot.versions.len())].as_ref();
            let bytes = content.map(|content| {
                content.after(|| {
                    at += 1;
                    keep(slot.name, at - 1)
                })
            });
            files.push((slot.name, bytes));
        }
        Image(files)
    }
}

impl Content {
    fn uncertain(&self) -> usize {
        self.deeds.iter().filter(|(_, fate)| *fate != Fate::Certain).count()
    }

    fn fail_to_sync(&mut self) {
        for (deed, fate) in &mut self.deeds {
            if *fate == Fate::Pending && matches!(deed, Deed::Write { .. }) {
                *fate = Fate::Doomed;
            }
        }
    }

    fn sync(&mut self) {
        for (_, fate) in &mut self.deeds {
            if *fate == Fate::Pending {
                *fate = Fate::Certain;
            }
        }
        // Nothing shows of what lies under an emptying, or under a write to the same place.
        let emptied =
            |(deed, fate): &(Deed, Fate)| matches!((deed, fate), (Deed::Truncate(0), Fate::Certain));
        if let Some(last) = self.deeds.iter().rposition(emptied) {
            self.deeds.drain(..=last);
            self.synced.clear();
        }
        for at in (0..self.deeds.len()).rev() {
            let (deed, fate) = &self.deeds[at];
            let hidden = |(over, fate): &(Deed, Fate)| *fate == Fate::Certain && over.covers(deed);
            if *fate == Fate::Doomed && self.deeds[at + 1..].iter().any(hidden) {
                self.deeds.remove(at);
            }
        }
        let certain = self.deeds.iter().take_while(|(_, fate)| *fate == Fate::Certain).count();
        for (deed, _) in self.deeds.drain(..certain) {
            deed.apply(&mut self.synced, Keep::Whole);
        }
    }

    /// The bytes, where `keep` decides on each uncertain deed.
    fn after(&self, mut keep: impl FnMut() -> Keep) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for (deed, fate) in &self.deeds {
            deed.apply(&mut bytes, if *fate == Fate::Certain { Keep::Whole } else { keep() });
        }
        bytes
    }
}

impl Deed {
    fn covers(&self, other: &Deed) -> bool {
        let (Deed::Write { offset, data }, Deed::Write { offset: from, data: under }) = (self, other) else {
            return false;
        };
        offset <= from && from + under.len() as u64 <= offset + data.len() as u64
    }

    fn apply(&self, bytes: &mut Vec<u8>, keep: Keep) {
        match (self, keep) {
            (_, Keep::Nothing) => {}
            (Deed::Truncate(size), _) => bytes.resize(*size as usize, 0),
            (Deed::Write { offset, data }, Keep::Whole) => put(bytes, *offset, data),
            (Deed::Write { offset, data }, Keep::Torn(sectors)) => {
                let mut from = 0;
                while from < data.len() {
                    let place = offset + from as u64;
                    let rest = (SECTOR - place % SECTOR) as usize;
                    let to = data.len().min(from + rest);
                    if sectors >> (place / SECTOR % 64) & 1 == 1 {
                        put(bytes, place, &data[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (from, to) = (offset as usize, offset as usize + data.len());
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    bytes[from..to].copy_from_slice(data);
}

impl Image {
    /// Writes the files beside each other, in the place of whatever is there.
    pub fn write(&self, database: &Path) -> std::io::Result<()> {
        for (name, bytes) in &self.0 {
            let mut path = database.as_os_str().to_owned();
            path.push(name.suffix());
            match bytes {
                Some(bytes) => std::fs::write(path, bytes)?,
                None => match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                },
            }
        }
        Ok(())
    }

    /// Whether it is another one.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
