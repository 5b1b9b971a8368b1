//! Whether questions find what answers them (real conversations, if they are there), what a question costs, and whether
//! a write notices the text index.
//!
//! `-- quality`, `-- cost` or `-- vectors` measures that alone.

use benches::figures::{Figure, Figures};
use benches::random::Random;
use benches::{Outcome, beside_a_writer, insert_all, is_quick, median, milliseconds, must, settle, size};
use cap::Cap;
use mnemon::{Fusion, NewTrace, Payload, Recall, TextIndex, TraceId, TraceStore, TraceType};
use serde_json::Value;
use std::alloc::System;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

const DIMENSIONS: usize = 384;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

fn main() -> Outcome {
    let mut figures = Figures::of("recall")?;
    let asked: Vec<_> = std::env::args().skip(1).filter(|asked| !asked.starts_with("--")).collect();
    let wants = |what: &str| asked.is_empty() || asked.iter().any(|asked| asked == what);
    if wants("quality") {
        match Conversations::load()? {
            Some(conversations) => quality(&mut figures, &conversations)?,
            None => println!("skipped: the conversations, questions or embeddings are not in ../shared/data"),
        }
    }
    for traces in [10_000, 100_000].map(size) {
        if wants("cost") {
            cost(&mut figures, traces)?;
        }
        if wants("vectors") {
            vectors(&mut figures, traces)?;
        }
    }
    Ok(())
}

/// Turns of conversations, and questions with the turns that answer them.
struct Conversations {
    turns: Vec<Value>,
    questions: Vec<Value>,
    /// By the refs of turns and the ids of questions.
    embeddings: HashMap<String, Box<[f32]>>,
}

impl Conversations {
    fn load() -> Outcome<Option<Self>> {
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
        let read = |file: &str| std::fs::read_to_string(data.join(file));
        let (Ok(turns), Ok(questions), Ok(names), Ok(numbers)) = (
            read("conversations.jsonl"),
            read("questions.jsonl"),
            read("embeddings.txt"),
            std::fs::read(data.join("embeddings.f32")),
        ) else {
            return Ok(None);
        };
        let records = |text: &str| text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let numbers: Vec<_> = numbers.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let vectors = numbers.chunks(DIMENSIONS).map(Into::into);
        let mut turns = records(&turns)?;
        turns.retain(|turn| turn["type"] == "episodic");
        let embeddings = names.lines().map(str::to_owned).zip(vectors).collect();
        Ok(Some(Self { turns, questions: records(&questions)?, embeddings }))
    }

