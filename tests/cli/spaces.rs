//! The program on a space of a PostgreSQL database, which it takes wherever it takes a file. Needs the URL of a server
//! in `MNEMON_TEST_POSTGRES`, as `cargo run -p postgres-tests --bin with-server -- COMMAND` gives it to a command.
#![cfg(feature = "cli")]

use crate::harbour::{harbour, with_harbour};
use crate::program::{FACT, Output, SAMPLE, TIDE, TestDir, sample_records};
use harness::space::SERVER;
use harness::{Outcome, by_id, manual_flush};
use mnemon::{ErrorKind, Link, NewTrace, Trace, TraceId, TraceStore};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

/// A space of a name that no other has.
struct Space {
    server: String,
    name: String,
}

impl Space {
    /// `None`, after saying so, if there is no server.
    fn new() -> Option<Self> {
        let Ok(server) = std::env::var(SERVER) else {
            eprintln!("skipped: {SERVER} names no server");
            return None;
        };
        Some(Self { server, name: format!("space {}", TraceId::new()) })
    }

    /// As the program takes it: the name has a space.
    fn url(&self) -> String {
        format!("{}?space={}", self.server, self.name.replace(' ', "%20"))
    }

    /// As its owner, in this process.
    fn open(&self, place: &TestDir) -> Outcome<TraceStore> {
        let builder = manual_flush().space(&*self.name).spill_to(place.path("spills"));
        Ok(builder.connect(&self.server)?)
    }

    fn held(&self) -> Outcome<(Vec<Arc<Trace>>, Vec<Link>)> {
        let store = TraceStore::builder().space(&*self.name).detached_space(&self.server)?;
        assert!(store.stats().quarantined.is_empty());
        let traces = by_id(&store);
        let links = traces.iter().flat_map(|trace| {
            let id = trace.id();
            store.links(id).into_iter().filter(move |link| link.ends().0 == id)
        });
        let links = links.collect();
        Ok((traces, links))
    }

    fn sql(&self, sql: &str) -> Outcome {
        let space = format!("(SELECT space FROM mnemon.spaces WHERE name = '{}')", self.name);
        psql(&self.server, &sql.replace("$space", &space))
    }
}

fn psql(url: &str, sql: &str) -> Outcome {
    let output =
        Command::new("psql").args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).output()?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr)?.into()) }
}

fn failed(ran: &Output, message: &str) {
    assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains(message), "no {message:?} in {ran:?}");
}

#[test]
fn space_reads_like_its_file() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let (place, url) = (TestDir::with_memories()?, space.url());
    place.output(&format!("copy memory.db {url}"))?;
    for command in [
        "list STORE".to_owned(),
        format!("get STORE {FACT}"),
        format!("walk STORE {FACT}"),
        "recall STORE pilot".to_owned(),
        "list STORE --json".to_owned(),
    ] {
        let of = |store: &str| place.shown(&command.replace("STORE", store), "100");
        assert_eq!(of("memory.db")?, of(&url)?, "{command}");
    }
    assert_eq!(place.export("memory.db")?, place.export(&url)?);

    let stat = |store: &str| place.run(&format!("stat {store} --json"))?.json();
    let (file, of_space) = (stat("memory.db")?, stat(&url)?);
    for field in ["traces", "links", "by_type", "by_partition", "by_tier"] {
        assert_eq!(file[field], of_space[field], "{field}");
    }
    assert_eq!((&of_space["clean"], &of_space["lease_until"]), (&json!(true), &Value::Null));
    // The server counts: a row that could not be loaded is no matter.
    space.sql("UPDATE mnemon.traces SET created_at = 9223372036854775807 WHERE space = $space AND pinned")?;
    let counted = place.run(&format!("stat {url} --json"))?;
    assert_eq!((counted.json()?, &*counted.stderr), (of_space, ""), "{counted:?}");
    space.sql("UPDATE mnemon.traces SET created_at = last_reinforced WHERE space = $space AND pinned")?;
    let table = place.output(&format!("stat {url}"))?;
    assert!(table.contains("owner") && table.contains("semantic"), "{table}");
    let verified = place.run(&format!("verify {url} --json"))?;
    let found = verified.json()?;
    assert_eq!((verified.code, &found["sound"], &found["in_use_by"]), (Some(0), &json!(true), &Value::Null));
    let top = place.run(&format!("top {url}"))?;
    assert_eq!((top.code, top.stdout.lines().count()), (Some(0), 1), "nobody has it: {top:?}");
    assert!(top.stdout.contains("6 traces  5 links"), "{top:?}");
    Ok(())
}

