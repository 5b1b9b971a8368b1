//! `mnemon list`: which traces there are, narrowed and in order.

use crate::DONE;
use crate::columns::{Column, Columns};
use crate::opened_store::{self, Digits, OpenedStore, Source};
use crate::text::{self, DIM, ID, harmless, number, styled};
use crate::trace::{self, TraceJson};
use anyhow::Result;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use mnemon::{Order, Ranked, Tier, Trace, TraceId, TraceType};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;

/// List traces: which, in what order, how many.
///
/// Every condition given must be met.
#[derive(Args)]
#[command(visible_alias = "query", after_help = DONE)]
pub struct List {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    filter: Filter,
    /// What comes first.
    #[arg(long, value_enum, default_value_t = By::Strength)]
    order: By,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Whole ids and whole payloads, however long the lines; JSON has both anyway.
    #[arg(long)]
    full: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Which traces.
#[derive(Args)]
struct Filter {
    /// Of this type; given more than once, of any of them.
    #[arg(long = "type", value_name = "TYPE",
        value_parser = opened_store::named::<TraceType>(TraceType::ALL.iter().map(|kind| kind.as_str())))]
    types: Vec<TraceType>,
    /// With this very tag; given more than once, with all of them.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// With one of these tags, separated by commas.
    #[arg(long = "any-tag", value_name = "TAGS", value_delimiter = ',')]
    any_tags: Vec<String>,
    /// Without this tag; given more than once, with none of them.
    #[arg(long = "no-tag", value_name = "TAG")]
    no_tags: Vec<String>,
    /// Derived from this trace.
    #[arg(long, value_name = "ID")]
    parent: Option<TraceId>,
    /// Of this partition.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// In this tier; given more than once, in any of them.
    #[arg(long = "tier", value_name = "TIER",
        value_parser = opened_store::named::<Tier>(Tier::ALL.iter().map(|tier| tier.as_str())))]
    tiers: Vec<Tier>,
    /// At least so strong, 0 to 1.
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = opened_store::strength)]
    min_strength: f64,
    /// Made then or later: a time, or a day.
    #[arg(long, value_name = "TIME", value_parser = opened_store::from)]
    since: Option<Timestamp>,
    /// Made then or earlier: a time, or a day with its end.
    #[arg(long, value_name = "TIME", value_parser = opened_store::to)]
    until: Option<Timestamp>,
    /// Of which something is still open.
    #[arg(long)]
    unresolved: bool,
    /// Include traces that are not valid now, or at the time given with --at.
    #[arg(long)]
    include_invalid: bool,
}

/// The library's [`Order`], for the command line.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The strongest.
    Strength,
    /// The most recently reinforced.
    Recency,
    /// The highest score: strength × recency × emotion.
    Score,
    /// The most recently created.
    Created,
}

/// The trace's fields, and its score where that is the order.
#[derive(Serialize)]
struct ListJson<'a> {
    #[serde(flatten)]
    trace: TraceJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    /// Its base-2 logarithm, which tells scores apart that are 0 as numbers; null for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_score: Option<f64>,
}

impl List {
    pub fn run(self) -> Result<ExitCode> {
        let seen = self.source.open()?;
        let mut found = self.filter.find(&seen, self.order);
        let all = found.len();
        found.truncate(self.limit);
        if self.json {
            text::print_json_lines(found.iter().map(|trace| {
                let ranked = if self.order == By::Score { ranked(trace, &seen) } else { None };
                let (score, log_score) = ranked.map(|ranked| (ranked.score, ranked.log_score)).unzip();
                ListJson { trace: TraceJson::of(trace, &seen), score, log_score }
            }))?
        } else {
            text::print(&self.page(&found, all, &seen))?
        }
        Ok(ExitCode::SUCCESS)
    }

