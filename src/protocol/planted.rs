//! Deliberate mistakes, one per rule of the protocol, that the loom models must catch.
//!
//! Outside `--cfg loom` the answer is a constant `false`: nothing of this is in a real build.

/// A step of the protocol done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(loom), allow(dead_code))]
pub enum Mistake {
    /// The flusher reads the closed generation's list while writers are still inside.
    NoGrace,
    /// A capture takes the newest value instead of the image at the cut.
    CaptureNewest,
    /// The second write of a generation forgets the image before it.
    PreviousNotCarried,
    /// A transition enters the generation before it loads the record.
    GenerationFirst,
    /// The cell of a removed key is taken out whatever it holds by now.
    NoIdentityCheck,
    /// A writer does not hold the record that it computes from.
    IdentityNotHeld,
    /// A record that was replaced twice in a generation is emptied at once.
    EmptiedAtOnce,
    /// A record that was replaced is given up at once.
    ReleasedAtOnce,
    /// A record is freed although somebody is in the lock of its shard.
    FreedInUse,
    /// The image of a replaced record is left to whoever holds the record.
    ImageLeftToTheHolder,
    /// Settling leaves a tombstone its image.
    ImageLeftToATombstone,
    /// Closing leaves records their images.
    ImageLeftAtTheClose,
    /// A copy of a stored content is taken for stored.
    StoredMarkCopied,
    /// What the sink holds is remembered before it has committed that.
    RememberedBeforeTheCommit,
    /// After a commit whose outcome is not known the sink's memory counts.
    DoubtIgnored,
    /// A push to a list does not release.
    PushRelaxed,
    /// A reader of a list does not acquire.
    WalkRelaxed,
    /// A load of a cell does not acquire.
    LoadRelaxed,
    /// A swap of a cell does not release.
    SwapRelaxed,
    /// The watermark is published before the backend has committed.
    EarlyWatermark,
    /// The batch of a failed flush is dropped.
    FailedBatchDropped,
    /// A cut is made although somebody blocks cuts.
    CutNotBlocked,
    /// A key is listed only after its record can be seen.
    ListedAfterTheSwap,
    /// The list of the next generation is published for questions only after that has been opened.
    PublishedAfterTheCut,
    /// A list is applied to the views while writers are still inside its generation.
    AppliedInTheGracePeriod,
    /// A list is hidden from questions before the views have its keys.
    RemovedBeforeItIsApplied,
    /// A question believes the views of a key that is listed.
    UnsettledNotSkipped,
    /// A cut for the views is made while the flusher captures.
    ViewCutInCapture,
    /// The keys of a cut for the views are not captured by the next commit.
    ViewCutNotOwed,
    /// A link is captured without a look at its traces.
    DeadEndIgnored,
    /// A trace that has ended is captured without its links.
    LinksLeftBehind,
    /// Who has linked two traces does not look again whether they are there.
    NoSecondLook,
    /// The flusher names its thread to `Notify` only after it has looked at the flag.
    NamedLate,
    /// Who has removed a trace looks for its links without a fence between.
    RemovalNotFenced,
    /// Who has linked two traces looks again without a fence between.
    LinkNotFenced,
    /// What follows from a write is refused in a sealed generation.
    FollowerRefused,
    /// A key is counted as dirty only after its record can be seen.
    CountedLate,
    /// A transition looks whether the generation is sealed before it enters.
    SealCheckedEarly,
    /// A key is taken out of the adjacency without asking whether it has a cell by now.
    DetachedUnasked,
    /// A reader of a group's decision does not acquire.
    DecisionLoadRelaxed,
    /// Who decides a group does not release.
    DecisionSwapRelaxed,
    /// A group is committed before all its keys are installed.
    DecidedEarly,
    /// The owner of a group leaves the generation before it has decided.
    LeftUndecided,
    /// A writer takes a group out of a cell before it has given it up.
    RestoredBeforeGivenUp,
    /// A group does not hold the records that it expects.
    ExpectedNotHeld,
    /// A group is freed as soon as it has left its cells.
    GroupFreedAtOnce,
    /// Settling leaves a key alone that a group is on.
    GroupNotSettled,
    /// A group tells the index of a new key only before the key has a cell.
    GroupAttachedEarly,
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
