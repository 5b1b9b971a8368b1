//! The keys that are pressed while a picture is shown: `q` ends it.

use crate::interrupt;
use anyhow::Result;
use std::time::Duration;

#[cfg(unix)]
pub use terminal::Keys;

/// A terminal that gives each key at once, and shows none of them; as it was before when this is dropped.
#[cfg(unix)]
mod terminal {
    use super::{Duration, Result, interrupt};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::{Errno, read};
    use rustix::stdio::stdin;
    use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
    use std::time::Instant;

    pub struct Keys {
        /// `None` where no keys come from.
        before: Option<Termios>,
    }

    impl Keys {
        /// The terminal is given back after Ctrl-C too, which is noted from here on.
        pub fn listen() -> Result<Self> {
            interrupt::catch()?;
            if !isatty(stdin()) {
                return Ok(Self { before: None });
            }
            let before = tcgetattr(stdin())?;
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(stdin(), OptionalActions::Now, &modes)?;
            Ok(Self { before: Some(before) })
        }

        /// Waits so long, but not after `q` or Ctrl-C, of which it answers whether one has come.
        pub fn end_within(&self, time: Duration) -> Result<bool> {
            let until = Instant::now() + time;
            loop {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || interrupt::has_come() {
                    return Ok(interrupt::has_come());
                }
                let terminal = &mut [PollFd::from_borrowed_fd(stdin(), PollFlags::IN)];
                let watched = if self.before.is_some() { &mut terminal[..] } else { &mut [] };
                match poll(watched, Some(&Timespec::try_from(left)?)) {
                    // A signal came, or the time is over.
                    Err(Errno::INTR) | Ok(0) => {}
                    Ok(_) => {
                        let mut keys = [0; 64];
                        let count = read(stdin(), &mut keys)?;
                        // Nothing to read, where something was said to be: the terminal is gone.
                        if count == 0 || keys[..count].contains(&b'q') {
                            return Ok(true);
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            if let Some(before) = &self.before {
                // A terminal that is gone has no modes to give back.
                tcsetattr(stdin(), OptionalActions::Now, before).ok();
            }
        }
    }
}

/// Elsewhere Ctrl-C ends it.
#[cfg(not(unix))]
pub struct Keys;

#[cfg(not(unix))]
impl Keys {
    pub fn listen() -> Result<Self> {
        interrupt::catch()?;
        Ok(Self)
    }

    pub fn end_within(&self, time: Duration) -> Result<bool> {
        std::thread::sleep(time);
        Ok(interrupt::has_come())
    }
}
