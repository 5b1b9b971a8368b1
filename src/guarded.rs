//! The host's code on our threads and in our drops: its panics stay its own.
//!
//! A `tracing` subscriber, a waker, a backend and the error of a backend are the host's. They run where a panic would
//! end a thread that everything depends on, or, while another panic unwinds, the process. So they are run here: what
//! they panic with has been printed by the panic hook, and goes no further.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tracing::span::Entered;
use tracing::{Span, Value};

/// Runs `work`; if it panics, returns the message of the panic.
///
/// What `work` may have left half done is its caller's to know. Under loom nothing is caught: a model that fails does
/// so by panicking, and must be seen to.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    if cfg!(loom) {
        return Ok(work());
    }
    catch_unwind(AssertUnwindSafe(work)).map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let panic = match panic.downcast::<String>() {
        Ok(text) => return *text,
        Err(panic) => panic,
    };
    match panic.downcast::<&str>() {
        Ok(text) => (*text).to_owned(),
        Err(panic) => {
            // Its drop is the host's code as well, and may panic.
            std::mem::forget(panic);
            "with no message".to_owned()
        }
    }
}

/// Runs code of the host's whose panic concerns nobody else.
pub(crate) fn run(work: impl FnOnce()) {
    // The hook has printed it, and there is nobody to tell.
    let _panic = caught(work);
}

/// A span whose subscriber may panic. It is entered, told and closed as one of `tracing`'s own.
pub(crate) struct Guarded(Option<Span>);

/// Being inside a [`Guarded`] span; leaves it when dropped.
pub(crate) struct Inside<'a>(Option<Entered<'a>>);

/// A span that is made by a macro of `tracing`; none if that panics.
pub(crate) fn span(make: impl FnOnce() -> Span) -> Guarded {
    Guarded(caught(make).ok())
}

impl Guarded {
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Whether nobody listens.
    pub(crate) fn is_disabled(&self) -> bool {
        self.0.as_ref().is_none_or(Span::is_disabled)
    }

    pub(crate) fn enter(&self) -> Inside<'_> {
        Inside(self.0.as_ref().and_then(|span| caught(|| span.enter()).ok()))
    }

    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = self.enter();
        work()
    }

    pub(crate) fn record(&self, field: &str, value: impl Value) -> &Self {
        if let Some(span) = &self.0 {
            run(|| {
                span.record(field, value);
            });
        }
        self
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        run(|| drop(self.0.take()));
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        run(|| drop(self.0.take()));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::caught;
    use std::panic::{panic_any, resume_unwind};

    #[test]
    fn a_panic_is_told_by_its_message() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught::<()>(|| panic_any("of text")), Err("of text".to_owned()));
        assert_eq!(caught::<()>(|| panic_any(format!("of {}", "format"))), Err("of format".to_owned()));
    }

    #[test]
    fn a_payload_whose_drop_panics_is_not_dropped() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                resume_unwind(Box::new("the payload's own"));
            }
        }
        assert_eq!(caught::<()>(|| panic_any(Bomb)), Err("with no message".to_owned()));
    }
}
