//! Work without the interpreter's lock (GVL): the only unsafe code of the gem.
//!
//! Nothing in here touches Ruby while the lock is released, and no panic crosses into C.

use crate::error::{Panicked, panicked, ruby};
use magnus::{Error, Ruby};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Runs a computation without the lock. It takes no longer than its work: it waits for no other thread and no disk. An
/// interrupt that comes before it begins ends it.
pub(crate) fn compute<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    let mut call = Call { work: Some(work), result: None };
    loop {
        release(&mut call, None);
        if let Some(result) = call.result.take() {
            return result.map_err(panicked);
        }
        ruby().thread_check_ints()?;
    }
}

/// Runs work that may wait, for a disk or another thread, on a thread of its own, and waits for its result without the
/// lock. `Thread#kill`, `Thread#raise`, `Timeout` and signals end the wait; the work itself goes on to its end.
pub(crate) fn wait<T: Send + 'static>(
    ruby: &Ruby,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let pending = Arc::new(Pending {
        state: Mutex::new(State { result: None, is_interrupted: false }),
        changed: Condvar::new(),
    });
    let shared = pending.clone();
    let body = move || {
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(Panicked::from);
        shared.state.lock().unwrap_or_else(PoisonError::into_inner).result = Some(result);
        shared.changed.notify_all();
    };
    if let Err(cause) = thread::Builder::new().name("mnemon-ruby".to_owned()).spawn(body) {
        return Err(crate::error::io(
            ruby,
            &format!("cannot start a thread: {cause}; raise the limit on threads"),
        ));
    }
    loop {
        let mut call = Call { work: Some(|| pending.await_change()), result: None };
        let interrupt = || pending.interrupt();
        release(&mut call, Some(&interrupt));
        if let Some(result) = pending.state.lock().unwrap_or_else(PoisonError::into_inner).result.take() {
            return result.map_err(panicked);
        }
        ruby.thread_check_ints()?;
    }
}

/// Time after which a wait looks for signals itself: Ruby 3.1 does not interrupt it for one that the process sends to
/// itself.
const LOOK: Duration = Duration::from_millis(50);

struct Pending<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    result: Option<Result<T, Panicked>>,
    is_interrupted: bool,
}

impl<T> Pending<T> {
    /// Waits for the result or an interrupt, at most [`LOOK`].
    fn await_change(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State<T>| state.result.is_none() && !state.is_interrupted;
        let woken = self.changed.wait_timeout_while(state, LOOK, waits);
        woken.unwrap_or_else(PoisonError::into_inner).0.is_interrupted = false;
    }

    fn interrupt(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_interrupted = true;
        self.changed.notify_all();
    }
}

/// Whether everything runs with the lock held, to measure what that costs.
#[cfg(feature = "keep-lock")]
pub(crate) static KEEP_LOCK: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

struct Call<F, T> {
    work: Option<F>,
    result: Option<Result<T, Panicked>>,
}

impl<T, F: FnOnce() -> T> Call<F, T> {
    fn run(&mut self) {
        self.result =
            self.work.take().map(|work| catch_unwind(AssertUnwindSafe(work)).map_err(Panicked::from));
    }
}

unsafe extern "C" fn run<T, F: FnOnce() -> T>(call: *mut c_void) -> *mut c_void {
    // SAFETY: `release` passes a pointer to its `Call` of these types, which outlives this call and has no other user.
    let call = unsafe { &mut *call.cast::<Call<F, T>>() };
    call.run();
    ptr::null_mut()
}

unsafe extern "C" fn unblock(interrupt: *mut c_void) {
    // SAFETY: `release` passes a pointer to this reference, which outlives the call that can be unblocked.
    let interrupt = unsafe { &*interrupt.cast::<&(dyn Fn() + Sync)>() };
    interrupt();
}

/// Runs a call without the lock, or not at all if the thread has been interrupted: the caller looks at that, as Ruby
/// must not raise in here, across the frames of Rust. Ruby calls `interrupt`, on any thread, if it wants the call to
/// end early.
fn release<T, F: FnOnce() -> T>(call: &mut Call<F, T>, interrupt: Option<&(dyn Fn() + Sync)>) {
    let work = ptr::from_mut(call).cast::<c_void>();
    let (function, data): (rb_sys::rb_unblock_function_t, _) = match &interrupt {
        Some(interrupt) => (Some(unblock), ptr::from_ref(interrupt).cast_mut().cast::<c_void>()),
        None => (None, ptr::null_mut()),
    };
    #[cfg(feature = "keep-lock")]
    if KEEP_LOCK.load(std::sync::atomic::Ordering::Relaxed) {
        call.run();
        return;
    }
    // SAFETY: The caller holds the lock, as every method that Ruby calls does. Both pointers are valid until the call
    // returns, which is when Ruby stops using them. `run` catches panics, and touches nothing of Ruby.
    unsafe {
        rb_sys::rb_thread_call_without_gvl2(Some(run::<T, F>), work, function, data);
    }
}
