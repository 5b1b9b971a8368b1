//! What each call costs, at the middle and at the end of the scale, beside `update`: 100,000 traces with payloads of
//! 300 bytes, in 80 partitions, with one tag of a hundred each, and three links for each tenth.

use benches::figures::{Figure, Figures};
use benches::random::{Random, shuffle};
use benches::{Outcome, must, quiet, settle, size, trace};
use hdrhistogram::Histogram;
use mnemon::{NewTrace, Order, TraceId, TraceStore};
use std::hint::black_box;
use std::time::Instant;

/// How often each call is made.
const CALLS: usize = 20_000;

fn main() -> Outcome {
    let mut figures = Figures::of("calls")?;
    let folder = tempfile::tempdir()?;
    let store = quiet().open(folder.path().join("calls.db"))?;
    let traces = size(100_000);
    let mut ids = benches::insert_all(&store, traces, |n| {
        trace(n).partition(format!("partition {}", n % 80)).tag(format!("tag {}", n % 100))
    })?;
    for some in ids.chunks(4).step_by(10) {
        store.co_activate_all(some.iter().copied())?;
    }
    store.flush()?;
    settle(&store);
    shuffle(&mut ids, &mut Random(7));
    let part = store.in_partition("partition 7");
    let own: Vec<TraceId> = part.query().iter().map(|trace| trace.id()).collect();
    // What is stored is made before the calls are timed.
    let mut new = (0..4 * CALLS).map(|n| trace(n).tag("new")).collect::<Vec<_>>().into_iter();
    let pick = |n: usize| ids[n % ids.len()];
    let mine = |n: usize| own[n % own.len()];

    let mut update = 0.0;
    let mut say = |name: &str, calls: usize, call: &mut dyn FnMut(usize)| -> Outcome {
        let (p50, p999) = measured(&store, size(calls), call);
        update = if name == "update" { p50 } else { update };
        figures.say(Figure::new(name, "p50", p50, "us").beside("update", p50 / update))?;
        figures.say(Figure::new(name, "p99.9", p999, "us"))
    };
    say("update", CALLS, &mut |n| drop(must(store.update(pick(n), |trace| trace.confidence(unit(n))))))?;
    say("get", CALLS, &mut |n| drop(black_box(store.get(pick(n)))))?;
    say("get of a partition", CALLS, &mut |n| drop(black_box(part.get(mine(n)))))?;
    say("get_many of 10", CALLS, &mut |n| {
        drop(black_box(store.get_many((0..10).map(|m| pick(n * 10 + m)))))
    })?;
    say("update of a partition", CALLS, &mut |n| {
        drop(must(part.update(mine(n), |trace| trace.confidence(unit(n)))));
    })?;
    say("try_update", CALLS, &mut |n| {
        drop(must(store.try_update(pick(n), |trace| Ok::<_, mnemon::Error>(trace.confidence(unit(n + 1))))));
    })?;
    say("update of a tag", CALLS, &mut |n| drop(must(store.update(pick(n), |trace| trace.tag("seen")))))?;
    say("reinforce", CALLS, &mut |n| drop(must(store.reinforce(pick(n)))))?;
    say("insert", CALLS, &mut |_| _ = must(store.insert(next(&mut new))))?;
    say("upsert of one that is there", CALLS, &mut |n| {
        drop(must(store.upsert(next(&mut new).id(pick(n)), |trace| trace.confidence(unit(n)))));
    })?;
    say("remove", CALLS.min(ids.len() / 4), &mut |n| drop(must(store.remove(pick(n)))))?;
    let pick = |n: usize| ids[ids.len() / 2 + n % (ids.len() / 2)];
    say("co_activate", CALLS, &mut |n| {
        _ = must(store.co_activate(pick(2 * n), pick(2 * n + 1)));
    })?;
    say("unlink", CALLS, &mut |n| _ = must(store.unlink(pick(2 * n), pick(2 * n + 1))))?;
    for steps in [1, 2, 10, 100] {
        say(&format!("update_many of {steps}"), CALLS / steps, &mut |n| {
            let ids = (0..steps).map(|m| pick(n * steps + m));
            must(store.update_many(ids, |trace| trace.confidence(unit(n))));
        })?;
    }
    say("insert_many of 100", CALLS / 100, &mut |_| drop(must(store.insert_many(new.by_ref().take(100)))))?;
    settle_after(&store);
    let few = CALLS / 10;
    say("latest 5", few, &mut |_| drop(black_box(store.query().order(Order::Recency).limit(5).run())))?;
    say("latest 5 of a partition", few, &mut |_| {
        drop(black_box(part.query().order(Order::Recency).limit(5).run()));
    })?;
    say("strongest 5 of any of two tags, without a third", few, &mut |_| {
        let query = store.query().tagged_any(["tag 1", "tag 2"]).untagged("seen").limit(5);
        drop(black_box(query.run()));
    })?;
    say("latest 5 that pass a filter, one in ten", few, &mut |_| {
        let tenth = |trace: &mnemon::Trace| trace.id().as_bytes()[15] < 26;
        drop(black_box(store.query().order(Order::Recency).filter(tenth).limit(5).run()));
    })?;
    let first = store.query().order(Order::Created).limit(1_000).page().next;
    say("a page of 20 after 1,000, by creation", few, &mut |_| {
        let query = store.query().order(Order::Created).limit(20);
        drop(black_box(first.into_iter().fold(query, mnemon::Query::after).page()));
    })?;
    say("count of a partition", few, &mut |_| _ = black_box(part.query().count()))?;
    say("count of a tag in a partition", few, &mut |_| _ = black_box(part.query().tagged("tag 7").count()))?;
    say("partitions with their counts", few, &mut |_| drop(black_box(store.partitions())))?;
    say("tags with their counts", few, &mut |_| drop(black_box(store.tags())))?;
    say("associated", few, &mut |n| drop(black_box(store.associated(pick(n), 0.0, 20))))?;
    Ok(())
}

fn next(new: &mut impl Iterator<Item = NewTrace>) -> NewTrace {
    new.next().unwrap_or_else(|| trace(0))
}

/// 0 to 1, another one each time.
fn unit(n: usize) -> f64 {
    (n % 10_007) as f64 / 10_007.0
}

fn settle_after(store: &TraceStore) {
    must(store.flush());
    settle(store);
}

/// p50 and p99.9 in microseconds. A flush between takes what was written before.
fn measured(store: &TraceStore, calls: usize, call: &mut dyn FnMut(usize)) -> (f64, f64) {
    settle_after(store);
    let mut times = must(Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3));
    for n in 0..calls {
        let started = Instant::now();
        call(n);
        times.saturating_record(started.elapsed().as_nanos() as u64);
    }
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    (at(0.5), at(0.999))
}
