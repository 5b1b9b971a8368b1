//! Eight agents on eight threads of tokio, each with a partition of its own, until Ctrl-C or `kill -9`. You see what
//! each finds of the run before, and each exchange once it is on disk: started again, it finds at least as many, and
//! none of them in part.
//! `cargo run -p memory-service --bin agents -- agents.db`

use mnemon::{NewTrace, Order, Partition, Payload, TraceId, TraceStore};
use serde::{Deserialize, Serialize};
use std::{error::Error, time::Duration, time::SystemTime};
use tokio::task::JoinSet;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const AGENTS: usize = 8;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an agent knows of itself: one trace, with the five contents before.
#[derive(Serialize, Deserialize, Default)]
struct Profile {
    exchanges: usize,
    mood: String,
}

#[tokio::main(worker_threads = 8)]
async fn main() -> Outcome {
    let file = std::env::args().nth(1).ok_or("give a file")?;
    // The interval is how long an answer waits for its sync, which all share that have come meanwhile.
    let store = TraceStore::builder().flush_interval(Duration::from_millis(20)).keep_history(5).open(file)?;
    let partitions = (1..=AGENTS).map(|n| store.in_partition(format!("agent-{n}"))).collect::<Vec<_>>();
    partitions.iter().try_for_each(|own| tell(&store, own))?;
    let mut agents = JoinSet::new();
    let living = async {
        partitions.into_iter().for_each(|own| drop(agents.spawn(live(store.clone(), own))));
        agents.join_next().await
    };
    tokio::select! {
        biased; // Ctrl-C is listened for before anybody lives.
        told = tokio::signal::ctrl_c() => told?,
        Some(ended) = living => ended??,
    }
    agents.shutdown().await;
    println!("closed at cut {}", store.close_async().await?.durable);
    Ok(())
}

/// What the run before has left.
fn tell(store: &TraceStore, own: &Partition) -> Outcome {
    let (questions, answers) = (own.query().tagged("question").count(), own.query().tagged("answer").count());
    let (known, before) = (known(own)?, store.history(profile(own))?.len());
    println!(
        "{}: {questions} questions, {answers} answers, {} known, {before} before",
        own.name(),
        known.exchanges
    );
    Ok(())
}

async fn live(store: TraceStore, own: Partition) -> Outcome {
    own.upsert(NewTrace::of(&Profile::default())?.id(profile(&own)), |there| there)?;
    loop {
        let exchanges = exchange(&own)?;
        store.wait(store.mark()).await?;
        println!("{} {exchanges}", own.name());
    }
}

fn profile(own: &Partition) -> TraceId {
    TraceId::from_reference(&format!("{}/profile", own.name()))
}

fn known(own: &Partition) -> mnemon::Result<Profile> {
    own.get(profile(own)).map_or_else(|| Ok(Profile::default()), |trace| trace.payload().deserialize())
}

/// A question and its answer, and what the agent knows from then on: all of it or nothing, also after a kill.
fn exchange(own: &Partition) -> mnemon::Result<usize> {
    // What was said last and is still valid comes to mind, and belongs together from now on.
    let said = own
        .query()
        .tagged_any(["question", "answer"])
        .untagged("private")
        .order(Order::Recency)
        .limit(4)
        .run();
    own.co_activate_all(said.iter().map(|trace| trace.id()))?;

    let exchanges = known(own)?.exchanges + 1;
    let now = Profile { exchanges, mood: format!("{} things come to mind", said.len()) };
    own.apply(|group| {
        let question = group.insert(NewTrace::text(&format!("question {exchanges}")).tag("question"))?;
        let answer = NewTrace::text(&format!("answer {exchanges}")).tag("answer").parent(question);
        let answer = group.insert(answer.valid_until(SystemTime::now() + 30 * DAY))?;
        group.link(question, answer);
        let now = Payload::new(&now)?;
        group.update(profile(own), move |trace| trace.payload(now.clone()));
        Ok(exchanges)
    })
}