#[test]
fn edits_of_space_are_there() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let (place, url) = (TestDir::new()?, space.url());
    failed(&place.run(&format!("rm {url} {TIDE}"))?, "`mnemon put` makes one");
    let put = |reference: &str| place.output(&format!("put {url} tides --ref {reference}"));
    put("one")?;
    put("two")?;
    let [one, two] = ["one", "two"].map(TraceId::from_reference);
    place.output(&format!("set {url} {one} --confidence 0.25"))?;
    place.output(&format!("tag {url} {one} sea"))?;
    place.output(&format!("link {url} {one} {two}"))?;
    let (traces, links) = space.held()?;
    let found = traces.iter().find(|trace| trace.id() == one).ok_or("it is there")?;
    assert_eq!((found.confidence(), links.len()), (0.25, 1));
    assert_eq!(found.tags().collect::<Vec<_>>(), ["sea"]);
    place.output(&format!("rm {url} {two}"))?;
    assert_eq!((space.held()?.0.len(), space.held()?.1.len()), (1, 0));

    let ran = place.run(&format!("ingest {url} {SAMPLE}"))?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let all = sample_records()? + 1;
    assert_eq!(space.held()?.0.len() as u64, all);
    place.output(&format!("export {url} all.jsonl"))?;
    place.output("import again.db all.jsonl")?;
    place.output(&format!("import {url} all.jsonl"))?;
    assert_eq!(place.held("again.db")?, space.held()?);
    place.output(&format!("snapshot save {url} --dir snapshots"))?;
    place.output(&format!("rm {url} {one}"))?;
    place.output(&format!("snapshot restore {url} --dir snapshots"))?;
    assert_eq!(place.held("again.db")?, space.held()?);
    Ok(())
}

#[test]
fn copy_loses_nothing_either_way() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let (place, url) = (TestDir::new()?, space.url());
    let store = harbour(&place.path("memory.db"))?;
    let copied = place.run(&format!("copy memory.db {url} --json"))?;
    assert_eq!(copied.json()?, json!({"traces": 3, "links": 2, "left_out": 0}), "{copied:?}");
    store.close()?;
    place.output(&format!("copy {url} back.db"))?;
    assert_eq!(place.held("memory.db")?, space.held()?);
    assert_eq!(place.held("memory.db")?, place.held("back.db")?);

    // Of one that is owned, what was flushed.
    let owner = space.open(&place)?;
    owner.insert(NewTrace::semantic(json!("flushed")).partition("new"))?;
    owner.flush()?;
    place.output(&format!("copy {url} flushed.db"))?;
    assert_eq!(place.held("flushed.db")?, space.held()?);
    assert_eq!(place.held("flushed.db")?.0.len(), 4);
    owner.close()?;

    let before = space.held()?;
    failed(&place.run(&format!("copy memory.db {url}"))?, "holds 4 traces already");
    failed(&place.run(&format!("copy {url} memory.db"))?, "holds 3 traces already");
    assert_eq!(space.held()?, before);
    Ok(())
}

