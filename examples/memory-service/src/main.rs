//! A host that serves memories over HTTP. You see the address it listens on and, when Ctrl-C or SIGTERM ends it, at
//! which cut it has closed its file, or what failed.
//! `cargo run -p memory-service -- agent.db 127.0.0.1:8080`, and in another terminal the commands of the README.

use axum::extract::{Path, Query, State, rejection::JsonRejection, rejection::QueryRejection};
use axum::{Json, Router, http::Method, http::StatusCode, routing::get, routing::post};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use mnemon::{ErrorKind, Health, NewTrace, Order, TextIndex, Trace, TraceId, TraceStore};
use serde_json::{Value, json};
use std::{error::Error, time::Duration};
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

type Store = State<TraceStore>;
type Problem = (StatusCode, Json<Value>);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [file, address] = &arguments[..] else { return Err("give a file and an address".into()) };
    #[cfg(unix)]
    let (mut one, mut other) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    #[cfg(windows)]
    let (mut one, mut other) = (tokio::signal::windows::ctrl_c()?, tokio::signal::windows::ctrl_break()?);
    let told_to_end = async move { tokio::select!(_ = one.recv() => (), _ = other.recv() => ()) };

    // Who wants a durable answer waits for the next flush, which all share that have come since the last one.
    let builder = TraceStore::builder().flush_interval(Duration::from_millis(50));
    let store = builder.text_index(TextIndex::english()).open(file)?;
    let routes = routes(store.clone(), PrometheusBuilder::new().install_recorder()?);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("{} traces of {file} on http://{}", store.len(), listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(told_to_end).await?;
    println!("closed at cut {}", store.close()?.durable); // Blocks, which this thread may: no request is left.
    Ok(())
}

fn routes(store: TraceStore, page: PrometheusHandle) -> Router {
    let metrics = async move |State(store): Store| {
        store.publish_metrics();
        ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], page.render())
    };
    let traces = Router::new().route("/traces", post(insert)).route("/traces/{id}", get(one).delete(one));
    let all = traces.route("/recall", get(recall)).route("/health", get(health));
    all.route("/metrics", get(metrics)).with_state(store)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    payload: Value,
    r#type: Option<String>,
    id: Option<String>,
    tags: Option<Vec<String>>,
}
type Memories = Result<Json<Memory>, JsonRejection>;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    durable: Option<bool>,
    text: Option<String>,
    tag: Option<String>,
    limit: Option<usize>,
}
type Wishes = Result<Query<Wish>, QueryRejection>;

async fn insert(State(store): Store, wish: Wishes, memory: Memories) -> Result<Problem, Problem> {
    let (Query(wish), Json(memory)) = (wish.map_err(problem)?, memory.map_err(problem)?);
    let kind = memory.r#type.as_deref().unwrap_or("semantic").parse().map_err(problem)?;
    let id = memory.id.map_or(Ok(TraceId::new()), |id| id.parse()).map_err(problem)?;
    let new = NewTrace::new(kind, memory.payload).id(id).tags(memory.tags.unwrap_or_default());
    store.insert(new).map_err(problem)?;
    if wish.durable == Some(true) {
        store.wait(store.mark()).await.map_err(problem)?;
    }
    Ok((StatusCode::CREATED, Json(json!({"id": id.to_string()}))))
}

/// The trace, which a DELETE removes.
async fn one(method: Method, State(store): Store, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let id = id.parse().map_err(problem)?;
    let found = if method == Method::DELETE { store.remove(id).map_err(problem)? } else { store.get(id) };
    let missing = json!({"error": format!("trace {id} is not in the store"), "kind": "not found"});
    shown(&store, found.as_deref().ok_or((StatusCode::NOT_FOUND, Json(missing)))?).map(Json)
}

/// The traces with the text and the tag, or all, those first that answer it best, or that matter most.
async fn recall(State(store): Store, wish: Wishes) -> Result<Json<Value>, Problem> {
    let Query(wish) = wish.map_err(problem)?;
    let best = store.query().order(Order::Score).limit(wish.limit.unwrap_or(10));
    let best = wish.text.into_iter().fold(best, |best, text| best.text(text).order(Order::Relevance));
    let found = wish.tag.into_iter().fold(best, |best, tag| best.tagged(tag)).run();
    found.iter().map(|trace| shown(&store, trace)).collect::<Result<_, _>>().map(Json)
}

fn shown(store: &TraceStore, trace: &Trace) -> Result<Value, Problem> {
    let (payload, tags) = (trace.payload().as_value().map_err(problem)?, trace.tags().collect::<Vec<_>>());
    let (id, kind, strength) = (trace.id().to_string(), trace.trace_type().as_str(), store.strength(trace));
    Ok(json!({"id": id, "type": kind, "payload": payload, "tags": tags, "strength": strength}))
}

async fn health(State(store): Store) -> Problem {
    let health = store.health();
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"healthy": health == Health::Healthy, "health": health.to_string()})))
}

/// In the words of the library, or of axum if it can't read the request.
fn problem(error: impl Error + 'static) -> Problem {
    let kind = (&error as &dyn Error).downcast_ref().map_or(ErrorKind::InvalidInput, mnemon::Error::kind);
    let status = match kind {
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorKind::AlreadyExists => StatusCode::CONFLICT,
        ErrorKind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(json!({"error": error.to_string(), "kind": kind.to_string()})))
}

#[cfg(test)]
mod tests;
