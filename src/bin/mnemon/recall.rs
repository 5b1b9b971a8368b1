//! `mnemon recall`: the traces that answer a question, the best first, and what their scores are made of.

use crate::opened_store::{Digits, OpenedStore, Source};
use crate::text::{self, BOLD, DIM, ID, fraction, harmless, number, styled};
use crate::trace::{self, TraceJson};
use crate::{DONE, progress};
use anyhow::{Context, Result, ensure};
use clap::Args;
use mnemon::{Recalled, ScoreParts, TextIndex, Trace, TraceStore};
use serde::Serialize;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

/// Find valid traces by what they say, the best first, with the parts of each score.
///
/// A trace is found if its texts or tags have a word of the question; rare words count most, and forms of an English
/// word are one word. An argument of several words is a phrase: these must stand in a row, or, where no trace has them
/// so, count as words. Recalling reinforces nothing: the file is only read.
///
/// The score is relevance × (1 + 0.1 × strength + 0.05 × recency + 0.05 × (emotion - 1) + (association - 1)): how
/// well the text answers, 1 for the best; how strong the trace is; 1, halved with each hour since it was last
/// reinforced; 1 + its emotional intensity; and 1.15 if another one of those found is associated with it, else 1.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Recall {
    #[command(flatten)]
    source: Source,
    /// The question: words and phrases.
    #[arg(required_unless_present = "lines", conflicts_with = "lines", value_name = "TEXT")]
    question: Vec<String>,
    /// Read a question a line from standard input, and answer each with a JSON object a line.
    #[arg(long)]
    lines: bool,
    /// Of this partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Whole ids and whole payloads, however long the lines; JSON has both anyway.
    #[arg(long, conflicts_with = "lines")]
    full: bool,
    /// One JSON object a line.
    #[arg(long, conflicts_with = "lines")]
    json: bool,
}

/// The score, its parts (of which `strength_now` is one), which tags have a word of the question, and the trace's
/// fields.
#[derive(Serialize)]
struct RecallJson<'a> {
    score: f64,
    relevance: f64,
    recency: f64,
    emotion: f64,
    association: f64,
    matched_tags: Vec<&'a str>,
    #[serde(flatten)]
    trace: TraceJson<'a>,
}

/// The answer to one of many questions.
#[derive(Serialize)]
struct Answer<'a> {
    question: &'a str,
    found: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    id: String,
    score: f64,
}

