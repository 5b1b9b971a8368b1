//! `mnemon get`: all there is to know of one trace.

use crate::columns::{Column, Columns};
use crate::opened_store::{IdPrefix, OpenedStore, Source};
use crate::text::{self, BOLD, DIM, ID, count, harmless, number, styled};
use crate::trace::{self, TraceJson};
use crate::{DONE, json};
use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use mnemon::{Link, Trace, TraceId};
use serde::Serialize;
use std::cmp::Reverse;
use std::process::ExitCode;
use std::sync::Arc;

/// See one trace: its fields, its payload, its links.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Get {
    #[command(flatten)]
    source: Source,
    /// Its id, or 8 or more of the hex digits that it begins or ends with.
    id: IdPrefix,
    /// Just one JSON object, with all of its links.
    #[arg(long)]
    json: bool,
}

/// The trace's fields, and `links`: the most co-activations first.
#[derive(Serialize)]
struct GetJson<'a> {
    #[serde(flatten)]
    trace: TraceJson<'a>,
    links: Vec<LinkJson>,
}

#[derive(Serialize)]
struct LinkJson {
    to: String,
    count: u32,
    associated: bool,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// A link, seen from one of its traces.
struct Neighbour {
    link: Link,
    trace: Arc<Trace>,
}

impl Get {
    pub fn run(self) -> Result<ExitCode> {
        let seen = self.source.open()?;
        let trace = seen.find(&self.id)?;
        let near = neighbours(&trace, &seen);
        if self.json {
            text::print_json(&GetJson {
                trace: TraceJson::of(&trace, &seen),
                links: near.iter().map(LinkJson::of).collect(),
            })?
        } else {
            text::print(&page(&trace, &near, &seen))?
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl LinkJson {
    fn of(Neighbour { link, trace }: &Neighbour) -> Self {
        Self {
            to: trace.id().to_string(),
            count: link.count(),
            associated: link.is_associated(),
            first_at: link.first_at(),
            last_at: link.last_at(),
        }
    }
}

/// The most co-activations first, then the latest.
fn neighbours(trace: &Trace, seen: &OpenedStore) -> Vec<Neighbour> {
    let links = seen.store.links(trace.id()).into_iter();
    let near = links.filter_map(|link| {
        let other = seen.store.get(link.other(trace.id())?)?;
        Some(Neighbour { link, trace: other })
    });
    let mut near: Vec<_> = near.collect();
    near.sort_by_key(|near| (Reverse((near.link.count(), near.link.last_at())), near.trace.id()));
    near
}

fn page(trace: &Trace, near: &[Neighbour], seen: &OpenedStore) -> String {
    let mut page = format!("{} {}\n\n", styled(BOLD, trace.trace_type()), styled(ID, trace.id()));
    let width = text::line_width();
    let room = width.saturating_sub(NAMES + 4).max(20);
    let indent = format!("\n{}", " ".repeat(NAMES + 4));
    for (name, value) in fields(trace, seen, room) {
        let value = wrapped(&value, room).join(&indent);
        page.push_str(&format!("  {}  {value}\n", styled(DIM, format!("{name:<NAMES$}"))));
    }
    page.push_str(&format!("\n{}\n", styled(BOLD, "payload")));
    for line in json::pretty(trace.payload().as_str()).lines() {
        page.push_str(&format!("  {line}\n"));
    }
    page.push_str(&links(near, seen, width));
    page
}

/// As long as the longest of the names below.
const NAMES: usize = 14;

/// What there is besides the payload and the links. No line that speaks of another trace is longer than `room`.
fn fields(trace: &Trace, seen: &OpenedStore, room: usize) -> Vec<(&'static str, String)> {
    let text = |text: Option<&str>| text.map_or("-".to_owned(), |text| harmless(text).into_owned());
    let tags: Vec<_> = trace.tags().map(|tag| harmless(tag)).collect();
    let marks = [
        (trace.is_unresolved(), "unresolved"),
        (trace.is_consolidation_candidate(), "consolidation candidate"),
        (trace.is_pinned(), "pinned"),
    ];
    let marks: Vec<_> = marks.iter().filter(|(has, _)| *has).map(|(_, mark)| *mark).collect();
    let list = |items: String| if items.is_empty() { "-".to_owned() } else { items };
    let strength = format!(
        "{} now, {} stored, {} at its peak",
        text::fraction(seen.store.strength(trace)),
        text::fraction(trace.strength()),
        text::fraction(trace.peak_strength()),
    );
    let emotion = format!("valence {}, intensity {}", trace.emotional_valence(), trace.emotional_intensity());
    let reinforced = match trace.reinforcement_count() {
        0 => "never".to_owned(),
        times => format!("{}, last at {}", count(u64::from(times), "time"), trace.last_reinforced()),
    };
    let fades = match trace.base_decay_rate() {
        0.0 => "never: rate 0".to_owned(),
        rate => format!("from {} on, rate {rate}", trace.last_reinforced()),
    };
    let children: Vec<_> = trace.children().iter().map(|id| relative(*id, seen, room)).collect();
    let mut fields = vec![
        ("partition", text(Some(trace.partition()))),
        ("tags", list(tags.join(", "))),
        ("strength", strength),
        ("fades", fades),
        ("reinforced", reinforced),
        ("decayed at", trace.last_decayed().to_string()),
        ("confidence", trace.confidence().to_string()),
        ("emotion", emotion),
        ("tier", trace.tier().to_string()),
        ("marks", list(marks.join(", "))),
        ("made at", trace.created_at().to_string()),
        ("origin", trace.origin().to_string()),
        ("source agent", text(trace.source_agent())),
        ("parent", trace.parent().map_or("-".to_owned(), |id| relative(id, seen, room))),
        ("children", list(children.join("\n"))),
        ("encryption key", text(trace.encryption_key_id())),
        ("embedding", trace.embedding().map_or("-".to_owned(), vector)),
        ("revision", trace.revision().to_string()),
    ];
    fields.extend(trace.valid_until().map(|end| ("valid until", end.to_string())));
    fields.extend(trace.superseded_by().map(|id| ("superseded by", relative(id, seen, room))));
    fields
}

/// How many numbers it has, and the first of them.
fn vector(numbers: &[f32]) -> String {
    const SHOWN: usize = 4;
    let first: Vec<_> = numbers.iter().take(SHOWN).map(f32::to_string).collect();
    let rest = if numbers.len() > SHOWN { ", …" } else { "" };
    format!("{}: {}{rest}", count(numbers.len() as u64, "number"), first.join(", "))
}

/// A trace that is spoken of, which need not be in the store.
fn relative(id: TraceId, seen: &OpenedStore, room: usize) -> String {
    let line = match seen.store.get(id) {
        Some(trace) => format!("{id}  {}", trace::preview(&trace)),
        None => format!("{id}  (not in the store)"),
    };
    text::cut(&line, room).into_owned()
}

/// Its lines, broken between words where they are longer than `room`.
fn wrapped(value: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in value.lines() {
        if text::width(line) <= room {
            lines.push(line.to_owned());
            continue;
        }
        let mut broken = String::new();
        for word in line.split(' ') {
            if !broken.is_empty() && text::width(&broken) + 1 + text::width(word) > room {
                lines.push(std::mem::take(&mut broken));
            }
            if !broken.is_empty() {
                broken.push(' ');
            }
            broken.push_str(word);
        }
        lines.push(broken);
    }
    lines
}

fn links(near: &[Neighbour], seen: &OpenedStore, width: usize) -> String {
    const SHOWN: usize = 20;
    if near.is_empty() {
        return format!("\n{}  none", styled(BOLD, "links"));
    }
    let associated = near.iter().filter(|near| near.link.is_associated()).count();
    let mut columns = Columns::new([
        Column::right("count"),
        Column::right("strength"),
        Column::left("last"),
        Column::left("id").style(ID),
        Column::left("payload"),
    ]);
    let digits = seen.digits(near.iter().take(SHOWN).map(|near| &*near.trace));
    for Neighbour { link, trace } in near.iter().take(SHOWN) {
        columns.row([
            number(u64::from(link.count())),
            text::fraction(seen.store.strength(trace)),
            trace::minute(link.last_at()),
            digits.of(trace.id()),
            trace::preview(trace),
        ]);
    }
    let mut text = format!(
        "\n{}  {}, of which {} associate (3 times or more)\n{}",
        styled(BOLD, "links"),
        number(near.len() as u64),
        number(associated as u64),
        columns.show(Some(width)),
    );
    if near.len() > SHOWN {
        let more = number((near.len() - SHOWN) as u64);
        text.push_str(&format!("\n  and {more} more: --json shows all"));
    }
    text
}
