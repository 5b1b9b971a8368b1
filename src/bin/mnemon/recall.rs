//! `mnemon recall`: the traces that speak of something, those first that matter most, and why they do.

use crate::opened_store::{Digits, OpenedStore, Source};
use crate::text::{self, BOLD, DIM, ID, fraction, harmless, number, styled};
use crate::trace::{self, TraceJson};
use crate::{DONE, json};
use anyhow::{Result, ensure};
use clap::Args;
use mnemon::{Ranked, Trace};
use serde::Serialize;
use std::collections::HashMap;
use std::process::ExitCode;

/// Recall what is valid and speaks of something, ranked, with the parts of each score.
///
/// Each word must be one of a trace's tags, or stand in the text of its payload as a whole word, however it is
/// capitalized.
///
/// The score is strength × recency × emotion × association: how strong the trace is; 1, halved with each hour since
/// it was last reinforced; 1 + its emotional intensity; and 1.15 if another one of those found is associated with
/// it, else 1. Of equal scores the strongest comes first. Recalling reinforces nothing: the file is only read.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Recall {
    #[command(flatten)]
    source: Source,
    /// Words to look for, tags or others.
    #[arg(required = true, value_name = "TEXT")]
    words: Vec<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Whole ids and whole payloads, however long the lines; JSON has both anyway.
    #[arg(long)]
    full: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// The score, its base-2 logarithm, its parts (of which `strength_now` is one), which words are tags of it, and the
/// trace's fields.
#[derive(Serialize)]
struct RecallJson<'a> {
    score: f64,
    log_score: f64,
    recency: f64,
    emotion: f64,
    association: f64,
    matched_tags: &'a [String],
    #[serde(flatten)]
    trace: TraceJson<'a>,
}

/// What is looked for: in tags as it is, in texts without regard to capitals.
struct Word {
    given: String,
    lower: String,
}

/// A trace with all of the words, and why.
struct Hit {
    ranked: Ranked,
    tags: Vec<String>,
}

impl Recall {
    pub fn run(self) -> Result<ExitCode> {
        let words: Vec<_> =
            self.words.iter().flat_map(|text| text.split_whitespace()).map(Word::new).collect();
        ensure!(!words.is_empty(), "there is no word to look for: give one");
        let seen = self.source.open()?;
        let (mut hits, each) = find(&words, &seen);
        let all = hits.len();
        hits.truncate(self.limit);
        if self.json {
            text::print_json_lines(hits.iter().map(|hit| RecallJson::of(hit, &seen)))?;
        } else if all == 0 {
            text::print(&nothing(&words, &each))?;
        } else {
            text::print(&self.page(&hits, all, &words, &seen))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn page(&self, hits: &[Hit], all: usize, words: &[Word], seen: &OpenedStore) -> String {
        let traces = hits.iter().map(|hit| &*hit.ranked.trace);
        let digits = if self.full { Digits::ALL } else { seen.digits(traces) };
        let scores = text::scores(&hits.iter().map(|hit| hit.ranked.log_score).collect::<Vec<_>>());
        let widest = scores.iter().map(|score| score.len()).max().unwrap_or(0);
        let room = text::line_width().saturating_sub(widest + 4).max(20);
        let mut page = String::new();
        for (hit, score) in hits.iter().zip(scores) {
            let trace = &*hit.ranked.trace;
            let said =
                if self.full { trace::whole(trace) } else { excerpt(&trace::whole(trace), words, room) };
            let score = styled(BOLD, format!("{score:>widest$}"));
            page.push_str(&format!("  {score}  {said}\n"));
            let id = styled(ID, digits.of(trace.id()));
            let rest = format!("{}  {}{}", trace.trace_type(), parts(&hit.ranked), tags(&hit.tags));
            page.push_str(&format!("  {:widest$}  {id}  {}\n", "", styled(DIM, rest)));
        }
        let summary = if hits.len() == all {
            format!("{} found", text::count(all as u64, "trace"))
        } else {
            format!("{} of {} found", number(hits.len() as u64), text::count(all as u64, "trace"))
        };
        page.push_str(&styled(
            DIM,
            format!("  {summary}; score = strength × recency × emotion × association"),
        ));
        if hits.iter().all(|hit| hit.ranked.recency < 0.0005) {
            let long_ago = "none of them was reinforced lately: --at ranks as of another time";
            page.push_str(&styled(DIM, format!("\n  {long_ago}")));
        }
        page
    }
}

impl<'a> RecallJson<'a> {
    fn of(hit: &'a Hit, seen: &OpenedStore) -> Self {
        let Ranked { score, log_score, recency, emotion, association, ref trace, .. } = hit.ranked;
        Self {
            score,
            log_score,
            recency,
            emotion,
            association,
            matched_tags: &hit.tags,
            trace: TraceJson::of(trace, seen),
        }
    }
}

impl Word {
    fn new(given: &str) -> Self {
        Self { given: given.to_owned(), lower: given.to_lowercase() }
    }

    /// The tag that it is.
    fn tag<'a>(&self, trace: &'a Trace) -> Option<&'a str> {
        trace.tags().find(|tag| tag.to_lowercase() == self.lower)
    }

