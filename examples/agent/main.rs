//! An agent that lives with its memory: you see, day by day, what it hears and what that brings back, how much fades
//! while nobody talks, and at the end what has grown strong, what belongs together and what is forgotten.
//!
//! `cargo run --example agent -- [FILE.jsonl [PARTITION]]` follows one conversation (the repository's sample, and the
//! first of the file, unless given) by a clock that shows the conversation's time. The same file, the same story.
//! `mind.rs` is what an agent of your own has; this file reads and tells.

mod mind;
mod turn;

use jiff::{SignedDuration, Timestamp};
use mind::{Day, Mind};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;
use turn::{Turn, long, short};

/// A silence longer than this ends the day.
const NIGHT: SignedDuration = SignedDuration::from_hours(6);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "examples/sample.jsonl".to_owned());
    let turns = read(&file, arguments.next())?;
    let first = turns.first().ok_or_else(|| format!("{file} has no such conversation"))?;
    let (mut mind, mut said) = (Mind::new(first.at)?, BTreeMap::new());
    let mut day = Day::default();
    for turn in &turns {
        if turn.at.duration_since(mind.now()) > NIGHT {
            sleep(&mut mind, std::mem::take(&mut day), turn.at)?;
        }
        mind.hear(turn, &mut day)?;
        said.insert(turn.id, &turn.text);
    }
    let tomorrow = mind.now() + SignedDuration::from_hours(24);
    sleep(&mut mind, day, tomorrow)?;

    let store = mind.store();
    let known = store.query().limit(usize::MAX).run();
    println!("\ngrew strong");
    for trace in known.iter().filter(|trace| trace.reinforcement_count() > 0).take(5) {
        let (strength, used) = (store.strength(trace), trace.reinforcement_count());
        println!("  {strength:.2}, used {used} times: {}", short(said[&trace.id()]));
    }
    println!("belongs together");
    let links = known.iter().flat_map(|trace| store.links(trace.id()));
    let links: BTreeMap<_, _> = links.map(|link| ((Reverse(link.count()), link.ends()), link)).collect();
    for link in links.into_values().filter(|link| link.is_associated()).take(3) {
        let (a, b) = link.ends();
        println!("  {} times: {}\n{:>12} {}", link.count(), short(said[&a]), "and", short(said[&b]));
    }
    let forgotten: Vec<_> = turns.iter().filter(|turn| !store.contains(turn.id)).collect();
    println!("forgotten: {} of {}, last of all", forgotten.len(), turns.len());
    for turn in forgotten.iter().rev().take(3) {
        println!("  {}: {}", turn.at.strftime("%F"), short(&turn.text));
    }
    Ok(())
}

/// The turns of one conversation, the oldest first.
fn read(file: &str, partition: Option<String>) -> Outcome<Vec<Turn>> {
    let lines = std::fs::read_to_string(file)?;
    let mut records: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let first = records.first().map(|record| record["partition"].clone());
    let partition = partition.map(Value::from).or(first);
    records.retain(|record| Some(&record["partition"]) == partition.as_ref());
    let mut turns = records.into_iter().map(Turn::read).collect::<Outcome<Vec<_>>>()?;
    turns.sort_by_key(|turn| turn.at);
    Ok(turns)
}

/// Tells of the day, and lets the night pass.
fn sleep(mind: &mut Mind, day: Day, until: Timestamp) -> Outcome {
    println!("{}  {} heard, {} brought something back", mind.now().strftime("%F"), day.heard, day.reminded);
    if let Some(best) = day.best {
        println!("    {}", short(&best.said));
        println!("      {} ago, {:.2}: {}", long(best.age), best.strength, short(&best.memory));
    }
    let silence = long(until.duration_since(mind.now()));
    let night = mind.sleep(until)?;
    println!("    {silence} of silence: {} memories fade, {} are forgotten", night.decayed, night.pruned);
    Ok(())
}
