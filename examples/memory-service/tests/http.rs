//! The service as its clients see it: the program itself, over HTTP.

use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

struct Service {
    process: Child,
    /// Kept open where nobody reads it: the service must not meet a closed pipe.
    #[cfg_attr(not(unix), allow(dead_code, reason = "what is said at the end is asked for on Unix"))]
    says: BufReader<ChildStdout>,
    agent: Agent,
    address: String,
}

/// It ends with the test, however that ends.
impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A status, and JSON if there is some.
type Answer = (u16, Value);

impl Service {
    fn start(file: &Path) -> Outcome<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memory-service"));
        let mut process = command.arg(file).arg("127.0.0.1:0").stdout(Stdio::piped()).spawn()?;
        let mut says = BufReader::new(process.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        says.read_line(&mut line)?;
        let (_, address) = line.trim().rsplit_once(' ').ok_or(line.clone())?;
        let config = Agent::config_builder().http_status_as_error(false);
        let agent = Agent::new_with_config(config.timeout_global(Some(Duration::from_secs(60))).build());
        Ok(Self { address: address.to_owned(), process, says, agent })
    }

    fn get(&self, path: &str) -> Outcome<Answer> {
        answer(self.agent.get(format!("{}{path}", self.address)).call()?)
    }

    fn delete(&self, path: &str) -> Outcome<Answer> {
        answer(self.agent.delete(format!("{}{path}", self.address)).call()?)
    }

    fn post(&self, path: &str, body: &str) -> Outcome<Answer> {
        let request = self.agent.post(format!("{}{path}", self.address));
        answer(request.header("content-type", "application/json").send(body)?)
    }

    /// Inserts a trace, which must succeed; answers its id.
    fn insert(&self, path: &str, memory: Value) -> Outcome<String> {
        let (status, body) = self.post(path, &memory.to_string())?;
        assert_eq!(status, 201, "{body}");
        Ok(body["id"].as_str().ok_or("no id")?.to_owned())
    }
}

fn answer(mut response: Response<Body>) -> Outcome<Answer> {
    let body = response.body_mut().read_to_string()?;
    let json = match body.as_str() {
        "" => Value::Null,
        body => serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?,
    };
    Ok((response.status().as_u16(), json))
}

#[test]
fn what_is_inserted_is_read_recalled_and_removed() -> Outcome {
    let folder = tempfile::tempdir()?;
    let service = Service::start(&folder.path().join("agent.db"))?;
    let silt = json!({"payload": {"fact": "The harbour silts up"}, "tags": ["harbour", "depth"]});
    let silt = service.insert("/traces", silt)?;
    let pilot = json!({"payload": "the pilot called", "tags": ["harbour"], "type": "identity"});
    let pilot = service.insert("/traces?durable=false", pilot)?;
    service.insert("/traces", json!({"payload": "a heron"}))?;

    let (status, trace) = service.get(&format!("/traces/{silt}"))?;
    assert_eq!((status, &trace["id"]), (200, &json!(silt)));
    assert_eq!(trace["payload"], json!({"fact": "The harbour silts up"}));
    assert_eq!((&trace["tags"], &trace["type"]), (&json!(["depth", "harbour"]), &json!("semantic")));

    let found = |path: &str| -> Outcome<Vec<String>> {
        let (status, body) = service.get(path)?;
        assert_eq!(status, 200, "{body}");
        let found = body.as_array().ok_or("no list")?;
        let strengths: Vec<_> = found.iter().filter_map(|trace| trace["strength"].as_f64()).collect();
        assert!(strengths.len() == found.len() && strengths.is_sorted_by(|a, b| a >= b), "{body}");
        Ok(found.iter().filter_map(|trace| trace["id"].as_str().map(str::to_owned)).collect())
    };
    assert_eq!(
        found("/recall?tag=harbour")?,
        [pilot.clone(), silt.clone()],
        "what is an identity is stronger"
    );
    assert_eq!(found("/recall?tag=harbour&limit=1")?, [&*pilot]);
    assert_eq!(found("/recall?tag=depth")?, [&*silt]);
    assert_eq!(found("/recall?text=who+calls")?, [&*pilot]);
    assert_eq!(found("/recall?text=harbours&tag=depth")?, [&*silt]);
    assert_eq!(found("/recall?tag=harbour&limit=0")?.len(), 0);
    assert_eq!(found("/recall")?.len(), 3);

    let removed = service.delete(&format!("/traces/{silt}"))?;
    assert_eq!(
        (removed.0, &removed.1["payload"]),
        (200, &trace["payload"]),
        "it answers with what it removed"
    );
    for (status, body) in
        [service.get(&format!("/traces/{silt}"))?, service.delete(&format!("/traces/{silt}"))?]
    {
        assert_eq!((status, &body["kind"]), (404, &json!("not found")));
        assert_eq!(body["error"], format!("trace {silt} is not in the store"));
    }
    assert_eq!(found("/recall?tag=harbour")?, [&*pilot]);
    Ok(())
}

