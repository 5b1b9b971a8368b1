//! The dashboard of `examples/memory-service` shows what a store publishes: every metric, by its right name, and nothing else.
#![cfg(all(feature = "metrics", feature = "sqlite", feature = "testkit"))]

use crate::listener::Listener;
use harness::Outcome;
use mnemon::TraceStore;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn dashboard() -> Outcome<Value> {
    Ok(serde_json::from_str(include_str!("../../examples/memory-service/grafana.json"))?)
}

fn list<'a>(value: &'a Value, name: &str) -> Outcome<&'a [Value]> {
    Ok(value[name].as_array().ok_or_else(|| format!("no list {name} in {value}"))?)
}

fn text<'a>(value: &'a Value, name: &str) -> Outcome<&'a str> {
    Ok(value[name].as_str().ok_or_else(|| format!("no text {name} in {value}"))?)
}

/// What stands in a text from each of these on to where it ends.
fn pieces<'a>(text: &'a str, begin: &str, ends: impl Fn(char) -> bool) -> Vec<&'a str> {
    let places = text.match_indices(begin).map(|(at, _)| &text[at..]);
    places.map(|from| from.split(&ends).next().unwrap_or(from)).collect()
}

/// The metrics that an expression names.
fn metrics(expression: &str) -> Vec<&str> {
    pieces(expression, "mnemon_", |letter| !(letter.is_ascii_alphanumeric() || letter == '_'))
}

/// Each expression, with its panel.
fn expressions(dashboard: &Value) -> Outcome<Vec<(&Value, &Value)>> {
    let mut all = Vec::new();
    for panel in list(dashboard, "panels")? {
        let targets = list(panel, "targets")?;
        assert!(!targets.is_empty(), "{panel}");
        all.extend(targets.iter().map(|target| (panel, target)));
    }
    Ok(all)
}

fn published() -> Listener {
    let listener = Listener::default();
    listener.listen(&TraceStore::in_memory());
    listener
}

#[test]
fn dashboard_shows_exactly_published_metrics() -> Outcome {
    let dashboard = dashboard()?;
    let mut shown = BTreeSet::new();
    for (_, target) in expressions(&dashboard)? {
        let named = metrics(text(target, "expr")?);
        assert!(!named.is_empty(), "{target}");
        shown.extend(named.into_iter().map(str::to_owned));
    }
    let published = published().published();
    assert_eq!(shown, published.keys().cloned().collect());
    Ok(())
}

#[test]
fn counters_are_rates_of_chosen_stores() -> Outcome {
    let (dashboard, published) = (dashboard()?, published());
    let kinds: BTreeMap<_, _> = published.published();
    for (_, target) in expressions(&dashboard)? {
        let expression = text(target, "expr")?;
        for metric in metrics(expression) {
            let chosen = format!("{metric}{{store=~\"$store\"}}");
            assert!(expression.contains(&chosen), "{expression}");
            let rate = format!("rate({chosen}[$__rate_interval])");
            let grows = kinds.get(metric) == Some(&"counter") || metric == "mnemon_flush_time_seconds";
            assert_eq!(expression.contains(&rate), grows, "{expression}");
        }
        let labels = metrics(expression).into_iter().map(|metric| published.labels(metric));
        let known: BTreeSet<_> = labels.flatten().collect();
        let legend = text(target, "legendFormat")?;
        for label in pieces(legend, "{{", |letter| letter == '}') {
            assert!(known.contains(&label[2..]), "{legend}");
        }
        assert!(legend.contains("{{store}}"), "{legend}");
    }
    Ok(())
}

#[test]
fn panels_have_title_unit_and_source() -> Outcome {
    let dashboard = dashboard()?;
    let (mut ids, mut titles, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "panels")? {
        assert!(ids.insert(panel["id"].as_u64().ok_or("no id")?), "{panel}");
        assert!(titles.insert(text(panel, "title")?), "{panel}");
        assert!(!text(panel, "description")?.is_empty(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let unit = text(&panel["fieldConfig"]["defaults"], "unit")?;
        let seconds = list(panel, "targets")?
            .iter()
            .any(|target| target["expr"].as_str().is_some_and(|expression| expression.contains("_seconds{")));
        assert_eq!(unit == "s", seconds, "{panel}");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64());
        let (Some(x), Some(y), Some(w), Some(h)) = (x, y, w, h) else { return Err("no place".into()) };
        assert!(w > 0 && h > 0 && x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(places.insert(cell), "two panels in one place: {panel}");
        }
    }
    let variables = list(&dashboard["templating"], "list")?.iter().map(|variable| text(variable, "name"));
    assert_eq!(variables.collect::<Outcome<Vec<_>>>()?, ["datasource", "store"]);
    let stores = &list(&dashboard["templating"], "list")?[1]["query"]["query"];
    assert_eq!(stores, "label_values(mnemon_traces, store)");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(39));
    Ok(())
}
