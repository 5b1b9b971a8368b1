//! Each planted mistake makes a model fail, for the reason it should.

use super::support::{CAUGHT, PLANTED};
use std::env;
use std::process::Command;

/// Runs one model of this very program with the mistake planted, in a process of its own, and sees it fail with
/// this assertion before anything else. Without the mistake the model passes: it is a test as well.
fn caught(mistake: &str, model: &str, by: &str) {
    let program = env::current_exe().expect("the path of this test program");
    let mut command = Command::new(program);
    command.args(["--exact", model, "--nocapture", "--test-threads=1"]).env(PLANTED, mistake);
    // Enough for each of them, and fast.
    command.env("LOOM_MAX_PREEMPTIONS", "3");
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
    caught("BeforeNotCarried", "protocol::a_capture_is_the_image_at_the_cut", "not the image at a cut");
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
fn pushed_before_the_compare_and_swap() {
    caught("PushFirst", "protocol::concurrent_updates_all_count", "an id is captured once per cut");
}

#[test]
fn unlinked_without_the_retired_step() {
    caught("NoRetiredStep", "protocol::insertion_racing_unlinking_is_kept", "agree");
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
fn taken_out_of_an_index_before_the_compare_and_swap() {
    caught("TermLeftFirst", "index::a_value_is_found_by_a_term_that_it_has", "is found by it");
}

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
fn cut_made_while_it_is_held_off() {
    caught("CutNotHeldOff", "links::an_erasure_is_one_cut", "all or none");
}

#[test]
fn flusher_named_to_its_bell_after_the_flag() {
    caught("NamedLate", "bell::a_ring_is_never_lost", "deadlock");
}
