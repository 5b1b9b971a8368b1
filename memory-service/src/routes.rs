//! What may be asked: each route, and what it answers.

use crate::problem::Problem;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{StatusCode, request::Parts};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use mnemon::{Health, NewTrace, Trace, TraceId, TraceStore, TraceType};
use serde::Deserialize;
use serde_json::{Value, json};

/// What every request may use; a clone is the same.
#[derive(Clone)]
pub struct Host {
    pub store: TraceStore,
    pub page: PrometheusHandle,
}

pub fn all(host: Host) -> Router {
    Router::new()
        .route("/traces", post(insert))
        .route("/traces/{id}", get(read).delete(remove))
        .route("/recall", get(recall))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(host)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    payload: Value,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    partition: Option<String>,
    confidence: Option<f64>,
    #[serde(default)]
    tags: Vec<String>,
}

impl Memory {
    fn into_trace(self) -> mnemon::Result<NewTrace> {
        let kind = self.kind.map_or(Ok(TraceType::Semantic), |kind| kind.parse())?;
        let mut new = NewTrace::new(kind, self.payload).tags(self.tags);
        if let Some(id) = self.id {
            new = new.id(id.parse()?);
        }
        if let Some(partition) = self.partition {
            new = new.partition(partition);
        }
        if let Some(confidence) = self.confidence {
            new = new.confidence(confidence);
        }
        Ok(new)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    durable: bool,
}

/// Answers when the trace is in memory or, where that is wished, on disk.
async fn insert(
    State(Host { store, .. }): State<Host>,
    wish: Result<Query<Wish>, QueryRejection>,
    memory: Result<Json<Memory>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let (Query(Wish { durable }), Json(memory)) = (wish?, memory?);
    let id = store.insert(memory.into_trace()?)?;
    if durable {
        store.wait(store.mark()).await.map_err(|error| Problem::from(error).kept(id))?;
    }
    let body = json!({"id": id.to_string(), "durable": durable});
    Ok((StatusCode::CREATED, [(LOCATION, format!("/traces/{id}"))], Json(body)))
}

/// The id in a path.
struct Id(TraceId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Id(id.parse()?))
    }
}

async fn read(State(Host { store, .. }): State<Host>, Id(id): Id) -> Result<Json<Value>, Problem> {
    let trace = store.get(id).ok_or_else(|| Problem::not_found(id))?;
    Ok(Json(shown(&trace)?))
}

async fn remove(State(Host { store, .. }): State<Host>, Id(id): Id) -> Result<StatusCode, Problem> {
    store.remove(id)?.ok_or_else(|| Problem::not_found(id))?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    tag: Option<String>,
    q: Option<String>,
    limit: Option<usize>,
}

async fn recall(
    State(Host { store, .. }): State<Host>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(question) = question?;
    // Looks at every trace of the tag: not on a thread that drives futures.
    let found = tokio::task::spawn_blocking(move || find(&store, &question)).await??;
    Ok(Json(found.into()))
}

/// The traces with the tag whose payloads contain the text, those first that matter most.
fn find(store: &TraceStore, question: &Question) -> mnemon::Result<Vec<Value>> {
    let all = store.query().limit(usize::MAX);
    let tagged = match &question.tag {
        Some(tag) => all.tagged(tag.as_str()),
        None => all,
    };
    let text = question.q.as_deref().unwrap_or_default().to_lowercase();
    let speaks_of_it = |trace: &Trace| trace.payload().as_str().to_lowercase().contains(&text);
    let found = tagged.run().into_iter().filter(|trace| speaks_of_it(trace)).map(|trace| trace.id());
    let ranked = store.rank(found).into_iter().take(question.limit.unwrap_or(10));
    ranked.map(|ranked| Ok(json!({"score": ranked.score, "trace": shown(&ranked.trace)?}))).collect()
}

fn shown(trace: &Trace) -> mnemon::Result<Value> {
    Ok(json!({
        "id": trace.id().to_string(),
        "type": trace.trace_type().as_str(),
        "payload": trace.payload().as_value()?,
        "tags": trace.tags().collect::<Vec<_>>(),
        "partition": trace.partition(),
        "strength": trace.strength(),
        "confidence": trace.confidence(),
        "created_at": trace.created_at().to_string(),
        "revision": trace.revision(),
    }))
}

/// For a readiness probe.
async fn health(State(Host { store, .. }): State<Host>) -> impl IntoResponse {
    let health = store.health();
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let healthy = health == Health::Healthy;
    (status, Json(json!({"ready": health.is_ready(), "healthy": healthy, "health": health.to_string()})))
}

/// For Prometheus.
async fn metrics(State(Host { store, page }): State<Host>) -> impl IntoResponse {
    store.publish_metrics();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.render())
}

#[cfg(test)]
mod tests;
