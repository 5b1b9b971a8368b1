//! The child: opens the store, lets all write, and ends where its plan says.

use crate::fuse::{Fuse, end_here};
use crate::log::Log;
use crate::plan::{Plan, Point};
use crate::world::{BEFORE_CLOSE, World};
use harness::{Outcome, Rng};
use mnemon::{Durability, Result, TraceStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The parent looks for it on the child's output.
pub const WRITING: &str = "the child is writing";

fn pause(micros: u64) {
    thread::sleep(Duration::from_micros(micros));
}

fn open(path: &Path, plan: Plan) -> Result<TraceStore> {
    let durability = if plan.relaxed { Durability::Committed } else { Durability::Durable };
    let builder = TraceStore::builder().durability(durability).flush_threshold(200);
    builder.flush_interval(Duration::from_micros(plan.interval_micros)).open(path)
}

/// What the child does; it does not return.
pub fn run(folder: PathBuf, plan: Plan) -> Outcome {
    // A writer that panics ends the child, and not by a signal.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(101);
    }));
    let path = folder.join("memory.db");
    let log = Arc::new(Log::open(&folder.join("expected"))?);
    let mut rng = Rng::with_seed(plan.seed);
    let store = match plan.point {
        Point::Open => {
            let burns = Duration::from_micros(rng.u64(..(plan.open_micros + plan.open_micros / 5).max(1)));
            Fuse::new(&log, burns).during(|| open(&path, plan))?
        }
        _ => open(&path, plan)?,
    };
    log.opened();
    let mut world = World::of(store, plan, log.clone())?;
    println!("\n{WRITING}");
    match plan.point {
        Point::Random | Point::Open => {}
        Point::Closure => world.closures = AtomicU64::new(rng.u64(..3_000)),
        Point::Insert | Point::Erase => {
            // Once to see how long it takes.
            world.run_all(|| {
                while world.took.load(Ordering::Relaxed) == 0 {
                    pause(100);
                }
                pause(rng.u64(..5_000));
            });
            world.arm.store(true, Ordering::Relaxed);
        }
        Point::Flush => {
            world.run_all(|| {
                let took = world.flushing().as_nanos() as u64;
                for _ in 0..rng.u64(..6) {
                    world.flushing();
                }
                let (cut, started) = (world.next_cut(), Instant::now());
                let burns = Duration::from_nanos(rng.u64(..took.max(1)));
                while started.elapsed() < burns && !world.is_committed(cut) {
                    std::hint::spin_loop();
                }
                end_here(&log, !world.is_committed(cut));
            });
        }
        Point::Flushed => world.run_all(|| {
            (0..=rng.u64(..6)).for_each(|_| drop(world.flush()));
            end_here(&log, true);
        }),
        Point::Restore => {
            world.run_all(|| pause(rng.u64(..5_000)));
            let started = Instant::now();
            world.restore()?;
            let took = started.elapsed().as_nanos() as u64;
            world.run_all(|| pause(rng.u64(..5_000)));
            Fuse::new(&log, Duration::from_nanos(rng.u64(..(took + took / 5).max(1))))
                .during(|| world.restore())?;
        }
        Point::Close => {
            let started = Instant::now();
            world.close(None)?;
            let took = started.elapsed().saturating_sub(BEFORE_CLOSE).as_nanos() as u64;
            let store = open(&path, plan)?;
            log.opened();
            world = World::of(store, plan, log.clone())?;
            world.close(Some(Duration::from_nanos(rng.u64(..(took + took / 5).max(1)))))?;
            // It ends here after all, when it is closed.
            loop {
                thread::park();
            }
        }
    }
    world.run_all(|| {
        loop {
            thread::park();
        }
    });
    Ok(())
}