impl Recall {
    pub fn run(self) -> Result<ExitCode> {
        let has_words = self.question.iter().any(|text| !text.trim().is_empty());
        ensure!(self.lines || has_words, "there is no word to look for: give one");
        let seen = self.source.open_with(|builder| builder.text_index(TextIndex::english()))?;
        read_texts(&seen)?;
        if self.lines {
            return self.answer_lines(&seen);
        }
        let (question, found) = self.ask(&seen)?;
        if self.json {
            text::print_json_lines(found.iter().map(|found| RecallJson::of(found, &question, &seen)))?;
        } else if found.is_empty() {
            text::print("No trace has a word of the question.")?;
        } else {
            text::print(&self.page(&found, &question, &seen))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// With the question as it was asked: an argument of several words as a phrase, unless nothing has it.
    fn ask(&self, seen: &OpenedStore) -> Result<(String, Vec<Recalled>)> {
        let quoted = |text: &String| {
            let is_phrase = text.split_whitespace().nth(1).is_some() && !text.contains('"');
            if is_phrase { format!("\"{text}\"") } else { text.clone() }
        };
        let phrases = self.question.iter().map(quoted).collect::<Vec<_>>().join(" ");
        let found = self.answer(seen, &phrases)?;
        if !found.is_empty() {
            return Ok((phrases, found));
        }
        let words = self.question.join(" ");
        let found = self.answer(seen, &words)?;
        Ok((words, found))
    }

    fn answer(&self, seen: &OpenedStore, question: &str) -> mnemon::Result<Vec<Recalled>> {
        let recall = seen.store.recall(question).limit(self.limit);
        self.partition.iter().fold(recall, |recall, name| recall.partition(name.as_str())).run()
    }

    fn answer_lines(&self, seen: &OpenedStore) -> Result<ExitCode> {
        for line in std::io::stdin().lock().lines() {
            let line = line.context("standard input can't be read as lines of text")?;
            let found = self.answer(seen, &line)?;
            let found =
                found.iter().map(|found| Found { id: found.trace.id().to_string(), score: found.score });
            let answer = Answer { question: &line, found: found.collect() };
            if !text::print_json_lines_unless_closed([answer])? {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn page(&self, found: &[Recalled], question: &str, seen: &OpenedStore) -> String {
        let traces = found.iter().map(|found| &*found.trace);
        let digits = if self.full { Digits::ALL } else { seen.digits(traces) };
        let scores: Vec<_> = found.iter().map(|found| fraction(found.score)).collect();
        let widest = scores.iter().map(|score| score.len()).max().unwrap_or(0);
        let room = text::line_width().saturating_sub(widest + 4).max(20);
        let mut page = String::new();
        for (Recalled { trace, parts, .. }, score) in found.iter().zip(scores) {
            let said = trace::whole(trace);
            let said = if self.full { said } else { excerpt(&said, question, room) };
            let score = styled(BOLD, format!("{score:>widest$}"));
            page.push_str(&format!("  {score}  {}\n", marked(&said, question)));
            let id = styled(ID, digits.of(trace.id()));
            let tags = tags(&matched_tags(trace, question));
            let rest = format!("{}  {}{tags}", trace.trace_type(), shown(parts));
            page.push_str(&format!("  {:widest$}  {id}  {}\n", "", styled(DIM, rest)));
        }
        let count = found.len();
        let summary = if count < self.limit {
            format!("{} found", text::count(count as u64, "trace"))
        } else {
            format!("the best {}", number(count as u64))
        };
        page.push_str(&styled(DIM, format!("  {summary}; the score is led by the relevance, see --help")));
        page
    }
}

/// Waits for the index, with a bar.
fn read_texts(seen: &OpenedStore) -> Result<()> {
    let store: &TraceStore = &seen.store;
    let bar = progress::bar(store.len(), "reading texts");
    let read = std::thread::scope(|scope| {
        // A question reads what is left.
        let reading = scope.spawn(|| store.recall("").run().map(drop));
        while !reading.is_finished() {
            let left = store.text_index_backlog();
            bar.set_position(store.len().saturating_sub(left) as u64);
            std::thread::sleep(Duration::from_millis(5));
        }
        reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    bar.finish_and_clear();
    Ok(read?)
}

impl<'a> RecallJson<'a> {
    fn of(found: &'a Recalled, question: &str, seen: &OpenedStore) -> Self {
        let Recalled { score, parts, ref trace, .. } = *found;
        let ScoreParts { relevance, recency, emotion, association, .. } = parts;
        let matched_tags = matched_tags(trace, question);
        Self {
            score,
            relevance,
            recency,
            emotion,
            association,
            matched_tags,
            trace: TraceJson::of(trace, seen),
        }
    }
}

/// The tags with a word of the question.
fn matched_tags<'a>(trace: &'a Trace, question: &str) -> Vec<&'a str> {
    trace.tags().filter(|tag| !TextIndex::english().marks(question, tag).is_empty()).collect()
}

/// What the score is made of.
fn shown(parts: &ScoreParts) -> String {
    const WIDE: usize = 100;
    let ScoreParts { relevance, strength, recency, emotion, association, .. } = *parts;
    let parts = [
        ("relevance", relevance),
        ("strength", strength),
        ("recency", recency),
        ("emotion", emotion),
        ("association", association),
    ];
    let named = parts.map(|(name, part)| {
        if text::line_width() >= WIDE { format!("{name} {}", fraction(part)) } else { fraction(part) }
    });
    named.join(", ")
}

fn tags(tags: &[&str]) -> String {
    match tags {
        [] => String::new(),
        tags => format!("  tagged {}", harmless(&tags.join(", "))),
    }
}

/// As much of a text as fits, with the first of the words in it.
fn excerpt(said: &str, question: &str, room: usize) -> String {
    let first = TextIndex::english().marks(question, said).into_iter().next().unwrap_or(0..0);
    let letters = |text: &str| text.chars().count();
    let first_at = first.start;
    let (before, length) = (letters(&said[..first_at]), letters(&said[first]));
    if before + length < room {
        return text::cut(said, room).into_owned();
    }
    let from = said.char_indices().nth(before.saturating_sub(room / 3)).map_or(0, |(at, _)| at);
    // Where a word begins, and not after the marked one.
    let from = said[from..first_at].find(' ').map_or(from, |space| from + space + 1);
    format!("…{}", text::cut(&said[from..], room - 1))
}

/// A text with the words of the question marked.
fn marked(said: &str, question: &str) -> String {
    let (mut marked, mut from) = (String::new(), 0);
    for at in TextIndex::english().marks(question, said) {
        marked.push_str(&said[from..at.start]);
        marked.push_str(&styled(BOLD, &said[at.clone()]));
        from = at.end;
    }
    marked + &said[from..]
}