    /// With each turn linked to the next of its conversation, or without links.
    fn store(&self, is_linked: bool) -> Outcome<TraceStore> {
        let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
        let mut last: HashMap<&str, TraceId> = HashMap::new();
        for turn in &self.turns {
            let (name, partition) = (text(&turn["ref"]), text(&turn["partition"]));
            let tags = turn["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let new = NewTrace::new(TraceType::Episodic, Payload::new(&turn["payload"])?)
                .id(TraceId::from_reference(name))
                .partition(partition)
                .created_at(text(&turn["created_at"]).parse::<jiff::Timestamp>()?)
                .tags(tags);
            let id = store
                .insert(self.embeddings.get(name).cloned().into_iter().fold(new, NewTrace::embedding))?;
            if let Some(before) = last.insert(partition, id).filter(|_| is_linked) {
                for _ in 0..3 {
                    store.co_activate(before, id)?;
                }
            }
        }
        Ok(store)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Asks a question, which is also near to an embedding.
type Ask<'f> = &'f dyn Fn(Recall<'_>, Box<[f32]>) -> Outcome<Vec<TraceId>>;

fn quality(figures: &mut Figures, conversations: &Conversations) -> Outcome {
    let (plain, linked) = (conversations.store(false)?, conversations.store(true)?);
    let recall = |store: &TraceStore, question: &Value, ask: Ask<'_>| {
        let vector = conversations.embeddings[text(&question["id"])].clone();
        let recall = store.recall(text(&question["question"])).partition(text(&question["partition"]));
        ask(recall.limit(20), vector)
    };
    let run = |recall: Recall<'_>| -> Outcome<Vec<TraceId>> {
        Ok(recall.run()?.iter().map(|found| found.trace.id()).collect())
    };
    let mut say = |name: &str, ask: &dyn Fn(&Value) -> Outcome<Vec<TraceId>>| -> Outcome {
        let answers = conversations.questions.iter().map(|question| Ok((question, ask(question)?)));
        let answers = answers.collect::<Outcome<Vec<_>>>()?;
        let evidence = |question: &Value| -> Vec<TraceId> {
            let evidence = question["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
            evidence.map(TraceId::from_reference).collect()
        };
        let mean = |of: &dyn Fn(&[TraceId], &[TraceId]) -> f64| {
            let sum = answers.iter().map(|(question, found)| of(&evidence(question), found)).sum::<f64>();
            sum / answers.len() as f64
        };
        for most in [5, 10, 20] {
            let value = mean(&|wanted, found| {
                let found = &found[..found.len().min(most)];
                wanted.iter().filter(|id| found.contains(id)).count() as f64 / wanted.len() as f64
            });
            let figure = Figure::new(format!("questions, {name}"), &format!("recall@{most}"), value, "");
            let target = match (name, most) {
                ("text", 10) => Some(0.62),
                ("text and vectors", 10) => Some(0.66),
                _ => None,
            };
            figures.say(match target {
                Some(target) => figure.more_is_better().target(target),
                None => figure,
            })?;
        }
        let ranks = mean(&|wanted, found| {
            let first = found.iter().position(|id| wanted.contains(id));
            first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
        });
        figures.say(Figure::new(format!("questions, {name}"), "MRR", ranks, ""))
    };
    say("all words", &|question| Ok(all_words(conversations, question)))?;
    say("text", &|question| recall(&plain, question, &|recall, _| run(recall)))?;
    say("vectors", &|question| {
        recall(&plain, question, &|recall, vector| run(recall.near(vector).fusion(vectors_alone())))
    })?;
    say("text and vectors", &|question| {
        recall(&plain, question, &|recall, vector| run(recall.near(vector)))
    })?;
    say("text and vectors, reciprocal ranks", &|question| {
        recall(&plain, question, &|recall, vector| run(recall.near(vector).fusion(Fusion::ReciprocalRanks)))
    })?;
    say("text, links", &|question| recall(&linked, question, &|recall, _| run(recall.spread(0.3))))?;
    say("text and vectors, links", &|question| {
        recall(&linked, question, &|recall, vector| run(recall.near(vector).spread(0.3)))
    })
}

fn vectors_alone() -> Fusion {
    Fusion::Weights { text: 0.0, vector: 1.0 }
}

/// The turns of the conversation that have each word of the question, newest first.
fn all_words(conversations: &Conversations, question: &Value) -> Vec<TraceId> {
    let asked = text(&question["question"]).to_lowercase();
    let turns = conversations.turns.iter().rev().filter(|turn| turn["partition"] == question["partition"]);
    let has_all = |turn: &&Value| {
        let said = turn["payload"].to_string().to_lowercase();
        let said: Vec<_> = said.split(|letter: char| !letter.is_alphanumeric()).collect();
        asked.split(|letter: char| !letter.is_alphanumeric()).all(|word| said.contains(&word))
    };
    turns.filter(has_all).map(|turn| TraceId::from_reference(text(&turn["ref"]))).take(20).collect()
}

/// Texts of about 300 bytes, and questions of ten words, of words as frequent as in a language (Zipf): of 50,000, the
/// first 150 of which are English words that say little.
struct Language {
    words: Vec<String>,
    /// Sums of frequencies.
    up_to: Vec<f64>,
    random: Random,
}

const SAY_LITTLE: &str =
    "the and to of a in that it is was i for on you with as be he she at by this had not are but";
const LITTLE: usize = 150;

impl Language {
    fn new(seed: u64) -> Self {
        let little: Vec<_> = SAY_LITTLE.split(' ').collect();
        let word = |n: usize| {
            let syllables = [
                "ba", "cor", "dim", "fa", "gul", "hen", "ki", "lor", "mus", "nep", "pol", "ra", "sit", "tov",
                "wen", "zu",
            ];
            std::iter::successors(Some(n), |n| (*n >= 16).then_some(n / 16))
                .map(|n| syllables[n % 16])
                .collect()
        };
        let words =
            (0..50_000).map(|n| if n < LITTLE { little[n % little.len()].to_owned() } else { word(n) });
        let mut sum = 0.0;
        let up_to = (1..=50_000).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        Self { words: words.collect(), up_to: up_to.collect(), random: Random(seed) }
    }

    fn word(&mut self, from: usize) -> &str {
        let (low, high) =
            (if from == 0 { 0.0 } else { self.up_to[from - 1] }, self.up_to[self.up_to.len() - 1]);
        let drawn = low + self.random.fraction() * (high - low);
        let at = self.up_to.partition_point(|sum| *sum < drawn);
        &self.words[at.min(self.words.len() - 1)]
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        while text.len() < benches::PAYLOAD {
            text.push_str(self.word(0));
            text.push(' ');
        }
        text
    }

    /// Words that say little are not counted: a question without them costs the same.
    fn question(&mut self) -> String {
        (0..10).map(|_| self.word(LITTLE).to_owned()).collect::<Vec<_>>().join(" ")
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSIONS).map(|_| self.random.fraction() as f32 - 0.5).collect()
    }
}

fn filled(traces: usize, index: Option<TextIndex>) -> Outcome<(TraceStore, Vec<TraceId>)> {
    let builder = TraceStore::builder();
    let store = index.into_iter().fold(builder, |builder, index| builder.text_index(index)).in_memory()?;
    let language = std::cell::RefCell::new(Language::new(1));
    let new =
        |n: usize| NewTrace::text(&language.borrow_mut().text()).partition(format!("partition {}", n % 80));
    let ids = insert_all(&store, traces, new)?;
    store.flush()?;
    settle(&store);
    Ok((store, ids))
}

fn cost(figures: &mut Figures, traces: usize) -> Outcome {
    let case = |what: &str| format!("{what}, {traces} traces");
    let before = MEMORY.allocated();
    let (bare, bare_ids) = filled(traces, None)?;
    let without = MEMORY.allocated();
    let (store, ids) = filled(traces, Some(TextIndex::english()))?;
    store.recall("").run()?;
    let megabytes = ((MEMORY.allocated() - without) as f64 - (without - before) as f64) / 1e6;
    figures.say(Figure::new(case("memory of the index"), "allocated", megabytes, "MB").target(100.0))?;
    let built: Vec<_> = (0..3)
        .map(|_| {
            store.rebuild_text_index();
            let (started, before) = (Instant::now(), cpu());
            must(store.recall("").run());
            (milliseconds(started), cpu() - before)
        })
        .collect();
    let time = median(built.iter().map(|built| built.0));
    figures.say(Figure::new(case("the index is built"), "time", time, "ms").target(3_000.0))?;
    let time = median(built.iter().map(|built| built.1));
    figures.say(Figure::new(case("the index is built"), "CPU", time, "ms"))?;

    let mut language = Language::new(2);
    let questions: Vec<_> = (0..500).map(|_| language.question()).collect();
    let asked = |figures: &mut Figures, what: &str, targets: bool, ask: &dyn Fn(&str)| -> Outcome {
        let mut times: Vec<_> = questions
            .iter()
            .map(|question| {
                let started = Instant::now();
                ask(question);
                milliseconds(started)
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        for (metric, at, target) in [("p50", 50, 2.0), ("p99", 99, 10.0)] {
            let figure = Figure::new(case(what), metric, times[times.len() * at / 100], "ms");
            figures.say(if targets { figure.target(target) } else { figure })?;
        }
        Ok(())
    };
    let ask = |question: &str| drop(black_box(must(store.recall(question).run())));
    asked(figures, "a question of ten words", true, &ask)?;
    asked(figures, "a question of ten words, of a partition (1 in 80)", true, &|question| {
        drop(black_box(must(store.recall(question).partition("partition 7").run())))
    })?;
    let one_word = |question: &str| question.split(' ').next().unwrap_or_default().to_owned();
    asked(figures, "a question of one word", true, &|question| ask(&one_word(question)))?;
    let text = Language::new(5).text();
    for (rate, name) in [(10_000, "10,000 changes a second"), (0, "a writer at full speed")] {
        beside_a_writer(
            &ids,
            rate,
            |number, id| change(&store, id, number, &text),
            || asked(figures, &format!("a question of ten words, {name}"), rate > 0, &ask),
        )?;
    }
    // In turn, so that a machine that changes its speed changes both.
    let rounds = if is_quick() { 1 } else { 5 };
    let pairs: Vec<_> = (0..rounds).map(|_| (writes(&store, &ids), writes(&bare, &bare_ids))).collect();
    let with = median(pairs.iter().map(|pair| pair.0));
    let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
    let figure = Figure::new(case("a write, one in ten of a text"), "p99.9", with, "ns");
    figures.say(figure.beside("without an index", ratio).target(1.2))
}

fn vectors(figures: &mut Figures, traces: usize) -> Outcome {
    let case = |what: &str| format!("{what}, {traces} traces");
    let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
    let language = std::cell::RefCell::new(Language::new(6));
    let new = |_| {
        let mut language = language.borrow_mut();
        NewTrace::text(&language.text()).embedding(language.vector())
    };
    insert_all(&store, traces, new)?;
    store.flush()?;
    settle(&store);
    let mut language = language.into_inner();
    let (near, question) = (language.vector(), language.question());
    let target = if traces >= 100_000 { 30.0 } else { 3.0 };
    for (name, question) in
        [("a question of embeddings", ""), ("a question of text and embeddings", &*question)]
    {
        let ask = || drop(black_box(must(store.recall(question).near(&*near).run())));
        ask();
        let before = cpu();
        let time = median((0..31).map(|_| {
            let started = Instant::now();
            ask();
            milliseconds(started)
        }));
        figures.say(Figure::new(case(name), "p50", time, "ms").target(target))?;
        figures.say(Figure::new(case(name), "CPU", (cpu() - before) / 31.0, "ms"))?;
    }
    Ok(())
}

/// One change: of a number, and in each tenth of a text.
fn change(store: &TraceStore, id: TraceId, number: u64, text: &str) {
    must(if number.is_multiple_of(10) {
        store.update(id, |trace| trace.payload(Payload::text(text)))
    } else {
        store.update(id, |trace| trace.confidence(number as f64 % 100.0 / 100.0))
    });
}

/// Nanoseconds that all but one write in a thousand take at most, one after the other.
fn writes(store: &TraceStore, ids: &[TraceId]) -> f64 {
    let (mut language, mut random) = (Language::new(3), Random(4));
    let texts: Vec<_> = (0..100).map(|_| language.text()).collect();
    let mut times: Vec<_> = (0..size(200_000) as u64)
        .map(|number| {
            let id = ids[random.below(ids.len())];
            let started = Instant::now();
            change(store, id, number, &texts[number as usize / 10 % texts.len()]);
            started.elapsed().as_nanos() as f64
        })
        .collect();
    // Else the flusher and the indexer would still work while the next store is measured.
    must(store.flush());
    settle(store);
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() * 999 / 1_000]
}

/// Milliseconds of a processor that this process has used: of all its threads, in steps of ten.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}
