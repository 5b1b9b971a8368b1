//! Figures: a line to read for each, and one JSON object a line in the file that `BENCH_JSON` names.

use crate::{Outcome, is_quick};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;

/// Which way is good.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    Less,
    More,
}

/// One of them. With a peer `value` is ours, and `ratio` is ours to theirs; a target is for the ratio if there is
/// one, else for the value.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Figure {
    pub bench: String,
    pub case: String,
    pub metric: String,
    pub value: f64,
    pub unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    pub better: Better,
}

impl Figure {
    /// Less is better, unless said otherwise.
    pub fn new(case: impl Into<String>, metric: &str, value: f64, unit: &str) -> Self {
        Self {
            bench: String::new(),
            case: case.into(),
            metric: metric.to_owned(),
            value,
            unit: unit.to_owned(),
            peer: None,
            ratio: None,
            target: None,
            better: Better::Less,
        }
    }

    pub fn beside(mut self, peer: impl Into<String>, ratio: f64) -> Self {
        (self.peer, self.ratio) = (Some(peer.into()), Some(ratio));
        self
    }

    pub fn target(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    pub fn more_is_better(mut self) -> Self {
        self.better = Better::More;
        self
    }

    /// Whether another run may have said it.
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        let key = |of: &Self| {
            [&of.bench, &of.case, &of.metric, of.peer.as_ref().unwrap_or(&of.unit)].map(String::clone)
        };
        key(self) == key(other)
    }

    /// What a target is for.
    pub fn measured(&self) -> f64 {
        self.ratio.unwrap_or(self.value)
    }

    /// Whether the target is met, if there is one.
    pub fn is_met(&self) -> Option<bool> {
        let measured = self.measured();
        self.target.map(|target| match self.better {
            Better::Less => measured <= target,
            Better::More => measured >= target,
        })
    }
}

/// Where the figures of one benchmark go.
pub struct Figures {
    bench: &'static str,
    file: Option<File>,
}

impl Figures {
    pub fn of(bench: &'static str) -> Outcome<Self> {
        let path = std::env::var_os("BENCH_JSON");
        let file = path.map(|path| OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        if is_quick() {
            println!("{bench}: a quick try, no measurement");
        }
        Ok(Self { bench, file })
    }

    pub fn say(&mut self, figure: Figure) -> Outcome {
        let figure = Figure { bench: self.bench.to_owned(), ..figure };
        let Figure { case, metric, value, unit, .. } = &figure;
        print!("{case:<52} {metric:<12} {:>12} {unit:<10}", digits(*value));
        if let (Some(peer), Some(ratio)) = (&figure.peer, figure.ratio) {
            print!(" {ratio:>9.2} of {peer}");
        }
        if let (Some(target), Some(met)) = (figure.target, figure.is_met()) {
            let sign = if figure.better == Better::Less { "<=" } else { ">=" };
            print!("  (target {sign} {target}: {})", if met { "met" } else { "missed" });
        }
        println!();
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", serde_json::to_string(&figure)?)?;
        }
        Ok(())
    }
}

fn digits(value: f64) -> String {
    if value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
