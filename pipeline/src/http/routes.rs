//! What is answered where. Errors are JSON: `{"error": "...", "status": n}`.

use super::access::{Access, Allowed, Denied};
use super::shown::Shown;
use super::{Backend, HttpCounters, MAX_REPORTS, MAX_SCRAPES, api, assets};
use crate::registry::negotiate;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of an `Accept` header that are looked at.
const MAX_ACCEPT: usize = 4_096;

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

pub(super) fn router(backend: Arc<dyn Backend>, access: Access, counters: Arc<HttpCounters>) -> Router {
    let shown = Shown {
        backend,
        counters,
        access: Arc::new(access),
        scrapes: Arc::new(Semaphore::new(MAX_SCRAPES)),
        reports: Arc::new(Semaphore::new(MAX_REPORTS)),
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(status))
        .route("/api/v1/alarms", get(super::alarms::alarms))
        .route("/api/v1/calls", get(super::calls::list))
        .route("/api/v1/calls/{span_id}", get(super::calls::one))
        .merge(api::routes())
        .fallback(asset)
        .method_not_allowed_fallback(method)
        .layer(from_fn_with_state(shown.clone(), guard))
        .with_state(shown)
}

/// Before anything else: may this be answered?
async fn guard(State(shown): State<Shown>, request: Request, next: Next) -> Response {
    match shown.access.check(request.uri(), request.headers()) {
        Ok(Allowed::Answer) => next.run(request).await,
        Ok(Allowed::Enter { location, cookie }) => {
            let mut response = shown.answer(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
            for (name, value) in [(LOCATION, location), (SET_COOKIE, cookie)] {
                if let Ok(value) = HeaderValue::try_from(value) {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
        Err(Denied::Host) => shown.error(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not the host that was asked for; ask by its address, or add the name to http.hosts",
        ),
        Err(Denied::Page) => {
            shown.error(StatusCode::FORBIDDEN, "pages of other sites are not answered; open this address by itself")
        }
        Err(Denied::Token) => {
            let mut response = shown.error(
                StatusCode::UNAUTHORIZED,
                "a token is needed: in the header Authorization: Bearer, or, with a browser, once as ?token=",
            );
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"redtap\""));
            response
        }
    }
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
        return shown.busy("too many scrapes at a time");
    };
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).filter(|accept| accept.len() <= MAX_ACCEPT);
    let format = negotiate(accept.unwrap_or(""));
    let mut text = String::new();
    shown.backend.metrics(format, &mut text);
    shown.answer(StatusCode::OK, format.content_type(), Bytes::from_owner(Scrape { text, _place: place }))
}

/// A file of the web interface, or nothing.
async fn asset(State(shown): State<Shown>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if let Some(asset) = assets::find(uri.path()) {
        if !matches!(method, Method::GET | Method::HEAD) {
            return self::method(State(shown)).await;
        }
        let response = asset.answer(&headers);
        shown.counters.answered(response.status().as_u16());
        return response;
    }
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
            (axum::http::header::REFERRER_POLICY, "no-referrer"),
            // Nothing here is a page; what a browser takes for one may do nothing.
            (axum::http::header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        ];
        (status, headers, body).into_response()
    }

    /// Too much of something at a time.
    pub(super) fn busy(&self, what: &str) -> Response {
        let mut response = self.error(StatusCode::SERVICE_UNAVAILABLE, what);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }

    pub(super) fn error(&self, status: StatusCode, what: &str) -> Response {
        let body = serde_json::json!({ "error": what, "status": status.as_u16() });
        self.answer(status, "application/json", format!("{body}\n"))
    }
}