#[test]
fn bad_input_is_refused_in_the_words_of_the_library() -> Outcome {
    let folder = tempfile::tempdir()?;
    let service = Service::start(&folder.path().join("agent.db"))?;
    let (taken, long) = (service.insert("/traces", json!({"payload": 1}))?, "x".repeat(1 << 20));
    let again = json!({"payload": 2, "id": taken}).to_string();
    for (body, status, error) in [
        (again, 409, format!("trace {taken} is in the store")),
        (json!({"payload": 1, "type": "fact"}).to_string(), 400, r#"type is "fact": give one of"#.to_owned()),
        (json!({"payload": 1, "id": "7"}).to_string(), 400, r#"id is "7": give a UUID"#.to_owned()),
        (json!({"payload": 1, "tags": [""]}).to_string(), 400, "tag".to_owned()),
        (json!({"payload": long}).to_string(), 400, "payload is 1048578 bytes".to_owned()),
        (json!({"payload": 1, "colour": 1}).to_string(), 400, "Failed to deserialize".to_owned()),
        (json!({}).to_string(), 400, "Failed to deserialize".to_owned()),
        ("{".to_owned(), 400, "Failed to parse".to_owned()),
    ] {
        let shown: String = body.chars().take(80).collect();
        let (got, answer) = service.post("/traces", &body)?;
        let said = answer["error"].as_str().ok_or_else(|| format!("{shown}: {answer}"))?;
        assert!(got == status && said.starts_with(&error), "{shown}: {got}, {said}");
    }
    for (path, status, kind) in [
        ("/traces/7", 400, "invalid input"),
        ("/traces/00000000-0000-7000-8000-000000000000", 404, "not found"),
        ("/recall?limit=many", 400, "invalid input"),
        ("/recall?colour=1", 400, "invalid input"),
    ] {
        let (got, answer) = service.get(path)?;
        assert_eq!((got, &answer["kind"]), (status, &json!(kind)), "{path}: {answer}");
    }
    assert_eq!(service.post("/traces?durable=perhaps", r#"{"payload": 1}"#)?.0, 400);
    assert_eq!(service.get("/recall")?.1.as_array().map(Vec::len), Some(1), "nothing of it was stored");
    Ok(())
}

/// The value of a series, from the text that Prometheus reads.
fn sample(page: &str, series: &str) -> Outcome<f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let found = lines.filter_map(|line| line.rsplit_once(' ')).find(|(name, _)| *name == series);
    Ok(found.ok_or_else(|| format!("no {series} in {page}"))?.1.parse()?)
}

#[test]
fn health_and_metrics_say_how_the_store_is_doing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let service = Service::start(&folder.path().join("agent.db"))?;
    for text in ["ebb", "flood"] {
        service.insert("/traces?durable=true", json!({"payload": text}))?;
    }
    let healthy = json!({"healthy": true, "health": "healthy"});
    assert_eq!(service.get("/health")?, (200, healthy));

    let mut response = service.agent.get(format!("{}/metrics", service.address)).call()?;
    let page = response.body_mut().read_to_string()?;
    let kind = response.headers()["content-type"].to_str()?;
    assert!(response.status() == 200 && kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let value = |series: &str| sample(&page, series);
    assert_eq!(value(r#"mnemon_traces{store="agent"}"#)?, 2.0);
    assert_eq!(value(r#"mnemon_healthy{store="agent"}"#)?, 1.0);
    assert_eq!(value(r#"mnemon_dirty{store="agent"}"#)?, 0.0);
    assert_eq!(value(r#"mnemon_flushes_total{store="agent"}"#)?, 2.0);
    assert_eq!(value(r#"mnemon_payload_bytes_total{store="agent"}"#)?, 12.0);
    assert_eq!(value(r#"mnemon_health{state="healthy",store="agent"}"#)?, 1.0);
    assert_eq!(value(r#"mnemon_rows_written_total{kind="trace",op="upsert",store="agent"}"#)?, 2.0);
    for line in ["# HELP mnemon_traces traces in memory", "# TYPE mnemon_flushes_total counter"] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    Ok(())
}

#[test]
fn what_was_answered_as_durable_is_there_after_a_kill() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("agent.db");
    let mut service = Service::start(&file)?;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(service.insert("/traces?durable=true", json!({"payload": n, "tags": ["n"]}))?);
    }
    service.process.kill()?;
    service.process.wait()?;
    let service = Service::start(&file)?;
    for (n, id) in ids.iter().enumerate() {
        let (status, trace) = service.get(&format!("/traces/{id}"))?;
        assert_eq!((status, &trace["payload"]), (200, &json!(n)), "{id}");
    }
    Ok(())
}

#[cfg(unix)]
impl Service {
    /// Whether it ends well by itself, within two minutes.
    fn ends(&mut self) -> Outcome<bool> {
        for _ in 0..1_200 {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(false)
    }
}

#[cfg(unix)]
#[test]
fn told_to_end_it_closes_its_store() -> Outcome {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("agent.db");
        let mut service = Service::start(&file)?;
        let id = service.insert("/traces", json!({"payload": "not asked to be durable"}))?;
        let kill =
            Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", service.process.id())).status()?;
        assert!(kill.success());
        assert!(service.ends()?, "it goes on after SIG{signal}");
        let mut said = String::new();
        std::io::Read::read_to_string(&mut service.says, &mut said)?;
        let report = mnemon::inspect(&file)?;
        assert_eq!((said, report.clean), (format!("closed at cut {}\n", report.watermark), true));
        let store = mnemon::TraceStore::open(&file)?;
        assert!(store.contains(id.parse()?));
    }
    Ok(())
}

#[test]
fn a_file_that_another_service_has_is_left_to_it() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("agent.db");
    let service = Service::start(&file)?;
    let second = Command::new(env!("CARGO_BIN_EXE_memory-service")).arg(&file).arg("127.0.0.1:0").output()?;
    let said = String::from_utf8(second.stderr)?;
    assert!(!second.status.success() && said.contains("in use"), "{said}");
    assert!(said.contains(&service.process.id().to_string()), "it names the owner: {said}");
    Ok(())
}
