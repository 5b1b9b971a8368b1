//! A recorder of the facade `metrics` that remembers what it is told.
#![cfg(all(feature = "metrics", feature = "sqlite", feature = "testkit"))]

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use mnemon::TraceStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a metric was described as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    pub kind: &'static str,
    pub unit: Option<Unit>,
    pub help: String,
}

/// A name, and its labels in order.
type Name = (String, Vec<(String, String)>);

enum Value {
    Gauge(Arc<AtomicU64>),
    Counter(Arc<AtomicU64>),
}

#[derive(Default)]
struct Heard {
    described: BTreeMap<String, Described>,
    values: BTreeMap<Name, Value>,
}

#[derive(Default)]
pub struct Listener(Mutex<Heard>);

impl Listener {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the store publishes now, on top of what was heard before.
    pub fn listen(&self, store: &TraceStore) {
        metrics::with_local_recorder(self, || store.publish_metrics());
    }

    pub fn described(&self) -> BTreeMap<String, Described> {
        self.heard().described.clone()
    }

    /// The names of what was published, each with the kind it was published as.
    pub fn published(&self) -> BTreeMap<String, &'static str> {
        let kind = |value: &Value| match value {
            Value::Gauge(_) => "gauge",
            Value::Counter(_) => "counter",
        };
        self.heard().values.iter().map(|((name, _), value)| (name.clone(), kind(value))).collect()
    }

    /// The labels that a metric bears.
    pub fn labels(&self, metric: &str) -> BTreeSet<String> {
        let heard = self.heard();
        let series = heard.values.keys().filter(|(name, _)| name == metric);
        series.flat_map(|(_, labels)| labels.iter().map(|(label, _)| label.clone())).collect()
    }

    /// The value of a store's metric that has just these labels more.
    pub fn value(&self, store: &str, metric: &str, labels: &[(&str, &str)]) -> Result<f64, String> {
        let mut wanted = labels.to_vec();
        wanted.push(("store", store));
        wanted.sort_unstable();
        let wanted = wanted.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
        let name = (metric.to_owned(), wanted);
        match self.heard().values.get(&name) {
            Some(Value::Gauge(bits)) => Ok(f64::from_bits(bits.load(Ordering::Relaxed))),
            Some(Value::Counter(count)) => Ok(count.load(Ordering::Relaxed) as f64),
            None => Err(format!("{name:?} was not published")),
        }
    }

    fn describe(&self, kind: &'static str, name: KeyName, unit: Option<Unit>, help: SharedString) {
        let described = Described { kind, unit, help: help.into_owned() };
        self.heard().described.insert(name.as_str().to_owned(), described);
    }
}

fn name(key: &Key) -> Name {
    let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    (key.name().to_owned(), labels)
}

impl Recorder for Listener {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("counter", name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("gauge", name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("histogram", name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut heard = self.heard();
        let value = heard.values.entry(name(key)).or_insert_with(|| Value::Counter(Arc::default()));
        match value {
            Value::Counter(count) => Counter::from_arc(count.clone()),
            Value::Gauge(_) => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut heard = self.heard();
        let value = heard.values.entry(name(key)).or_insert_with(|| Value::Gauge(Arc::default()));
        match value {
            Value::Gauge(bits) => Gauge::from_arc(bits.clone()),
            Value::Counter(_) => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
