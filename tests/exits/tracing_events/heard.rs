//! A subscriber that keeps what it hears, and the guide's tables to compare that with.

use harness::{Outcome, manual_flush};
use mnemon::StoreBuilder;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// An event, or a span that has ended.
#[derive(Clone, Debug)]
pub struct Said {
    pub level: Level,
    pub target: &'static str,
    /// The message, or the name.
    pub what: String,
    pub is_span: bool,
    pub fields: Map<String, Value>,
    /// The fields that it may have.
    declared: BTreeSet<&'static str>,
    /// The names of the spans around it, the innermost first.
    pub within: Vec<&'static str>,
    /// Which store it speaks of: as it says itself, or one of these spans.
    pub partition: Option<String>,
}

static SAID: Mutex<Vec<Said>> = Mutex::new(Vec::new());

pub fn said() -> MutexGuard<'static, Vec<Said>> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Listening;

/// Values as they come: numbers as numbers.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), json!(value));
    }
}

impl Listening {
    fn note<S: Subscriber + for<'a> LookupSpan<'a>>(
        what: String,
        metadata: &'static Metadata<'static>,
        fields: Map<String, Value>,
        around: Option<tracing_subscriber::registry::Scope<'_, S>>,
    ) {
        let (mut within, mut partition) = (Vec::new(), fields.get("partition").cloned());
        for span in around.into_iter().flatten() {
            within.push(span.name());
            let extensions = span.extensions();
            let outer = extensions.get::<Fields>().and_then(|fields| fields.0.get("partition").cloned());
            partition = partition.or(outer);
        }
        let partition = partition.and_then(|name| name.as_str().map(str::to_owned));
        said().push(Said {
            level: *metadata.level(),
            target: metadata.target(),
            what,
            is_span: metadata.is_span(),
            fields,
            declared: metadata
                .fields()
                .iter()
                .map(|field| field.name())
                .filter(|n| *n != "message")
                .collect(),
            within,
            partition,
        });
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listening {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let fields = span.extensions().get::<Fields>().map(|fields| fields.0.clone()).unwrap_or_default();
        let around = span.parent().map(|parent| parent.scope());
        Self::note(span.name().to_owned(), span.metadata(), fields, around);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let message = fields.remove("message").unwrap_or_default();
        let message = message.as_str().unwrap_or_default().to_owned();
        Self::note(message, event.metadata(), fields, context.event_scope(event));
    }
}

/// A builder whose store is known by this name, and flushes when it is asked to.
pub fn heard(name: &str) -> StoreBuilder {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let listening = tracing_subscriber::registry().with(Listening);
        assert!(tracing::subscriber::set_global_default(listening).is_ok(), "it is the only one");
    });
    manual_flush().partition(name)
}

/// What was said of this store; all of it is documented.
pub fn said_of(name: &str) -> Vec<Said> {
    let all: Vec<_> = said().iter().filter(|said| said.partition.as_deref() == Some(name)).cloned().collect();
    for said in &all {
        assert!(said.target.starts_with("mnemon::"), "{said:?}");
        let documented = documented(&said.what).unwrap_or_else(|| panic!("not in the guide: {said:?}"));
        assert!(documented.levels.contains(&said.level), "the guide has another level: {said:?}");
        let declared: BTreeSet<_> =
            said.declared.difference(&BTreeSet::from(["path", "partition"])).copied().collect();
        assert_eq!(declared, documented.fields, "the guide has other fields: {}", said.what);
        let names_its_store = said.declared.contains("path") || !said.within.is_empty();
        assert!(names_its_store, "which store is it? {said:?}");
    }
    all
}

/// Those of them that an operator sees.
pub fn told(said: &[Said]) -> Vec<(Level, &str)> {
    let told = said.iter().filter(|said| said.level <= Level::INFO);
    told.map(|said| (said.level, said.what.as_str())).collect()
}

pub fn spans<'a>(said: &'a [Said], name: &str) -> Vec<&'a Said> {
    said.iter().filter(|said| said.is_span && said.what == name).collect()
}

pub fn events<'a>(said: &'a [Said], level: Level, message: &str) -> Vec<&'a Said> {
    said.iter().filter(|said| !said.is_span && said.level == level && said.what == message).collect()
}

/// The one of its kind.
pub fn only<'a>(found: &[&'a Said]) -> Outcome<&'a Said> {
    match found {
        [one] => Ok(one),
        _ => Err(format!("{} of them: {found:?}", found.len()).into()),
    }
}

/// A row of the guide's tables.
pub struct Documented {
    levels: BTreeSet<Level>,
    pub fields: BTreeSet<&'static str>,
}

/// A span's row has its name, what it is around, its fields; an event's its levels, its message, when, its fields.
pub fn documented(what: &str) -> Option<Documented> {
    const GUIDE: &str = include_str!("../../../src/guide/operating.md");
    GUIDE.lines().filter(|line| line.starts_with('|')).find_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let quoted = |cell: &'static str| -> BTreeSet<_> { cell.split('`').skip(1).step_by(2).collect() };
        match cells[..] {
            [name, _, fields] if name.trim_matches('`') == what => {
                Some(Documented { levels: [Level::DEBUG].into(), fields: quoted(fields) })
            }
            [levels, message, _, fields] if message == what => {
                let levels = levels.split(", then ").filter_map(|level| level.parse().ok()).collect();
                Some(Documented { levels, fields: quoted(fields) })
            }
            _ => None,
        }
    })
}

pub fn number(said: &Said, field: &str) -> Outcome<u64> {
    Ok(said.fields[field].as_u64().ok_or_else(|| format!("{field} is no whole number: {said:?}"))?)
}

/// A time is a number with a fraction, and not negative.
pub fn milliseconds(said: &Said, field: &str) -> Outcome<f64> {
    let value = &said.fields[field];
    let time = value.as_f64().filter(|time| value.is_f64() && *time >= 0.0);
    Ok(time.ok_or_else(|| format!("{field} is no time: {said:?}"))?)
}
