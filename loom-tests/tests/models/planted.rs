//! Each planted mistake makes a model fail, for the reason it should.

use super::support::{CAUGHT, PLANTED};
use std::env;
use std::process::Command;

/// Runs one model of this very program with the mistake planted, in a process of its own, and sees it fail with
/// this assertion before anything else. Without the mistake the model passes: it is a test as well. Three preemptions
/// are enough for most of them, and fast.
fn caught(mistake: &str, model: &str, by: &str) {
    caught_within(3, mistake, model, by);
}

/// As [`caught`], with so many preemptions.
fn caught_within(bound: usize, mistake: &str, model: &str, by: &str) {
    let program = env::current_exe().expect("the path of this test program");
    let mut command = Command::new(program);
    command.args(["--exact", model, "--nocapture", "--test-threads=1"]).env(PLANTED, mistake);
    command.env("LOOM_MAX_PREEMPTIONS", bound.to_string());
    let output = command.output().expect("this test program runs again");
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("running 1 test"), "no model is called {model}:\n{printed}");
    assert!(!output.status.success(), "{mistake} was not caught by {model}:\n{printed}");
    let expected = output.status.code() == Some(CAUGHT) && printed.contains(by);
    assert!(expected, "{mistake} made {model} fail, but not with {by:?}:\n{printed}");
    println!("planted {mistake}: caught by {model}");
}

#[test]
fn no_grace_period() {
    caught("NoGrace", "protocol::a_cut_keeps_one_threads_order", "agree");
}

#[test]
fn newest_value_captured() {
    caught("CaptureNewest", "protocol::a_capture_is_the_image_at_the_cut", "not the image at a cut");
}

#[test]
fn image_before_not_carried() {
    caught("PreviousNotCarried", "protocol::a_capture_is_the_image_at_the_cut", "not the image at a cut");
}

#[test]
fn generation_loaded_before_the_version() {
    caught(
        "GenerationFirst",
        "protocol::a_cut_keeps_causality_through_one_entry",
        "the effect without its cause",
    );
}

#[test]
fn cell_taken_out_without_an_identity_check() {
    caught("NoIdentityCheck", "protocol::insertion_racing_settling_is_kept", "live count is right");
}

const FREED: &str = "a record is used after it was freed";
const LEAKED: &str = "leaked";
const RACE: &str = "Causality violation";

#[test]
fn identity_not_held() {
    caught("IdentityNotHeld", "records::records_of_concurrent_updates", FREED);
}

#[test]
fn emptied_at_once() {
    let model = "records::records_while_a_cut_is_captured";
    caught_within(5, "EmptiedAtOnce", model, "not the image at a cut");
}

#[test]
fn released_at_once() {
    caught("ReleasedAtOnce", "records::records_of_concurrent_updates", FREED);
}

#[test]
fn freed_in_use() {
    caught("FreedInUse", "garbage::updates_beside_a_reader", FREED);
}

#[test]
fn image_left_to_the_holder() {
    caught("ImageLeftToTheHolder", "records::holder_keeps_nothing_else", LEAKED);
}

#[test]
fn image_left_to_a_tombstone() {
    caught("ImageLeftToATombstone", "records::records_of_two_flushes", LEAKED);
}

#[test]
fn image_left_at_the_close() {
    caught("ImageLeftAtTheClose", "records::unsettled_store_leaves_nothing", LEAKED);
}

#[test]
fn push_relaxed() {
    caught("PushRelaxed", "records::list_is_read_while_it_grows", RACE);
}

#[test]
fn walk_relaxed() {
    caught("WalkRelaxed", "records::list_is_read_while_it_grows", RACE);
}

#[test]
fn load_relaxed() {
    caught("LoadRelaxed", "records::orderings_of_cells_keep_causality", RACE);
}

#[test]
fn swap_relaxed() {
    caught("SwapRelaxed", "records::orderings_of_cells_keep_causality", RACE);
}

#[test]
fn stored_mark_copied() {
    caught("StoredMarkCopied", "flusher::contents_arrive_after_a_failed_commit", "agree");
}

#[test]
fn remembered_before_the_commit() {
    caught("RememberedBeforeTheCommit", "flusher::contents_arrive_after_a_failed_commit", "agree");
}

#[test]
fn doubt_ignored() {
    caught("DoubtIgnored", "flusher::what_was_removed_goes_in_spite_of_doubt", "agree");
}

#[test]
fn watermark_published_before_the_commit() {
    caught(
        "EarlyWatermark",
        "flusher::flush_returns_after_its_callers_writes_are_committed",
        "the caller's write is committed when flush returns",
    );
}

#[test]
fn failed_batch_dropped() {
    caught("FailedBatchDropped", "flusher::a_failed_batch_is_owed", "agree");
}

