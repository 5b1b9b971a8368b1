//! An agent that lives with its memory: you see, day by day, how much it has forgotten since, how much it hears, and
//! which turn is most like what it brings back; at the end what was used most, what belongs to that, and what is gone.
//!
//! `cargo run --example agent -- [FILE.jsonl [PARTITION]]` follows one conversation (the repository's sample, and the
//! first of the file, unless given) by a clock that shows the conversation's time. The same file, the same story.

use jiff::{SignedDuration, Timestamp};
use mnemon::{DecayCurve, ManualClock, NewTrace, Ranked, Trace, TraceId, TraceStore};
use serde_json::{Value, json};
use std::{cmp::Reverse, collections::BTreeMap, error::Error, time::Duration};

/// How long a fact takes to fade to half its strength; what was said takes half as long.
const HALF_LIFE: Duration = Duration::from_secs(14 * 86_400);
/// A silence longer than this ends the day.
const NIGHT: SignedDuration = SignedDuration::from_hours(6);
/// A word that more memories have than this says little.
const RARE: usize = 8;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let turns = read()?;
    let start = turns.first().ok_or("there is no such conversation")?.0.created_at();
    let (clock, curve) = (ManualClock::at(start - NIGHT), DecayCurve::Exponential { half_life: HALF_LIFE });
    // With `open("memory.db")` in place of `in_memory()` it wakes up tomorrow with what it knows today.
    let store = TraceStore::builder().clock(&clock).decay_curve(curve).in_memory()?;
    for day in turns.chunk_by(|(turn, _), (next, _)| next.created_at() <= turn.created_at() + NIGHT) {
        let (slept, woke, mut stories) = (clock.now(), day[0].0.created_at(), Vec::new());
        clock.set(woke);
        let gone = store.decay()?.traces; // of these nothing was left
        for (turn, new) in day {
            clock.set(turn.created_at());
            let recalled = recall(&store, turn, slept);
            store.insert(new.clone())?;
            for (n, (_, old)) in recalled.iter().enumerate() {
                store.reinforce(old.trace.id())?; // what is used grows stronger,
                for (_, other) in &recalled[..n] {
                    store.co_activate(old.trace.id(), other.trace.id())?; // together three times: associated
                }
            }
            if let Some((words, old)) = recalled.first() {
                let (now, then, by) = (text(turn)?, text(&old.trace)?, words.join(", "));
                let days = (turn.created_at() - old.trace.created_at()).as_hours() / 24;
                let (share, strength) = (words.len() * 100 / turn.tags().len(), old.strength);
                let why = format!("{by}: brings back, after {days} days, at strength {strength:.2}");
                stories.push((share, format!("    {now}\n    {why}\n    {then}\n")));
            }
        }
        let (day, heard, recalling) = (woke.strftime("%F"), day.len(), stories.len());
        println!("{day}  {gone} forgotten, {heard} heard, {recalling} bring something back");
        print!("{}", stories.into_iter().max().unwrap_or_default().1);
    }
    end(&store, &turns)
}

/// The four memories of earlier days with the largest part of their words in this turn, two at least, rare ones; of
/// equals those that score best.
fn recall<'a>(store: &TraceStore, turn: &'a Trace, slept: Timestamp) -> Vec<(Vec<&'a str>, Ranked)> {
    let mut shared = BTreeMap::<TraceId, Vec<&str>>::new();
    for word in turn.tags() {
        let found = store.query().tagged(word).until(slept).limit(RARE + 1).run();
        for trace in found.iter().filter(|_| found.len() <= RARE) {
            shared.entry(trace.id()).or_default().push(word);
        }
    }
    shared.retain(|_, words| words.len() > 1);
    let ranked = store.rank(shared.keys().copied()).into_iter();
    let mut found: Vec<_> = ranked.filter_map(|old| Some((shared.remove(&old.trace.id())?, old))).collect();
    found.sort_by_key(|(words, old)| Reverse(words.len() * 100 / old.trace.tags().len()));
    found.into_iter().take(4).collect()
}

fn end(store: &TraceStore, turns: &[(Trace, NewTrace)]) -> Outcome {
    let mut known = store.query().limit(usize::MAX).run();
    known.sort_by_key(|trace| Reverse(trace.reinforcement_count()));
    println!("\nmost used, with what belongs to it");
    for trace in &known[..known.len().min(4)] {
        println!("  {} times, {:.2}: {}", trace.reinforcement_count(), store.strength(trace), text(trace)?);
        for other in store.associated(trace.id(), 0.0, 2) {
            println!("        together with {}", text(&other)?);
        }
    }
    let gone: Vec<_> = turns.iter().filter(|(turn, _)| !store.contains(turn.id())).collect();
    println!("gone: {} of {}, last of all", gone.len(), turns.len());
    for (turn, _) in gone.iter().rev().take(3) {
        println!("  {}  {}", turn.created_at().strftime("%F"), text(turn)?);
    }
    Ok(())
}

/// What was said and concluded in one conversation, the oldest first.
fn read() -> Outcome<Vec<(Trace, NewTrace)>> {
    let mut arguments = std::env::args().skip(1);
    let lines = std::fs::read_to_string(arguments.next().unwrap_or("examples/sample.jsonl".into()))?;
    let records: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let first = records.first().ok_or("there is nothing in it")?["partition"].clone();
    let partition = arguments.next().map_or(first, Value::from);
    let mine = records.iter().filter(|record| record["partition"] == partition);
    let mut turns = mine.filter_map(|record| turn(record).transpose()).collect::<Outcome<Vec<_>>>()?;
    turns.sort_by_key(|(turn, _)| turn.created_at());
    Ok(turns)
}

/// Its longer words are the tags of the memory, which needs no model.
fn turn(record: &Value) -> Outcome<Option<(Trace, NewTrace)>> {
    let field = |name| record["payload"][name].as_str();
    let Some(said) = field("text").or(field("fact")) else { return Ok(None) };
    let line = field("speaker").map_or(said.to_owned(), |who| format!("{who}: {said}"));
    let words = said.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 4);
    let string = |name: &str| record[name].as_str().ok_or_else(|| format!("no {name} in {record}"));
    let new = NewTrace::new(string("type")?.parse()?, json!(line)).tags(words.map(str::to_lowercase));
    let new = new
        .id(TraceId::from_reference(string("ref")?))
        .created_at(string("created_at")?.parse::<mnemon::jiff::Timestamp>()?);
    Ok(Some((new.clone().into_trace()?, new)))
}

/// As much of it as fits into a line.
fn text(trace: &Trace) -> Outcome<String> {
    Ok(format!("{:.90}", trace.payload().deserialize::<String>()?.replace('\n', " ")))
}
