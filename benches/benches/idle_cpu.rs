//! What a quiet host costs: 100,000 traces, made over the month before, upkeep on (decay each 60 s, tiers, quota), and
//! 100 writes a second, for a minute; and what of that is the host's own, as the same thread writes nowhere. In the
//! system this crate grew out of a core sat at 97.5 %. Then a thousand stores that nobody uses: how often their threads wake.

use benches::figures::{Figure, Figures};
use benches::{Outcome, is_quick, month_old, must, size, trace};
use mnemon::{TraceStore, Upkeep};
use std::time::{Duration, Instant};

fn main() -> Outcome {
    let mut figures = Figures::of("idle_cpu")?;
    let folder = tempfile::tempdir()?;
    let upkeep = Upkeep::default();
    let store = TraceStore::builder().upkeep(upkeep).open(folder.path().join("quiet.db"))?;
    let (traces, now) = (size(100_000), jiff::Timestamp::now());
    let ids = benches::insert_all(&store, traces, |n| month_old(n, traces, now))?;
    // Brings everything up to date, for the cycles of each minute.
    store.decay()?;
    store.update_tiers()?;
    store.flush()?;
    let before = store.stats();
    let nowhere = writing(|_| {})?;
    let quiet =
        writing(|n| drop(must(store.update(ids[n % ids.len()], |trace| trace.confidence(n as f64 / 1e6)))))?;
    let after = store.stats();
    figures.say(
        Figure::new("quiet host, what the store adds", "CPU", quiet - nowhere, "% of a core").target(1.0),
    )?;
    figures.say(Figure::new("quiet host", "CPU", quiet, "% of a core"))?;
    figures.say(Figure::new("the same without a store", "CPU", nowhere, "% of a core"))?;
    figures.say(Figure::new("quiet host", "flushes", (after.cuts - before.cuts) as f64, "in a minute"))?;
    figures.say(Figure::new(
        "quiet host",
        "rows",
        (after.rows_updated - before.rows_updated) as f64,
        "in a minute",
    ))?;
    drop(store);
    let length = Duration::from_secs(if is_quick() { 1 } else { 10 });
    let builder = TraceStore::builder().flush_interval(Duration::from_millis(50));
    let idle = (0..size(1_000)).map(|_| builder.clone().in_memory()).collect::<mnemon::Result<Vec<_>>>()?;
    for store in &idle {
        store.insert(trace(0))?;
        store.flush()?;
    }
    // Their housekeeping is over then.
    std::thread::sleep(Duration::from_secs(10));
    let (before, busy) = (runs()?, cpu()?);
    std::thread::sleep(length);
    let (runs, busy) = (runs()? - before, cpu()? - busy);
    let stores = format!("{} idle stores", idle.len());
    figures.say(Figure::new(stores.clone(), "wake-ups", runs / length.as_secs_f64(), "a second"))?;
    figures.say(Figure::new(stores, "CPU", busy / length.as_secs_f64() * 100.0, "% of a core"))?;
    Ok(())
}

/// Percent of a core that the process used while one thread did a hundred of these a second.
fn writing(mut write: impl FnMut(usize)) -> Outcome<f64> {
    let length = Duration::from_secs(if is_quick() { 1 } else { 61 });
    let (started, before) = (Instant::now(), cpu()?);
    let mut n = 0;
    while started.elapsed() < length {
        write(n);
        n += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok((cpu()? - before) / started.elapsed().as_secs_f64() * 100.0)
}

/// Seconds of CPU that this process has used.
fn cpu() -> Outcome<f64> {
    Ok(scheduled(0)? / 1e9)
}

/// How often its threads have been given a processor.
fn runs() -> Outcome<f64> {
    scheduled(2)
}

/// This number of what the system says of each thread, summed up.
fn scheduled(at: usize) -> Outcome<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let schedstat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += schedstat.split_whitespace().nth(at).ok_or("schedstat has three numbers")?.parse::<f64>()?;
    }
    Ok(sum)
}