    fn page(&self, found: &[Arc<Trace>], all: usize, seen: &OpenedStore) -> String {
        let (shown, stored) = (found.len(), seen.store.len());
        let [shown_number, all_number, stored_number] = [shown, all, stored].map(|n| number(n as u64));
        if all == 0 {
            return format!("None of {stored_number} traces meets the conditions.");
        }
        let summary = match (shown == all, all == stored) {
            (true, true) => format!("all {stored_number} traces"),
            (false, true) => format!("{shown_number} of {stored_number} traces"),
            (true, false) => format!("{all_number} found among {stored_number} traces"),
            (false, false) => {
                format!("{shown_number} of the {all_number} found among {stored_number} traces")
            }
        };
        format!("{}\n{}", self.table(found, seen), styled(DIM, format!("  {summary}")))
    }

    fn table(&self, found: &[Arc<Trace>], seen: &OpenedStore) -> String {
        const WIDE: usize = 100;
        let line = text::line_width();
        let is_wide = self.full || line >= WIDE;
        let weight = if self.order == By::Score { "score" } else { "strength" };
        let time = if self.order == By::Recency { "reinforced" } else { "made" };
        let mut columns = vec![
            Column::left("id").style(ID),
            Column::left("type"),
            Column::right(weight),
            Column::left(time),
        ];
        if is_wide {
            columns.push(Column::left("tags"));
        }
        columns.push(Column::left("payload"));
        let mut table = Columns::new(columns);
        let digits = if self.full { Digits::ALL } else { seen.digits(found.iter().map(|trace| &**trace)) };
        let weights = match self.order {
            By::Score => {
                let log = |trace: &Arc<Trace>| {
                    ranked(trace, seen).map_or(f64::NEG_INFINITY, |ranked| ranked.log_score)
                };
                text::scores(&found.iter().map(log).collect::<Vec<_>>())
            }
            By::Strength | By::Recency | By::Created => {
                found.iter().map(|trace| text::fraction(seen.store.strength(trace))).collect()
            }
        };
        for (trace, weight) in found.iter().zip(weights) {
            let at = if self.order == By::Recency { trace.last_reinforced() } else { trace.created_at() };
            let mut cells = vec![
                digits.of(trace.id()),
                trace.trace_type().to_string(),
                weight,
                if is_wide || self.order == By::Recency { trace::minute(at) } else { trace::day(at) },
            ];
            if is_wide {
                cells.push(self.tags(trace));
            }
            cells.push(if self.full { trace::whole(trace) } else { trace::preview(trace) });
            table.row(cells);
        }
        table.show((!self.full).then_some(line))
    }

    fn tags(&self, trace: &Trace) -> String {
        const COLUMNS: usize = 24;
        let tags: Vec<_> = trace.tags().map(harmless).collect();
        let tags = tags.join(" ");
        if self.full { tags } else { text::cut(&tags, COLUMNS).into_owned() }
    }
}

/// By itself: nothing else is associated with it.
fn ranked(trace: &Trace, seen: &OpenedStore) -> Option<Ranked> {
    seen.store.rank([trace.id()]).pop()
}

impl Filter {
    /// All of them, in order.
    fn find(&self, seen: &OpenedStore, order: By) -> Vec<Arc<Trace>> {
        let order = match order {
            By::Strength => Order::Strength,
            By::Recency => Order::Recency,
            By::Score => Order::Score,
            By::Created => Order::Created,
        };
        let mut query = seen.store.query().order(order).min_strength(self.min_strength);
        for kind in &self.types {
            query = query.of_type(*kind);
        }
        if !self.any_tags.is_empty() {
            query = query.tagged_any(self.any_tags.iter().map(|tag| tag.as_str()));
        }
        for tag in &self.no_tags {
            query = query.untagged(tag.as_str());
        }
        if let Some(parent) = self.parent {
            query = query.parent(parent);
        }
        for tag in &self.tags {
            query = query.tagged(tag.as_str());
        }
        for tier in &self.tiers {
            query = query.tier(*tier);
        }
        if let Some(partition) = &self.partition {
            query = query.partition(partition.as_str());
        }
        if let Some(since) = self.since {
            query = query.since(since);
        }
        if let Some(until) = self.until {
            query = query.until(until);
        }
        if self.unresolved {
            query = query.unresolved(true);
        }
        if self.include_invalid {
            query = query.include_invalid();
        }
        query.run()
    }
}
