//! Deliberate mistakes, one per rule of the protocol, that the loom models must catch.
//!
//! Outside `--cfg loom` the answer is a constant `false`: nothing of this is in a real build.

/// A step of the protocol done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(loom), allow(dead_code))]
pub enum Mistake {
    /// The flusher drains the closed generation while writers are still inside.
    NoGrace,
    /// A capture takes the newest value instead of the image at the cut.
    CaptureNewest,
    /// The second write of a generation forgets the image before it.
    BeforeNotCarried,
    /// A transition enters the generation before it loads the version.
    GenerationFirst,
    /// An entry is listed before the compare-and-swap that makes it dirty.
    PushFirst,
    /// A removed entry is unlinked without becoming *retired* first.
    NoRetiredStep,
    /// The watermark is published before the backend has committed.
    EarlyWatermark,
    /// What a failed flush owed is forgotten.
    FailedBatchDropped,
    /// A cut is made although somebody holds it off.
    CutNotHeldOff,
    /// A transition takes an entry out of an index before its compare-and-swap.
    TermLeftFirst,
    /// A link is captured without a look at its traces.
    DeadEndIgnored,
    /// A trace that has ended is captured without its links.
    LinksLeftBehind,
    /// Who has linked two traces does not look again whether they are there.
    NoSecondLook,
    /// The flusher gives its bell its name after it has looked at the flag.
    NamedLate,
    /// Who has removed a trace looks for its links without a fence between.
    RemovalNotFenced,
    /// Who has linked two traces looks again without a fence between.
    LinkNotFenced,
    /// What follows from a write is refused in a sealed generation.
    FollowerRefused,
}

#[cfg(not(loom))]
pub(crate) const fn planted(_: Mistake) -> bool {
    false
}

#[cfg(loom)]
pub use armed::plant;
#[cfg(loom)]
pub(crate) use armed::planted;

#[cfg(loom)]
mod armed {
    use super::Mistake;
    use std::sync::OnceLock;

    static PLANTED: OnceLock<Mistake> = OnceLock::new();

    /// Plants one mistake for the rest of this process.
    pub fn plant(mistake: Mistake) {
        PLANTED.get_or_init(|| mistake);
    }

    pub(crate) fn planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(&mistake)
    }
}
