//! The program, run as a process in a folder of its own; and a store for it to look at, the same each time.

use assert_cmd::Command;
use harness::{Outcome, by_id};
use mnemon::{Link, ManualClock, NewTrace, Origin, Payload, Tier, Trace, TraceId, TraceStore, TraceType};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Two hours after the store was made.
pub const AT: &str = "--at 2026-01-01T02:00:00Z";

/// Records to ingest, wherever the program runs.
pub const SAMPLE: &str = "examples/sample.jsonl";

pub fn sample_records() -> Outcome<u64> {
    Ok(fs::read_to_string(SAMPLE)?.lines().count() as u64)
}

/// A folder for the program's files.
pub struct TestDir(TempDir);

/// What a run of the program ended with.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The JSON object that it ends with.
    pub fn json(&self) -> Outcome<Value> {
        let last = self.stdout.lines().last().ok_or_else(|| format!("nothing on stdout: {self:?}"))?;
        Ok(serde_json::from_str(last).map_err(|error| format!("{error}: {self:?}"))?)
    }

    #[track_caller]
    pub fn warned(&self, expected: &str) {
        assert!(
            self.stderr.lines().any(|line| line.starts_with(expected)),
            "no {expected:?} in {}",
            self.stderr
        );
    }

    /// All of it, for a person to look at: exit code, both outputs, and no figure that differs each time.
    pub fn shown(&self, place: &TestDir) -> String {
        let tidy = |text: &str| {
            let text = text.replace(&*place.0.path().to_string_lossy(), "[folder]");
            text.lines().map(without_time).collect::<Vec<_>>().join("\n")
        };
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        format!("exit code {code}\n--- out\n{}\n--- err\n{}", tidy(&self.stdout), tidy(&self.stderr))
    }

    fn of(command: &mut Command) -> Outcome<Self> {
        let output = command.output()?;
        Ok(Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }
}

fn without_time(line: &str) -> String {
    match line.trim_start().strip_prefix("seconds") {
        Some(rest) => line.replace(rest.trim(), "[time]"),
        None => line.to_owned(),
    }
}

