//! What went wrong, as an answer: a status, and the library's own words as JSON.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use mnemon::{ErrorKind, TraceId};
use serde_json::json;
use tokio::task::JoinError;

pub struct Problem {
    status: StatusCode,
    kind: ErrorKind,
    message: String,
    /// Of the trace that is in memory all the same.
    kept: Option<TraceId>,
}

impl Problem {
    pub fn not_found(id: TraceId) -> Self {
        let message = format!("trace {id} is not in the store");
        Self { status: StatusCode::NOT_FOUND, kind: ErrorKind::NotFound, message, kept: None }
    }

    pub fn kept(self, id: TraceId) -> Self {
        Self { kept: Some(id), ..self }
    }

    fn rejection(status: StatusCode, message: String) -> Self {
        Self { status, kind: ErrorKind::InvalidInput, message, kept: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, kind, message, kept } = self;
        let mut body = json!({"error": message, "kind": kind.to_string()});
        if let Some(id) = kept {
            body["kept_in_memory"] = id.to_string().into();
        }
        (status, Json(body)).into_response()
    }
}

impl From<mnemon::Error> for Problem {
    fn from(error: mnemon::Error) -> Self {
        let status = status(error.kind());
        if status.is_server_error() {
            // Whoever runs the host needs the causes too; whoever asked does not.
            eprintln!("{error:?}");
        }
        Self { status, kind: error.kind(), message: error.to_string(), kept: None }
    }
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::RevisionConflict => StatusCode::CONFLICT,
        ErrorKind::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorKind::Closed | ErrorKind::Lagging | ErrorKind::Busy | ErrorKind::TimedOut => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::rejection(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::rejection(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::rejection(rejection.status(), rejection.body_text())
    }
}

/// A search that panicked.
impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        eprintln!("{error}");
        let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Panicked);
        Self { status, kind, message: "the search failed".to_owned(), kept: None }
    }
}
