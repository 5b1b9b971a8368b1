//! What all events of a store have in common: its name, and how errors and times are written.

use crate::error::Error;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tracing::field::{DisplayValue, display};

/// What a store is called in spans and events.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    path: Option<Box<str>>,
    partition: Arc<str>,
}

impl Name {
    /// `path` is its file, if it has one.
    pub(crate) fn new(path: Option<Box<str>>, partition: Arc<str>) -> Self {
        Self { path, partition }
    }

    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    pub(crate) fn partition(&self) -> &str {
        &self.partition
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What caused an error, and what that, in one line; nothing if that is not known.
pub(crate) fn cause(error: &Error) -> Option<DisplayValue<impl fmt::Display>> {
    struct Causes<'a>(&'a dyn StdError);
    impl fmt::Display for Causes<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self.0, f)?;
            self.0.source().map_or(Ok(()), |next| write!(f, ": {}", Causes(next)))
        }
    }
    error.source().map(|cause| display(Causes(cause)))
}
