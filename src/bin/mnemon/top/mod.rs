//! `mnemon top`: how a running host's store is doing, from the status file that the host writes, or from the row of its
//! space.

mod keys;
mod render;
mod space;
mod status;

use crate::interrupt;
use crate::location::Location;
use crate::text;
use anyhow::Result;
use clap::{Args, ValueHint};
use keys::Keys;
use serde_json::Value;
use space::SpaceRow;
use status::Status;
use std::fs::File;
use std::io::{IsTerminal, Read, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// Watch how a running host's store is doing.
///
/// Of a space, its row is read: owner, lease, last cut, numbers of traces and links. For a file, the host must write a
/// status file: `mnemon host --status` does, and one of your own by mnemon's `StatusFile`. It is
/// read once a second until the store is closed, or until you press q. Where standard output is no terminal, each
/// reading is a line.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 done, or the store was closed; 1 failure, or the status file is missing or \
    more than 10 seconds old; 130 after Ctrl-C."
)]
pub struct Top {
    /// The status file; or the store, if the file beside it has `.status` after the store's name, or if it is a space.
    #[arg(value_name = "STATUSFILE|DB", value_hint = ValueHint::AnyPath)]
    store: Location,
    /// One reading, and no more.
    #[arg(long)]
    once: bool,
    /// One JSON object a line: the fields of the status file.
    #[arg(long)]
    json: bool,
}

/// How readings are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    /// One below the other.
    Json,
    Lines,
    /// One, whole.
    Picture,
    /// One in the place of the other, cut to the window.
    Window,
}

/// What is known of a store at one time.
trait Reading {
    fn json(&self) -> Value;
    /// For where lines can't be replaced.
    fn line(&self) -> String;
    /// Its lines, the most telling first; none is longer than `width`.
    fn picture(&self, width: usize) -> Vec<String>;
    /// Whether the host has written nothing since the other reading.
    fn is_same(&self, last: &Self) -> bool;
    /// Whether the store is closed.
    fn is_last(&self) -> bool;
}

/// What was shown last: the number of its lines, and the width and height of the window then.
type Drawn = (usize, Option<(u16, u16)>);

impl Top {
    pub fn run(self) -> Result<ExitCode> {
        match &self.store {
            Location::Space(space) => self.watch(|| SpaceRow::read(&self.store, space)),
            Location::File(path) => {
                let path = status_file(path);
                self.watch(|| Status::read(&path))
            }
        }
    }

    fn watch<R: Reading>(&self, read: impl Fn() -> Result<R>) -> Result<ExitCode> {
        let show = match (self.json, self.once, stdout().is_terminal()) {
            (true, ..) => Show::Json,
            (false, true, _) => Show::Picture,
            (false, false, true) => Show::Window,
            (false, false, false) => Show::Lines,
        };
        let mut last = read()?;
        let keys = if show == Show::Window { Some(Keys::listen()?) } else { None };
        let mut drawn = show.first(&last)?;
        while let Some(before) = drawn
            && !self.once
            && !last.is_last()
        {
            const PAUSE: Duration = Duration::from_secs(1);
            match &keys {
                Some(keys) if keys.end_within(PAUSE)? => break,
                Some(_) => {}
                None => sleep(PAUSE),
            }
            let next = read()?;
            drawn = show.next(&last, &next, before)?;
            last = next;
        }
        Ok(interrupt::or(ExitCode::SUCCESS))
    }
}

impl Show {
    /// `None` if nobody reads it.
    fn first(self, reading: &impl Reading) -> Result<Option<Drawn>> {
        let window = (self == Show::Window).then(text::window).flatten();
        let (lines, is_read) = match self {
            Show::Json => (1, text::print_json_lines_unless_closed([reading.json()])?),
            Show::Lines => (1, text::print_unless_closed(&reading.line())?),
            Show::Picture | Show::Window => {
                // The cursor has a line of its own, below.
                let room =
                    window.map_or(usize::MAX, |(_, height)| usize::from(height).saturating_sub(1).max(1));
                let lines: Vec<_> = reading.picture(text::line_width()).into_iter().take(room).collect();
                (lines.len(), text::print_unless_closed(&lines.join("\n"))?)
            }
        };
        Ok(is_read.then_some((lines, window)))
    }

    fn next<R: Reading>(self, last: &R, next: &R, drawn: Drawn) -> Result<Option<Drawn>> {
        match self {
            Show::Json | Show::Lines if next.is_same(last) => Ok(Some(drawn)),
            Show::Json | Show::Lines => self.first(next),
            Show::Picture | Show::Window => {
                // No colour, so NO_COLOR is not asked.
                match drawn {
                    // Up to where the last one begins, and nothing from there on.
                    (lines, window) if window == text::window() => write!(stdout(), "\x1b[{lines}A\x1b[J")?,
                    // Its lines are broken elsewhere now.
                    _ => write!(stdout(), "\x1b[2J\x1b[H")?,
                }
                self.first(next)
            }
        }
    }
}

/// The status file that is meant: of a store, the one beside it.
fn status_file(path: &Path) -> PathBuf {
    let mut begins = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begins));
    if read.is_ok() && begins == *b"SQLite format 3\0" { beside(path) } else { path.to_owned() }
}

/// The status file of a store, unless another one is named.
pub fn beside(db: &Path) -> PathBuf {
    let mut path = db.to_owned().into_os_string();
    path.push(".status");
    path.into()
}