#[test]
fn copy_names_unreadable_rows() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let (place, url) = (with_harbour()?, space.url());
    place.output(&format!("copy memory.db {url}"))?;
    space.sql("UPDATE mnemon.traces SET tier = 'tepid' WHERE space = $space AND pinned")?;
    let verified = place.run(&format!("verify {url} --json"))?;
    let findings = verified.json()?["findings"].clone();
    assert_eq!((verified.code, findings.as_array().map(Vec::len)), (Some(2), Some(2)), "{verified:?}");
    assert!(findings[0]["reason"].as_str().is_some_and(|reason| reason.contains("tepid")), "{findings}");
    assert_eq!(findings[1]["part"], "links", "its end can't be read: {findings}");
    let shown = place.run(&format!("verify {url}"))?;
    assert!(shown.code == Some(2) && shown.stdout.contains("2 findings:"), "{shown:?}");

    let copied = place.run(&format!("copy {url} rest.db --json"))?;
    assert_eq!((copied.code, copied.json()?), (Some(2), json!({"traces": 2, "links": 1, "left_out": 2})));
    assert!(copied.stderr.contains("tepid"), "{copied:?}");
    space.sql("UPDATE mnemon.traces SET tier = 'hot', payload = '{' WHERE space = $space AND pinned")?;
    let spoilt = place.run(&format!("verify {url}"))?;
    assert!(spoilt.code == Some(2) && spoilt.stdout.contains("column payload"), "{spoilt:?}");
    Ok(())
}

#[test]
fn owned_space_is_read_not_written() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let (place, url) = (TestDir::new()?, space.url());
    let owner = space.open(&place)?;
    owner.insert(NewTrace::semantic(json!("flushed")))?;
    owner.flush()?;
    owner.insert(NewTrace::semantic(json!("not yet")))?;
    for command in ["stat", "list", "export", "verify"] {
        let ran = place.run(&format!("{command} {url}"))?;
        assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{command}: {ran:?}");
    }
    for command in [format!("put {url} x"), format!("ingest {url} {SAMPLE}"), format!("demo --db {url}")] {
        failed(&place.run(&command)?, &format!("process {}", std::process::id()));
    }
    let in_use_by = place.run(&format!("verify {url} --json"))?.json()?["in_use_by"].clone();
    assert!(
        in_use_by.as_str().is_some_and(|owner| owner.contains(&std::process::id().to_string())),
        "{in_use_by}"
    );
    let top = place.run(&format!("top {url} --once --json"))?.json()?;
    assert_eq!((&top["traces"], &top["lease_is_over"]), (&json!(1), &json!(false)), "{top}");

    let spaces = place.output(&format!("spaces {}", space.server))?;
    assert!(spaces.contains(&space.name), "{spaces}");
    let json = place.output(&format!("spaces {} --json", space.server))?;
    let line = json.lines().find(|line| line.contains(&space.name)).ok_or("it is listed")?;
    assert_eq!(serde_json::from_str::<Value>(line)?["traces"], 1);

    let mut release = assert_cmd::Command::new(env!("CARGO_BIN_EXE_mnemon"));
    let released = String::from_utf8(release.args(["release", &space.server, &space.name]).output()?.stdout)?;
    assert!(released.contains("is released; its last owner was process"), "{released}");
    place.output(&format!("put {url} x"))?;
    let lost = owner.flush().err().ok_or("the space is not the owner's any more")?;
    assert_eq!(lost.kind(), ErrorKind::InUse);
    assert_eq!(space.held()?.0.len(), 2);
    failed(&place.run(&format!("release {} nowhere", space.server))?, "there is no space \"nowhere\"");
    Ok(())
}

#[test]
fn demo_and_host_miss_nothing() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let (place, url) = (TestDir::new()?, space.url());
    for command in ["demo --seconds 0.5 --db", "demo --seconds 0.5", "host --traces 500 --seconds 0.5"] {
        let ran = place.run(&format!("{command} {url} --json"))?;
        let verify = ran.json()?["verify"].clone();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!([&verify["missing"], &verify["stale"], &verify["extra"]], [0, 0, 0], "{ran:?}");
        assert_eq!(verify["rows"], space.held()?.0.len(), "{ran:?}");
    }
    failed(&place.run(&format!("host {url} --status"))?, "give --status the FILE");
    Ok(())
}