    /// Where it stands in a text without capitals, with no letter or digit right before or after it.
    fn place(&self, text: &str) -> Option<usize> {
        let joins = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        let mut places = text.match_indices(&self.lower);
        let whole = places.find(|(at, word)| {
            !joins(text[..*at].chars().next_back()) && !joins(text[at + word.len()..].chars().next())
        });
        whole.map(|(at, _)| at)
    }
}

/// The traces with all of the words, the best first, and how many have each of the words.
fn find(words: &[Word], seen: &OpenedStore) -> (Vec<Hit>, Vec<u64>) {
    let mut each = vec![0; words.len()];
    let mut found = HashMap::new();
    for trace in seen.store.query().iter() {
        let (mut text, mut tags, mut has_all) = (None, Vec::new(), true);
        for (word, count) in words.iter().zip(&mut each) {
            let tag = word.tag(&trace);
            let has = tag.is_some() || {
                let text = text.get_or_insert_with(|| json::texts(trace.payload().as_str()).to_lowercase());
                word.place(text).is_some()
            };
            tags.extend(tag.map(str::to_owned));
            *count += u64::from(has);
            has_all &= has;
        }
        if has_all {
            found.insert(trace.id(), tags);
        }
    }
    let ranked = seen.store.rank(found.keys().copied());
    let hits = ranked.into_iter().map(|ranked| {
        let tags = found.remove(&ranked.trace.id()).unwrap_or_default();
        Hit { ranked, tags }
    });
    (hits.collect(), each)
}

fn nothing(words: &[Word], each: &[u64]) -> String {
    let each = words.iter().zip(each);
    let each: Vec<_> = each.map(|(word, count)| format!("{} in {}", word.given, number(*count))).collect();
    match &each[..] {
        [_] => format!("No trace has {} among its tags or in its payload.", words[0].given),
        _ => format!("No trace has all of these words: {}.", each.join(", ")),
    }
}

/// What the score is the product of.
fn parts(ranked: &Ranked) -> String {
    const WIDE: usize = 100;
    let Ranked { strength, recency, emotion, association, .. } = *ranked;
    let parts =
        [("strength", strength), ("recency", recency), ("emotion", emotion), ("association", association)];
    let named = parts.map(|(name, part)| {
        if text::line_width() >= WIDE { format!("{name} {}", fraction(part)) } else { fraction(part) }
    });
    named.join(" × ")
}

fn tags(tags: &[String]) -> String {
    match tags {
        [] => String::new(),
        tags => format!("  tagged {}", harmless(&tags.join(", "))),
    }
}

/// As much of a text as fits, with the first of the words in it.
fn excerpt(said: &str, words: &[Word], room: usize) -> String {
    let lower = said.to_lowercase();
    let first = words.iter().filter_map(|word| Some((word.place(&lower)?, word.lower.len()))).min();
    let (before, length) = first.map_or((0, 0), |(at, length)| (lower[..at].chars().count(), length));
    if before + length < room {
        return text::cut(said, room).into_owned();
    }
    let from = said.char_indices().nth(before.saturating_sub(room / 3)).map_or(0, |(at, _)| at);
    // Where a word begins.
    let from = said[from..].find(' ').map_or(from, |space| from + space + 1);
    format!("…{}", text::cut(&said[from..], room - 1))
}
