//! A child process that goes on where the test is, on its one thread, and says with its exit code what it found.

use crate::Outcome;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What a child has a right to take: far more than it needs, and it waits for nobody.
const PATIENCE: Duration = Duration::from_secs(30);

/// The code of a child that panicked.
pub const PANICKED: i32 = 99;

/// Instead of the number of a process that has ended.
const GONE: libc::pid_t = 0;

pub struct Child(libc::pid_t);

/// Runs `work` in a child process, which ends with its answer and without unwinding into the test.
pub fn fork(work: impl FnOnce() -> i32) -> Outcome<Child> {
    // SAFETY: the child runs `work`, which takes no lock that another thread of the parent may have held at the fork
    // but the allocator's, which the C library keeps whole, and ends without running what is registered for the end.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error().into()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
            // SAFETY: ends the process; it touches no memory.
            unsafe { libc::_exit(code) }
        }
        child => Ok(Child(child)),
    }
}

/// Closes every descriptor of this process from this one on, whoever uses it, as libraries do that make a daemon.
#[cfg(target_os = "linux")]
pub fn close_all_from(first: libc::c_uint) -> Outcome {
    // SAFETY: it touches no memory, and what the closed descriptors belong to is what the test is about.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// The children that this thread forks from here on are in a PID namespace of their own, the first as process 1.
#[cfg(target_os = "linux")]
pub fn fork_into_a_pid_namespace() -> Outcome {
    // SAFETY: it touches no memory.
    match unsafe { libc::unshare(libc::CLONE_NEWPID) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

impl Child {
    /// The number of its process.
    pub fn id(&self) -> libc::pid_t {
        self.0
    }

    /// Leaves it to itself.
    pub fn detach(mut self) {
        self.0 = GONE;
    }

    /// Its answer. A child that hangs is ended, and that is an error.
    pub fn wait(mut self) -> Outcome<i32> {
        let started = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: it is our child, which nobody else waits for, and `status` outlives the call.
            match unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) } {
                -1 => return Err(std::io::Error::last_os_error().into()),
                0 if started.elapsed() > PATIENCE => return Err("the child hangs".into()),
                0 => {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                _ => self.0 = GONE,
            }
            return if libc::WIFEXITED(status) {
                Ok(libc::WEXITSTATUS(status))
            } else {
                Err(format!("the child was ended by signal {}", libc::WTERMSIG(status)).into())
            };
        }
    }
}

/// One that was not waited for to its end is ended: a test that fails leaves none behind.
impl Drop for Child {
    fn drop(&mut self) {
        if self.0 != GONE {
            // SAFETY: it has not been waited for, so the number is still its own; no memory is touched.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), 0);
            }
        }
    }
}
