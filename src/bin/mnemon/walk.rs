//! `mnemon walk`: what one trace leads to over associations, as a tree.

use crate::DONE;
use crate::columns::{Column, Columns};
use crate::seen::{self, Digits, Seen, Source, Wanted};
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
    /// Where to begin: an id, or 8 or more of the hex digits that it begins with.
    id: Wanted,
    /// At most so many associations away.
    #[arg(long, value_name = "N", default_value_t = 12)]
    hops: usize,
    /// What is weaker is neither shown nor passed, 0 to 1.
    #[arg(long, value_name = "S", default_value_t = 0.1, value_parser = seen::strength)]
    min_strength: f64,
    /// At most so many traces, the nearest.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Whole ids and whole payloads, however long the lines.
    #[arg(long, conflicts_with = "json")]
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
        let mut steps = seen.store.walk(start.id(), self.hops, self.min_strength);
        let all = steps.len();
        steps.truncate(self.limit);
        match self.json {
            true => text::say_json_lines(steps.iter().map(|step| StepJson {
                depth: step.depth,
                count: count(step, &seen),
                path: step.path.iter().map(TraceId::to_string).collect(),
                trace: TraceJson::of(&step.trace, &seen),
            }))?,
            false => text::say(&self.page(&start, &steps, all, &seen))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn page(&self, start: &Trace, steps: &[Step], all: usize, seen: &Seen) -> String {
        let mut table =
            Columns::new([Column::right("strength"), Column::right("count"), Column::left("trace")]);
        let shown = steps.iter().map(|step| &*step.trace).chain([start]);
        let digits = if self.full { Digits::ALL } else { seen.digits(shown) };
        let said = |trace: &Trace| if self.full { trace::whole(trace) } else { trace::preview(trace) };
        let cell = |tree: &str, trace: &Trace| format!("{tree}{}  {}", digits.of(trace.id()), said(trace));
        let strength = |trace: &Trace| text::fraction(seen.store.strength(trace));
        table.row([strength(start), String::new(), cell("", start)]);
        for Branch { step, tree } in branches(start.id(), steps) {
            table.row([
                strength(&step.trace),
                number(u64::from(count(step, seen))),
                cell(&tree, &step.trace),
            ]);
        }
        let summary = match (all, steps.len() == all) {
            (0, _) => format!("nothing as strong as {} is associated with it", self.min_strength),
            (_, true) => text::count(all as u64, "trace"),
            (_, false) => {
                format!("the nearest {} of {}", number(steps.len() as u64), text::count(all as u64, "trace"))
            }
        };
        let table = table.show((!self.full).then(text::line_width));
        format!("{table}\n{}", styled(DIM, format!("  {summary}")))
    }
}

/// How often the last two of the way were active together.
fn count(step: &Step, seen: &Seen) -> u32 {
    match step.path[..] {
        [.., before, last] => seen.store.link(before, last).map_or(0, |link| link.count()),
        _ => 0,
    }
}

/// A line of the tree.
struct Branch<'a> {
    step: &'a Step,
    /// What is drawn before it.
    tree: String,
}

/// Each below the one it was reached from, with all that was reached from it right after it.
fn branches(start: TraceId, steps: &[Step]) -> Vec<Branch<'_>> {
    let mut below: HashMap<TraceId, Vec<&Step>> = HashMap::new();
    for step in steps {
        if let [.., before, _] = step.path[..] {
            below.entry(before).or_default().push(step);
        }
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
        branches.push(Branch { step, tree: format!("{tree}{corner}") });
        ahead.extend(next(step.trace.id(), &format!("{tree}{beside}")));
    }
    branches
}
