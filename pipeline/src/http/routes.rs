//! What is answered where. Errors are JSON: `{"error": "...", "status": n}`.

use super::{Backend, HttpCounters, MAX_SCRAPES};
use crate::registry::negotiate;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of an `Accept` header that are looked at.
const MAX_ACCEPT: usize = 4_096;

const INDEX: &str = "<!doctype html><meta charset=utf-8><title>redtap</title><h1>redtap</h1><ul>\
    <li><a href=/metrics>/metrics</a> traffic and own metrics, for Prometheus\
    <li><a href=/api/v1/status>/api/v1/status</a> what runs, and what was counted\
    <li><a href=/readyz>/readyz</a> is the probe attached?\
    <li><a href=/healthz>/healthz</a> is the process alive?</ul>\n";

#[derive(Clone)]
pub(super) struct Shown {
    pub(super) backend: Arc<dyn Backend>,
    counters: Arc<HttpCounters>,
    scrapes: Arc<Semaphore>,
}

/// A text that keeps its place among the scrapes until the last byte is sent.
struct Scrape {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Scrape {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

pub(super) fn router(backend: Arc<dyn Backend>, counters: Arc<HttpCounters>) -> Router {
    let shown = Shown { backend, counters, scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)) };
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(status))
        .route("/api/v1/calls", get(super::calls::list))
        .route("/api/v1/calls/{span_id}", get(super::calls::one))
        .fallback(unknown)
        .method_not_allowed_fallback(method)
        .with_state(shown)
}

async fn index(State(shown): State<Shown>) -> Response {
    shown.answer(StatusCode::OK, "text/html; charset=utf-8", INDEX)
}

async fn healthz(State(shown): State<Shown>) -> Response {
    shown.answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

async fn readyz(State(shown): State<Shown>) -> Response {
    if shown.backend.ready() {
        shown.answer(StatusCode::OK, "text/plain; charset=utf-8", "ready\n")
    } else {
        shown.error(StatusCode::SERVICE_UNAVAILABLE, "the probe is not attached yet")
    }
}

async fn status(State(shown): State<Shown>) -> Response {
    let mut text = shown.backend.status().to_string();
    text.push('\n');
    shown.answer(StatusCode::OK, "application/json", text)
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let Ok(place) = Arc::clone(&shown.scrapes).try_acquire_owned() else {
        let mut response = shown.error(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at a time");
        response.headers_mut().insert(RETRY_AFTER, axum::http::HeaderValue::from_static("1"));
        return response;
    };
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).filter(|accept| accept.len() <= MAX_ACCEPT);
    let format = negotiate(accept.unwrap_or(""));
    let mut text = String::new();
    shown.backend.metrics(format, &mut text);
    shown.answer(StatusCode::OK, format.content_type(), Bytes::from_owner(Scrape { text, _place: place }))
}

async fn unknown(State(shown): State<Shown>, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(256).collect();
    shown.error(StatusCode::NOT_FOUND, &format!("there is nothing at {path}; / lists what there is"))
}

async fn method(State(shown): State<Shown>) -> Response {
    shown.error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here")
}

impl Shown {
    pub(super) fn answer(&self, status: StatusCode, content_type: &'static str, body: impl IntoResponse) -> Response {
        self.counters.answered(status.as_u16());
        let headers = [
            (CONTENT_TYPE, content_type),
            (CACHE_CONTROL, "no-store"),
            (axum::http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        (status, headers, body).into_response()
    }

    pub(super) fn error(&self, status: StatusCode, what: &str) -> Response {
        let body = serde_json::json!({ "error": what, "status": status.as_u16() });
        self.answer(status, "application/json", format!("{body}\n"))
    }
}
