//! The expected-state file: what a child was told, line by line, each by one write to the end of a file, which
//! outlives its writer.

use crate::script::Positions;
use crate::state::State;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The child's end.
pub struct Log(File);

/// What the parent reads from it.
#[derive(Debug, Default)]
pub struct Told {
    /// The store was open.
    pub opened: bool,
    /// The highest state that was acknowledged as durable.
    pub durable: State,
    /// How many acknowledgements there were.
    pub acknowledged: u64,
    /// The highest generation that was said to survive the end of the process.
    pub committed: u64,
    /// A close had begun, and had returned.
    pub closing: bool,
    pub closed: bool,
    /// The child ended in the very middle of what it was to end in.
    pub inside: bool,
}

impl Log {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    fn line(&self, line: &str) {
        let written = (&self.0).write_all(format!("{line}\n").as_bytes());
        written.expect("the expected-state file can be written");
    }

    pub fn opened(&self) {
        self.line("opened");
    }

    /// Everything up to here was acknowledged as durable.
    pub fn durable(&self, State { epoch, positions }: State) {
        let positions: Vec<_> = positions.iter().map(u64::to_string).collect();
        self.line(&format!("durable {epoch} {}", positions.join(" ")));
    }

    pub fn committed(&self, generation: u64) {
        self.line(&format!("committed {generation}"));
    }

    pub fn closing(&self) {
        self.line("closing");
    }

    /// A close has returned, and the store may be opened again.
    pub fn closed(&self) {
        self.line("closed");
    }

    /// The last line.
    pub fn inside(&self) {
        self.line("inside");
    }
}

impl Told {
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.to_string()),
        };
        let mut told = Self::default();
        // A line without its end was being written when the child ended: nobody was told anything yet.
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            told.take(line.trim_end()).ok_or_else(|| format!("{line:?} in the expected-state file"))?;
        }
        Ok(told)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "opened" => (self.opened, self.closing, self.closed) = (true, false, false),
            "closing" => self.closing = true,
            "closed" => self.closed = true,
            "inside" => self.inside = true,
            "committed" => self.committed = self.committed.max(rest.parse().ok()?),
            "durable" => {
                let mut numbers = rest.split(' ').map(str::parse);
                let mut state = State { epoch: numbers.next()?.ok()?, positions: Positions::default() };
                for position in &mut state.positions {
                    *position = numbers.next()?.ok()?;
                }
                self.durable = self.durable.joined(state);
                self.acknowledged += 1;
            }
            _ => return None,
        }
        Some(())
    }
}
