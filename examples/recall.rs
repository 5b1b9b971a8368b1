//! Recall: you see the fact that answers a question, the turn of the conversation that it comes from, and what was said
//! around it.
//!
//! `cargo run --features recall --example recall -- [FILE.jsonl [QUESTION]]` reads a conversation (the repository's
//! sample unless given) into a store in memory, links each turn to the next and each fact to its source, and walks from
//! the fact that answers best.

use mnemon::jiff::Timestamp;
use mnemon::{ManualClock, NewTrace, Payload, TextIndex, Trace, TraceId, TraceStore, TraceType};
use serde_json::Value;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "examples/sample.jsonl".to_owned());
    let question = arguments.next().unwrap_or_else(|| "what did the storm do to the pontoon?".to_owned());
    let records: Vec<Value> =
        std::fs::read_to_string(file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;

    let clock = ManualClock::at("2000-01-01T00:00:00Z".parse()?);
    let store = TraceStore::builder().clock(&clock).text_index(TextIndex::english()).in_memory()?;
    for record in &records {
        let trace = read(record)?;
        let id = store.insert(trace)?;
        // The memory is as old as its last turn, and an hour more.
        let made = store.get(id).map(|trace| trace.created_at());
        clock.set(made.into_iter().chain([clock.now()]).max().unwrap_or(clock.now()));
    }
    clock.advance(Duration::from_secs(3_600));
    associate(&store, &records)?;
    println!("{} memories, {} links\n", store.len(), store.link_count());

    println!("{question}");
    let facts = store.recall(question).of_type(TraceType::Semantic).filter(|fact| fact.parent().is_some());
    let found = facts.limit(3).run()?;
    for found in &found {
        println!("{:.3}  {}", found.score, text(&found.trace));
    }
    let Some(best) = found.first() else { return Err("no fact with a source answers that".into()) };
    let fact = best.trace.clone();
    println!();
    println!("fact    {}", text(&fact));
    if let Some(source) = fact.parent().and_then(|source| store.get(source)) {
        println!("source  {}\n", text(&source));
    }

    println!("hops  strength  what was said around it");
    let steps: Vec<_> = store.walk(fact.id(), 4, 0.1).collect();
    for step in &steps {
        let strength = store.strength(&step.trace);
        println!("{:>4}  {strength:>8.3}  {}", step.depth, text(&step.trace));
    }

    // What is recalled is used, and what is used grows stronger.
    for step in steps.iter().filter(|step| step.depth <= 2) {
        store.reinforce(step.trace.id())?;
    }
    println!("\nscore  what of it matters most from now on");
    for ranked in store.rank(steps.iter().map(|step| step.trace.id())).iter().take(4) {
        println!("{:.3}  {}", ranked.score, text(&ranked.trace));
    }
    Ok(())
}

fn id(record: &Value) -> Option<TraceId> {
    record["ref"].as_str().map(TraceId::from_reference)
}

fn read(record: &Value) -> Result<NewTrace, Box<dyn Error>> {
    let string = |name: &str| record[name].as_str().ok_or_else(|| format!("no {name} in {record}"));
    let tags = record["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let new = NewTrace::new(string("type")?.parse()?, Payload::new(&record["payload"])?)
        .id(TraceId::from_reference(string("ref")?))
        .created_at(string("created_at")?.parse::<Timestamp>()?)
        .partition(string("partition")?)
        .tags(tags);
    Ok(match record["parent_ref"].as_str() {
        Some(parent) => new.parent(TraceId::from_reference(parent)),
        None => new,
    })
}

/// What was said one after the other, and what was concluded from it, was active together: often enough to stay.
fn associate(store: &TraceStore, records: &[Value]) -> mnemon::Result<()> {
    let mut last_turns = HashMap::new();
    for record in records {
        let (Some(this), turn) = (id(record), record["type"] == "episodic") else { continue };
        let before = if turn {
            last_turns.insert(record["partition"].as_str(), this)
        } else {
            record["parent_ref"].as_str().map(TraceId::from_reference)
        };
        if let Some(before) = before.filter(|before| store.contains(*before)) {
            for _ in 0..3 {
                store.co_activate(before, this)?;
            }
        }
    }
    Ok(())
}

/// Who says what, in a line.
fn text(trace: &Trace) -> String {
    let payload = trace.payload().as_value().unwrap_or_default();
    let field = |names: &[&str]| names.iter().find_map(|name| payload[*name].as_str()).map(str::to_owned);
    let said = field(&["text", "fact", "summary"]).unwrap_or_else(|| trace.payload().to_string());
    let line = field(&["speaker", "subject"]).map_or(said.clone(), |who| format!("{who}: {said}"));
    match line.char_indices().nth(96) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