impl TestDir {
    pub fn new() -> Outcome<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// With the store of the pilot's assistant in `memory.db`.
    pub fn with_memories() -> Outcome<Self> {
        let place = Self::new()?;
        memories(&place)?.close()?;
        Ok(place)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Outcome {
        Ok(fs::write(self.path(name), content)?)
    }

    /// Runs the program in the folder; lines are 80 columns long.
    pub fn run(&self, arguments: &str) -> Outcome<Output> {
        self.run_in(arguments, &[("COLUMNS", "80")])
    }

    /// With this to read on its standard input.
    pub fn run_with(&self, arguments: &str, stdin: &str) -> Outcome<Output> {
        Output::of(self.command(arguments)?.env("COLUMNS", "80").write_stdin(stdin))
    }

    pub fn run_in(&self, arguments: &str, environment: &[(&str, &str)]) -> Outcome<Output> {
        Output::of(self.command(arguments)?.envs(environment.iter().copied()))
    }

    fn command(&self, arguments: &str) -> Outcome<Command> {
        let sample = std::path::absolute(SAMPLE)?;
        let arguments = arguments.split_whitespace().map(|word| match word {
            SAMPLE => sample.as_os_str(),
            word => word.as_ref(),
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
        command.current_dir(self.0.path()).args(arguments);
        Ok(command)
    }

    /// What it prints, when all is well.
    pub fn output(&self, arguments: &str) -> Outcome<String> {
        let ran = self.run(arguments)?;
        match (ran.code, ran.stderr.is_empty()) {
            (Some(0), true) => Ok(ran.stdout),
            _ => Err(format!("{arguments}: {ran:?}").into()),
        }
    }

    pub fn export(&self, name: &str) -> Outcome<String> {
        self.output(&format!("export {name}"))
    }

    pub fn names(&self) -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.0.path())? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// The traces in `memory.db`, by id.
    pub fn traces(&self) -> Outcome<Vec<Arc<Trace>>> {
        let store = TraceStore::open(self.path("memory.db"))?;
        let traces = by_id(&store);
        store.close()?;
        Ok(traces)
    }

    pub fn trace(&self, reference: &str) -> Outcome<Arc<Trace>> {
        let id = TraceId::from_reference(reference);
        let found = self.traces()?.into_iter().find(|trace| trace.id() == id);
        found.ok_or_else(|| format!("no trace of {reference}").into())
    }

    /// What a store's file holds.
    pub fn held(&self, name: &str) -> Outcome<(Vec<Arc<Trace>>, Vec<Link>)> {
        let store = TraceStore::builder().detached(self.path(name))?;
        assert!(store.stats().quarantined.is_empty());
        let traces = by_id(&store);
        let links = traces.iter().flat_map(|trace| {
            let id = trace.id();
            store.links(id).into_iter().filter(move |link| link.ends().0 == id)
        });
        let links = links.collect();
        Ok((traces, links))
    }

    /// What the program prints of the store at [`AT`], when all is well.
    pub fn shown(&self, arguments: &str, columns: &str) -> Outcome<String> {
        let ran = self.run_in(&format!("{arguments} {AT}"), &[("COLUMNS", columns)])?;
        assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{arguments}: {ran:?}");
        Ok(ran.stdout)
    }

    /// One object a line.
    pub fn objects(&self, arguments: &str) -> Outcome<Vec<Value>> {
        let shown = self.shown(&format!("{arguments} --json"), "80")?;
        Ok(shown.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    pub fn ids(&self, arguments: &str) -> Outcome<Vec<String>> {
        let objects = self.objects(arguments)?;
        Ok(objects.iter().map(|object| object["id"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// A library's view of the same.
    pub fn store(&self) -> Outcome<TraceStore> {
        let clock = ManualClock::at("2026-01-01T02:00:00Z".parse()?);
        Ok(TraceStore::builder().clock(&clock).detached(self.path("memory.db"))?)
    }
}

pub const FACT: &str = "0190163d-8694-739b-aea5-966c26f8ad91";
pub const SOURCE: &str = "0190163d-8695-7c01-9d8e-0c6f8f1c2a92";
pub const TIDE: &str = "b3a0e5f2-5a0d-4c55-9d8e-0c6f8f1c2a01";
pub const LONELY: &str = "c4d1f603-6b1e-4d66-8e9f-1d70902d3b02";
pub const FAINT: &str = "d5e20714-7c2f-4e77-9fa0-2e81a13e4c03";
pub const FAR: &str = "e6f31825-8d30-4f88-80b1-3f92b24f5d04";

/// Six memories of a harbour office, of the first hour of 2026. The first two ids begin alike.
pub fn memories(place: &TestDir) -> Outcome<TraceStore> {
    let clock = ManualClock::at("2026-01-01T00:00:00Z".parse()?);
    let store =
        TraceStore::builder().clock(&clock).flush_interval(Duration::MAX).open(place.path("memory.db"))?;
    let id = |text: &str| text.parse::<TraceId>();
    let payload = r#"{"subject": "the bar", "fact": "the harbour bar is 1.10 m deep at low water springs, says the pilot, who took the soundings himself", "depth": 1.10, "sources": ["pilot", {"log": "2025/12"}], "hostile": "\u001b[2J"}"#;
    store.insert(
        NewTrace::new(TraceType::Semantic, Payload::from_json(payload)?)
            .id(id(FACT)?)
            .partition("harbour")
            .tags(["bar", "depth", "Pilotage"])
            .origin(Origin::MeshTransfer)
            .source_agent("harbour-master")
            .encryption_key_id("key-7")
            .parent(id(SOURCE)?)
            .children([id(TIDE)?, id("f7042936-9e41-4099-91c2-40a3c3506e05")?])
            .embedding(vec![0.5, -0.25, 1.0, 0.0, 2.0])
            .emotional_valence(-0.25)
            .emotional_intensity(0.5)
            .confidence(0.9)
            .unresolved(true)
            .pinned(true),
    )?;
    let note = |id: &str, payload: Value| Ok::<_, mnemon::Error>(NewTrace::episodic(payload).id(id.parse()?));
    let source = json!({"speaker": "Ana", "text": "The pilot says the bar has silted up again."});
    store.insert(note(SOURCE, source)?.partition("harbour").tags(["ana", "day-1"]))?;
    clock.advance(Duration::from_secs(1_800));
    store.insert(
        note(TIDE, json!({"speaker": "Ben", "text": "潮 turns at noon · \"slack\" water"}))?.tags(["ben"]),
    )?;
    store.insert(NewTrace::identity(json!("I keep the harbour log")).id(id(LONELY)?).tier(Tier::Cold))?;
    store.insert(NewTrace::sensory(json!([3, true])).id(id(FAINT)?).strength(0.05))?;
    store.insert(note(FAR, json!({"text": "pilots go home", "n": 3}))?.tags(["ben", "pilot"]))?;
    for (a, b, times) in
        [(FACT, SOURCE, 5), (SOURCE, TIDE, 3), (FACT, FAR, 2), (TIDE, FAR, 4), (FACT, FAINT, 3)]
    {
        for _ in 0..times {
            store.co_activate(id(a)?, id(b)?)?;
        }
    }
    clock.advance(Duration::from_secs(600));
    for reinforced in [FACT, TIDE, TIDE] {
        assert!(store.reinforce(id(reinforced)?)?.is_some());
    }
    store.flush()?;
    Ok(store)
}
