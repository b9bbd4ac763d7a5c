//! The reports over HTTP: `/api/v1/services`, `/api/v1/services/{name}`, `/api/v1/topology`. `docs/api.md` has their shapes.
//!
//! A report is made on a thread of its own, so that the other answers need not wait for it. Who goes away before it is made takes it
//! along: it is given up where it next waits for an engine, and its place is free.

use super::shown::Shown;
use crate::reports::{Range, ReportError, Reports};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use std::sync::Arc;

/// What is shown if nothing is said, seconds.
const LAST: u32 = 900;

/// An error as it is answered.
type Refusal = (StatusCode, String);

pub(super) fn routes() -> Router<Shown> {
    Router::new()
        .route("/api/v1/services", get(services))
        .route("/api/v1/services/{name}", get(service))
        .route("/api/v1/topology", get(topology))
}

async fn services(State(shown): State<Shown>, uri: Uri) -> Response {
    report(shown, uri, async |reports, range| json(&reports.services(range).await?)).await
}

async fn service(State(shown): State<Shown>, name: Result<Path<String>, PathRejection>, uri: Uri) -> Response {
    let Ok(Path(name)) = name else {
        return shown.error(StatusCode::BAD_REQUEST, "the name of the service is not UTF-8");
    };
    report(shown, uri, async move |reports, range| match reports.service(&name, range).await? {
        Some(report) => json(&report),
        None => {
            let name: String = name.chars().take(128).collect();
            let what = format!("nothing was seen of a service {name:?} in this range; /api/v1/services lists all");
            Err(Failure::Refused((StatusCode::NOT_FOUND, what)))
        }
    })
    .await
}

async fn topology(State(shown): State<Shown>, uri: Uri) -> Response {
    report(shown, uri, async |reports, range| json(&reports.topology(range).await?)).await
}

/// Why there is no answer.
enum Failure {
    Report(ReportError),
    Refused(Refusal),
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self::Report(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Report(error @ ReportError::Range { .. }) => (StatusCode::BAD_REQUEST, error.to_string()),
            Failure::Report(error @ ReportError::Engine { .. }) => (StatusCode::BAD_GATEWAY, error.to_string()),
            Failure::Report(error @ ReportError::Late { .. }) => (StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            Failure::Refused(refusal) => refusal,
        }
    }
}

fn json(report: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(report);
    text.map_err(|error| Failure::Refused((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
}

async fn report<F>(shown: Shown, uri: Uri, make: F) -> Response
where
    F: AsyncFnOnce(&dyn Reports, Range) -> Result<String, Failure> + Send + 'static,
{
    let Some(reports) = shown.backend.reports() else {
        return shown.error(StatusCode::SERVICE_UNAVAILABLE, "there is no history to report from yet");
    };
    let range = match wanted(uri.query().unwrap_or(""))
        .and_then(|(seconds, until)| reports.range(seconds, until).map_err(|error| Failure::Report(error).into()))
    {
        Ok(range) => range,
        Err((status, what)) => return shown.error(status, &what),
    };
    let Ok(place) = Arc::clone(&shown.reports).try_acquire_owned() else {
        return shown.busy("too many reports at a time");
    };
    let runtime = tokio::runtime::Handle::current();
    // Dropped with this future, which ends with the connection.
    let (_wanted, gone) = tokio::sync::oneshot::channel::<()>();
    let made = tokio::task::spawn_blocking(move || {
        let _place = place;
        runtime.block_on(async {
            tokio::select! {
                made = make(&*reports, range) => made,
                _ = gone => Err(Failure::Refused((StatusCode::REQUEST_TIMEOUT, "nobody waits for this".to_owned()))),
            }
        })
    });
    match made.await {
        Ok(Ok(mut text)) => {
            text.push('\n');
            shown.answer(StatusCode::OK, "application/json", text)
        }
        Ok(Err(failure)) => {
            let (status, what) = failure.into();
            shown.error(status, &what)
        }
        // A panic; the hook has said where.
        Err(_) => shown.error(StatusCode::INTERNAL_SERVER_ERROR, "this report cannot be made; the log says why"),
    }
}

/// Seconds, and their end.
fn wanted(query: &str) -> Result<(u32, Option<i64>), Refusal> {
    let bad = |what: String| Err((StatusCode::BAD_REQUEST, what));
    let (mut last, mut until) = (LAST, None);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let shown: String = value.chars().take(64).collect();
        match name {
            "last" => match seconds(value) {
                Some(seconds) => last = seconds,
                None => return bad(format!("last={shown} is not a stretch of time; write one such as 15m, 6h or 90s")),
            },
            "until" => match value.parse() {
                Ok(at) => until = Some(at),
                Err(_) => return bad(format!("until={shown} is not a time; write seconds since the epoch")),
            },
            _ => {
                let name: String = name.chars().take(64).collect();
                return bad(format!("there is no parameter {name}; last and until are known here"));
            }
        }
    }
    Ok((last, until))
}

/// Whole ones.
fn seconds(text: &str) -> Option<u32> {
    let time = crate::settings::duration::parse(text)?;
    u32::try_from(time.as_secs()).ok().filter(|_| time.subsec_nanos() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_range_or_says_what_is_wrong() {
        assert_eq!(wanted(""), Ok((900, None)));
        assert_eq!(wanted("last=6h&until=1700000000"), Ok((21_600, Some(1_700_000_000))));
        for (query, word) in [
            ("last=", "last"),
            ("last=6", "last"),
            ("last=h", "last"),
            ("last=99999999h", "last"),
            ("last=-1h", "last"),
            ("until=now", "until"),
            ("until=99999999999999999999", "until"),
            ("step=5", "step"),
        ] {
            let (status, what) = wanted(query).unwrap_err();
            assert!(status == StatusCode::BAD_REQUEST && what.contains(word), "{query}: {what}");
        }
    }
}