#[test]
fn errors_show_no_password() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let place = TestDir::new()?;
    let refused = space.server.replace("mnemon@", "guarded:secret@");
    let nobody = "postgres://mnemon:secret@127.0.0.1:1/mnemon";
    let here = space.server.replace("mnemon@", "mnemon:secret@");
    for (command, message) in [
        (format!("stat {refused}"), "failed"),
        (format!("put {nobody} x"), "127.0.0.1:1"),
        (format!("spaces {nobody}"), "127.0.0.1:1"),
        (format!("list {here}?space=nowhere"), "there is no space \"nowhere\""),
        (format!("get {here}?space=nowhere {TIDE}"), "there is no space \"nowhere\""),
        (format!("verify {here}?space=%zz"), "malformed"),
        (format!("stat {here}?space="), "malformed"),
        (format!("stat {here}?no_such_parameter=1"), "malformed"),
        (format!("backup {here} copy.db"), "backup takes a file"),
        (format!("backup memory.db {here}"), "backup takes a file"),
        (format!("ingest memory.db {here}"), "can't be read"),
        (format!("import memory.db {here}"), "can't be read"),
        (format!("demo {here} --db {here}"), "demo takes a file"),
        (format!("export-legion memory.db {here}"), "export-legion takes a file"),
        (format!("compact {here}"), "compact takes a file"),
        (
            format!("import-legion new.db {here}?options=-csearch_path%3Dnowhere"),
            "has no table memory_traces",
        ),
        ("spaces memory.db".to_owned(), "memory.db is no URL"),
    ] {
        let ran = place.run(&command)?;
        failed(&ran, message);
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
    }
    Ok(())
}

/// The tables as the migrations of the original make them.
const TABLES: &str = "
CREATE TABLE memory_traces (
    id serial PRIMARY KEY, agent_id varchar(64) NOT NULL, trace_type varchar(32) NOT NULL, content text NOT NULL,
    significance float DEFAULT 0.5, confidence float DEFAULT 1.0, associations text, metadata text,
    created_at timestamp DEFAULT now(), accessed_at timestamp, decayed_at timestamp, tenant_id varchar(64),
    trace_id varchar(36) UNIQUE, strength float DEFAULT 0.5, peak_strength float DEFAULT 0.5,
    base_decay_rate float DEFAULT 0.05, emotional_valence float DEFAULT 0.0, emotional_intensity float DEFAULT 0.0,
    domain_tags text, origin varchar(50), source_agent_id varchar(255), storage_tier varchar(10) DEFAULT 'warm',
    last_reinforced timestamp, last_decayed timestamp, reinforcement_count integer DEFAULT 0,
    unresolved boolean DEFAULT false, consolidation_candidate boolean DEFAULT false, parent_trace_id varchar(36),
    encryption_key_id varchar(255), partition_id varchar(255), embedding text);
CREATE TABLE memory_associations (
    id serial PRIMARY KEY, trace_id_a varchar(36) NOT NULL, trace_id_b varchar(36) NOT NULL,
    coactivation_count integer NOT NULL DEFAULT 1, linked boolean NOT NULL DEFAULT false, tenant_id varchar(64),
    created_at timestamp, updated_at timestamp, UNIQUE (trace_id_a, trace_id_b));";

