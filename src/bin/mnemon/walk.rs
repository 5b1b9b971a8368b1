//! `mnemon walk`: what one trace leads to over associations, as a tree.

use crate::DONE;
use crate::columns::{Column, Columns};
use crate::opened_store::{self, Digits, IdPrefix, OpenedStore, Source};
use crate::text::{self, DIM, number, styled};
use crate::trace::{self, TraceJson};
use anyhow::Result;
use clap::Args;
use mnemon::{Step, Trace, TraceId};
use serde::Serialize;
use std::collections::HashMap;
use std::process::ExitCode;

/// Walk from one trace to what it is associated with.
///
/// Each trace is shown once, where the fewest hops lead to it, below the one it was reached from. Two traces are
/// associated that were active together 3 times or more; `count` says how often they were.
#[derive(Args)]
#[command(after_help = DONE)]
pub struct Walk {
    #[command(flatten)]
    source: Source,
    /// Where to begin: an id, or 8 or more of the hex digits that it begins or ends with.
    id: IdPrefix,
    /// At most so many associations away.
    #[arg(long, value_name = "N", default_value_t = 12)]
    hops: usize,
    /// What is weaker is neither shown nor passed, 0 to 1.
    #[arg(long, value_name = "S", default_value_t = 0.1, value_parser = opened_store::strength)]
    min_strength: f64,
    /// At most so many traces, the nearest.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Whole ids and whole payloads, however long the lines; JSON has both anyway.
    #[arg(long)]
    full: bool,
    /// One JSON object a line, the nearest first.
    #[arg(long)]
    json: bool,
}

/// The trace's fields, and how it was reached.
#[derive(Serialize)]
struct StepJson<'a> {
    depth: usize,
    /// Of the last association on the way.
    count: u32,
    path: Vec<String>,
    #[serde(flatten)]
    trace: TraceJson<'a>,
}

impl Walk {
    pub fn run(self) -> Result<ExitCode> {
        let seen = self.source.open()?;
        let start = seen.find(&self.id)?;
        let mut walk = seen.store.walk(start.id(), self.hops, self.min_strength);
        let steps: Vec<_> = walk.by_ref().take(self.limit).collect();
        if self.json {
            text::print_json_lines(steps.iter().map(|step| StepJson {
                depth: step.depth,
                count: count(step, &seen),
                path: walk.path(step.trace.id()).iter().map(TraceId::to_string).collect(),
                trace: TraceJson::of(&step.trace, &seen),
            }))?
        } else {
            text::print(&self.page(&start, &steps, walk.next().is_none(), &seen))?
        }
        Ok(ExitCode::SUCCESS)
    }

    fn page(&self, start: &Trace, steps: &[Step], is_all: bool, seen: &OpenedStore) -> String {
        let line = (!self.full).then(text::line_width);
        let mut table =
            Columns::new([Column::right("strength"), Column::right("count"), Column::left("trace")]);
        let shown = steps.iter().map(|step| &*step.trace).chain([start]);
        let digits = if self.full { Digits::ALL } else { seen.digits(shown) };
        let said = |trace: &Trace| if self.full { trace::whole(trace) } else { trace::preview(trace) };
        let cell = |tree: &str, trace: &Trace| format!("{tree}{}  {}", digits.of(trace.id()), said(trace));
        let strength = |trace: &Trace| text::fraction(seen.store.strength(trace));
        table.row([strength(start), String::new(), cell("", start)]);
        for Branch { step, tree } in branches(start.id(), steps, line.map_or(MOST_LEVELS, levels)) {
            table.row([
                strength(&step.trace),
                number(u64::from(count(step, seen))),
                cell(&tree, &step.trace),
            ]);
        }
        let shown = text::count(steps.len() as u64, "trace");
        let summary = match (steps, is_all) {
            ([], true) => format!("nothing as strong as {} is associated with it", self.min_strength),
            (_, true) => shown,
            (_, false) => format!("the nearest {shown}; there are more: --limit"),
        };
        let table = table.show(line);
        format!("{table}\n{}", styled(DIM, format!("  {summary}")))
    }
}

/// How often the last two of the way were active together.
fn count(step: &Step, seen: &OpenedStore) -> u32 {
    seen.store.link(step.from, step.trace.id()).map_or(0, |link| link.count())
}

/// How many levels of the tree are drawn however long the line is: a walk may be thousands deep.
const MOST_LEVELS: usize = 40;

/// How many of them leave room for a trace in a line of so many columns.
fn levels(line: usize) -> usize {
    (line.saturating_sub(40) / 3).clamp(4, MOST_LEVELS)
}

/// A line of the tree.
struct Branch<'a> {
    step: &'a Step,
    /// What is drawn before it.
    tree: String,
}

/// Each below the one it was reached from, with all that was reached from it right after it. What is more than `levels`
/// deep has its depth in place of its place in the tree.
fn branches(start: TraceId, steps: &[Step], levels: usize) -> Vec<Branch<'_>> {
    let mut below: HashMap<TraceId, Vec<&Step>> = HashMap::new();
    for step in steps {
        below.entry(step.from).or_default().push(step);
    }
    let mut branches = Vec::with_capacity(steps.len());
    let mut next = |of: TraceId, tree: &str| {
        let steps = below.remove(&of).unwrap_or_default();
        let last = steps.len().saturating_sub(1);
        let drawn = |(at, step)| (step, tree.to_owned(), at == last);
        steps.into_iter().enumerate().map(drawn).rev().collect::<Vec<_>>()
    };
    // What is still to be drawn, the next one last: a way may be long, and a stack is not.
    let mut ahead = next(start, "");
    while let Some((step, tree, is_last)) = ahead.pop() {
        let (corner, beside) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let (tree, beside) = if step.depth <= levels {
            (format!("{tree}{corner}"), format!("{tree}{beside}"))
        } else {
            (format!("{} away: ", number(step.depth as u64)), String::new())
        };
        branches.push(Branch { step, tree });
        ahead.extend(next(step.trace.id(), &beside));
    }
    branches
}
