//! What a host answers whose store does not do as it should.

use super::routes;
use metrics_exporter_prometheus::PrometheusBuilder;
use mnemon::testkit::{Call, Faults};
use mnemon::{ErrorKind, TraceStore};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpListener;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Serves a store to one client, which may block.
async fn served(store: TraceStore, client: impl FnOnce(&str) -> Outcome + Send + 'static) -> Outcome {
    let page = PrometheusBuilder::new().build_recorder().handle();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, routes(store, page)).await });
    let outcome = tokio::task::spawn_blocking(move || client(&address)).await?;
    server.abort();
    outcome
}

fn ask(request: &str, url: String) -> Outcome<(u16, Value)> {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent = ureq::Agent::new_with_config(config.timeout_global(Some(Duration::from_secs(60))).build());
    let mut response = match request {
        "GET" => agent.get(url).call()?,
        body => agent.post(url).header("content-type", "application/json").send(body)?,
    };
    let body = response.body_mut().read_to_string()?;
    Ok((response.status().as_u16(), serde_json::from_str(&body)?))
}

#[tokio::test]
async fn a_closed_store_is_not_ready_and_takes_nothing() -> Outcome {
    let store = TraceStore::in_memory();
    store.clone().close()?;
    served(store, |at| {
        let (status, body) = ask("GET", format!("{at}/health"))?;
        assert_eq!((status, &body["healthy"]), (503, &false.into()));
        assert_eq!(body["health"], "closed: writes are refused");
        let (status, body) = ask(r#"{"payload": 1}"#, format!("{at}/traces"))?;
        assert_eq!((status, &body["kind"]), (503, &"closed".into()), "{body}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_not_on_disk_is_not_answered_as_durable() -> Outcome {
    let faults = Faults::new();
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    let builder = TraceStore::builder().flush_interval(Duration::from_millis(1));
    let store = builder.close_timeout(Duration::ZERO).open_with(faults.backend())?;
    let seen = store.clone();
    served(store, move |at| {
        let new = r#"{"payload": 1, "id": "019a0000-0000-7000-8000-000000000001"}"#;
        let (status, body) = ask(new, format!("{at}/traces?durable=true"))?;
        assert_eq!((status, &body["kind"]), (507, &"disk full".into()), "{body}");
        let (status, body) = ask(new, format!("{at}/traces"))?;
        assert_eq!((status, seen.len()), (409, 1), "it is in memory: {body}");
        let (status, body) = ask("GET", format!("{at}/health"))?;
        assert_eq!((status, &body["healthy"]), (200, &false.into()), "{body}");
        faults.lift();
        seen.flush()?;
        assert_eq!(ask(r#"{"payload": 2}"#, format!("{at}/traces?durable=true"))?.0, 201);
        assert_eq!(faults.durable().len(), 2);
        Ok(())
    })
    .await
}