#[test]
fn tables_of_original_are_imported() -> Outcome {
    let Some(space) = Space::new() else { return Ok(()) };
    let place = TestDir::new()?;
    let schema = format!("original_{}", TraceId::new().to_string().replace('-', ""));
    let original = format!("{}?options=-csearch_path%3D{schema}", space.server);
    let [a, b, c] = [1, 2, 3].map(crate::harbour::id);
    let fields = "agent_id, tenant_id, trace_id, trace_type, content, strength, confidence, emotional_valence,
        domain_tags, origin, source_agent_id, storage_tier, created_at, last_reinforced, reinforcement_count, unresolved,
        parent_trace_id, encryption_key_id, partition_id, embedding";
    psql(
        &space.server,
        &format!(
            "CREATE SCHEMA {schema}; SET search_path = {schema}; {TABLES}
            INSERT INTO memory_traces ({fields}) VALUES
                ('gull', 't1', '{a}', 'semantic', '{{\"fact\": \"tides turn\"}}', 0.1, 0.3, -0.25, '[\"sea\", \"tide\"]',
                 'mesh_transfer', 'pilot', 'warm', '2026-01-01 00:00:00.000001', '2026-01-02', 3, true, '{b}', 'key-7',
                 'harbour', '[1,-0.5,0.1]'),
                ('gull', 't1', '{b}', 'episodic', 'a remark', 0.7, 0.5, 0, NULL, 'direct_experience', NULL, 'hot',
                 '2026-01-01', '2026-01-01', 0, false, NULL, NULL, NULL, NULL),
                ('gull', 't1', 'no id', 'episodic', 'a remark', 0.7, 0.5, 0, NULL, 'direct_experience', NULL, 'hot',
                 '2026-01-01', '2026-01-01', 0, false, NULL, NULL, NULL, NULL),
                ('tern', 't2', '{c}', 'identity', 'of another', 0.7, 0.5, 0, NULL, 'direct_experience', NULL, 'hot',
                 '2026-01-01', '2026-01-01', 0, false, NULL, NULL, NULL, NULL);
            INSERT INTO memory_associations (trace_id_a, trace_id_b, coactivation_count, tenant_id, created_at, updated_at)
                VALUES ('{a}', '{b}', 2, 't1', '2026-01-03', '2026-01-04'),
                    ('{b}', '{a}', 3, 't1', '2026-01-02', '2026-01-03'), ('{c}', '{a}', 1, 't2', now(), now())"
        ),
    )?;
    failed(&place.run(&format!("import-legion memory.db {original}"))?, "give one of {\"t1\", \"t2\"}");
    assert!(!place.path("memory.db").exists());
    let url = space.url();
    let ran = place.run(&format!("import-legion {url} {original} --tenant t1 --json"))?;
    let report = ran.json()?;
    assert_eq!((ran.code, &report["traces"], &report["links"]), (Some(2), &json!(2), &json!(1)), "{ran:?}");
    let found: Vec<_> =
        report["findings"].as_array().into_iter().flatten().map(|found| &found["column"]).collect();
    assert_eq!(found, ["trace_id", "trace_id_b"], "an id that is none, and a pair across tenants: {ran:?}");

    let at = crate::harbour::at;
    let (traces, links) = space.held()?;
    assert_eq!(traces.iter().map(|trace| trace.id()).collect::<Vec<_>>(), [a, b]);
    let (one, other) = (&traces[0], &traces[1]);
    assert_eq!(one.payload().as_str(), "{\"fact\": \"tides turn\"}");
    assert_eq!((one.strength(), one.confidence(), one.emotional_valence()), (0.1, 0.3, -0.25));
    assert_eq!((one.source_agent(), one.encryption_key_id()), (Some("pilot"), Some("key-7")));
    assert_eq!((one.parent(), one.partition(), one.is_unresolved()), (Some(b), "harbour", true));
    assert_eq!((one.reinforcement_count(), one.embedding()), (3, Some(&[1.0, -0.5, 0.1][..])));
    assert_eq!(one.created_at(), at("2026-01-01T00:00:00.000001Z")?);
    assert_eq!((other.partition(), other.payload().as_str()), ("gull", "\"a remark\""));
    assert_eq!(links, [Link::new((a, b), 5, at("2026-01-02T00:00:00Z")?, at("2026-01-04T00:00:00Z")?)?]);

    let again = place.run(&format!("import-legion {url} {original} --tenant t1"))?;
    assert!(again.stdout.contains("there already: 2 traces, 1 link"), "{again:?}");
    psql(&space.server, &format!("DROP SCHEMA {schema} CASCADE"))
}