#[test]
fn key_listed_after_the_swap() {
    caught("ListedAfterTheSwap", "views::what_a_get_has_seen_is_found", FOUND);
}

#[test]
fn list_published_after_the_cut() {
    caught("PublishedAfterTheCut", "views::a_write_that_returned_is_found", FOUND);
}

#[test]
fn list_applied_in_the_grace_period() {
    caught("AppliedInTheGracePeriod", "views::an_indexer_beside_the_flusher", FOUND);
}

#[test]
fn list_removed_before_it_is_applied() {
    caught("RemovedBeforeItIsApplied", "views::a_write_that_returned_is_found", FOUND);
}

#[test]
fn unsettled_key_not_skipped() {
    caught("UnsettledNotSkipped", "views::a_removal_that_returned_is_found", FOUND);
}

#[test]
fn cut_for_views_while_the_flusher_captures() {
    caught("ViewCutInCapture", "views::cuts_for_views_beside_a_flush", "as many keys are listed");
}

#[test]
fn cut_for_views_not_owed() {
    caught("ViewCutNotOwed", "views::cuts_for_views_beside_a_flush", "as many keys are listed");
}

const FOUND: &str = "found";

#[test]
fn link_captured_without_a_look_at_its_traces() {
    caught("DeadEndIgnored", "links::no_row_of_a_link_is_without_its_traces", "joins traces that have rows");
}

#[test]
fn ended_trace_captured_without_its_links() {
    caught("LinksLeftBehind", "links::no_row_of_a_link_is_without_its_traces", "joins traces that have rows");
}

#[test]
fn linked_without_a_second_look() {
    caught("NoSecondLook", "links::no_row_of_a_link_is_without_its_traces", "goes with its trace");
}

#[test]
fn removal_and_its_look_for_links_not_fenced() {
    caught("RemovalNotFenced", "links::a_removal_or_a_link_sees_the_other", "goes with its trace");
}

#[test]
fn link_and_its_second_look_not_fenced() {
    caught("LinkNotFenced", "links::a_removal_or_a_link_sees_the_other", "goes with its trace");
}

#[test]
fn links_refused_to_follow_their_trace() {
    caught("FollowerRefused", "links::a_close_that_fails_leaves_no_link", "goes with its trace");
}

#[test]
fn cut_made_while_cuts_are_blocked() {
    caught("CutNotBlocked", "links::an_erasure_is_one_cut", "all or none");
}

#[test]
fn flusher_named_to_its_bell_after_the_flag() {
    caught("NamedLate", "notify::a_ring_is_never_lost", "deadlock");
}

#[test]
fn key_counted_after_its_record_can_be_seen() {
    caught(
        "CountedLate",
        "flusher::flush_covers_a_write_that_joined_anothers",
        "the caller's write is committed when flush returns",
    );
}

#[test]
fn seal_checked_before_entering() {
    caught(
        "SealCheckedEarly",
        "flusher::close_keeps_what_it_accepted",
        "an accepted write is in the last batch",
    );
}

#[test]
fn detached_without_asking() {
    caught("DetachedUnasked", "index::a_joint_made_anew_is_found_from_both_ends", "who has made it finds it");
}

const HALF: &str = "half a group";

#[test]
fn decision_load_relaxed() {
    caught("DecisionLoadRelaxed", "groups::who_has_seen_a_part_of_a_group_sees_the_rest", HALF);
}

#[test]
fn decision_swap_relaxed() {
    caught("DecisionSwapRelaxed", "groups::who_has_seen_a_part_of_a_group_sees_the_rest", HALF);
}

#[test]
fn group_decided_early() {
    caught("DecidedEarly", "groups::a_cut_has_all_or_none_of_a_group_beside_a_writer", HALF);
}

#[test]
fn generation_left_with_an_undecided_group() {
    caught("LeftUndecided", "groups::a_cut_has_all_or_none_of_a_group", "agree");
}

#[test]
fn group_restored_before_it_is_given_up() {
    caught("RestoredBeforeGivenUp", "groups::a_cut_has_all_or_none_of_a_group_beside_a_writer", HALF);
}

#[test]
fn expected_records_not_held() {
    caught("ExpectedNotHeld", "groups::a_cut_has_all_or_none_of_a_group_beside_a_writer", FREED);
}

#[test]
fn group_freed_at_once() {
    caught("GroupFreedAtOnce", "groups::who_has_seen_a_part_of_a_group_sees_the_rest", FREED);
}

#[test]
fn settling_passes_over_a_group() {
    caught("GroupNotSettled", "groups::a_group_given_up_leaves_no_cell", "a cell is left");
}

#[test]
fn group_attached_before_it_is_in_the_cell() {
    caught("GroupAttachedEarly", "links::a_group_links_what_was_just_unlinked", "a link goes with its trace");
}
