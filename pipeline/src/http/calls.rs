//! `/api/v1/calls`: single calls as lines of JSON, those that are kept or, with `follow=true`, those that come.
//! `/api/v1/calls/{span_id}`: one of them, with the others of its trace.
//!
//! A client that follows and reads too slowly has calls left out, and is told how many. An empty line comes when nothing else does
//! ([`HEARTBEAT`]), so that one that is gone is noticed. Bounds: [`MAX_LIMIT`] calls an answer, and those of [`crate::calls`].
//! Absent: how calls are tied.

use super::guard::OpenEnd;
use super::shown::Shown;
use crate::calls::filter::{CallFilter, MAX_VALUES};
use crate::calls::{Calls, Followed};
use crate::records;
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_core::Stream;
use redtap_stages::flow::trace::SpanId;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// Calls of an answer, if nobody says how many.
const LIMIT: usize = 100;
/// Most calls of an answer that is not followed.
const MAX_LIMIT: usize = 10_000;
/// How often something is sent to who follows.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Calls that are sent in one piece.
const PIECE: usize = 64;

const NDJSON: &str = "application/x-ndjson";

/// What is asked for.
#[derive(Debug, Default, PartialEq)]
struct Wish {
    filter: CallFilter,
    limit: Option<usize>,
    follow: bool,
}

impl Wish {
    fn read(parameters: &[(String, String)]) -> Result<Self, String> {
        let mut wish = Self::default();
        if parameters.len() > MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} parameters"));
        }
        for (name, value) in parameters {
            match (name.as_str(), value.as_str()) {
                ("follow", "true" | "1" | "") => wish.follow = true,
                ("follow", "false" | "0") => wish.follow = false,
                ("follow", _) => return Err("follow is true or false".to_owned()),
                ("limit", number) => {
                    let limit = number.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    wish.limit = Some(limit.ok_or_else(|| format!("limit is a number from 1 to {MAX_LIMIT}"))?);
                }
                (name, value) => wish.filter.add(name, value).map_err(|error| error.to_string())?,
            }
        }
        Ok(wish)
    }
}

/// `/api/v1/calls`.
pub(super) async fn list(
    State(shown): State<Shown>,
    connection: Option<Extension<ConnectInfo<OpenEnd>>>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let wish = match query.map_err(|error| error.to_string()).and_then(|Query(all)| Wish::read(&all)) {
        Ok(wish) => wish,
        Err(why) => return shown.error(StatusCode::BAD_REQUEST, &why),
    };
    let Some(calls) = shown.calls() else { return nothing_yet(&shown) };
    if !wish.follow {
        let mut text = String::new();
        for call in calls.newest(&wish.filter, wish.limit.unwrap_or(LIMIT)) {
            let _ = writeln!(text, "{}", records::call_line(&call, calls.wall_offset()));
        }
        return shown.answer(StatusCode::OK, NDJSON, text);
    }
    match calls.follow(wish.filter) {
        Ok(followed) => {
            if let Some(Extension(ConnectInfo(connection))) = connection {
                connection.is_open();
            }
            let lines = Lines::new(followed, calls.wall_offset(), wish.limit);
            shown.answer(StatusCode::OK, NDJSON, Body::from_stream(lines))
        }
        Err(why) => shown.error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}

/// `/api/v1/calls/{span_id}`.
pub(super) async fn one(State(shown): State<Shown>, Path(span): Path<String>) -> Response {
    let id = (span.len() == 16).then(|| u64::from_str_radix(&span, 16).ok()).flatten().and_then(SpanId::new);
    let Some(id) = id else {
        return shown.error(StatusCode::BAD_REQUEST, "the id of a call is 16 hexadecimal digits");
    };
    let Some(calls) = shown.calls() else { return nothing_yet(&shown) };
    let Some((call, trace)) = calls.tree(id) else {
        return shown.error(StatusCode::NOT_FOUND, "this call is not kept (any more)");
    };
    let lines: Vec<String> = trace.iter().map(|call| records::call_line(call, calls.wall_offset())).collect();
    let text =
        format!("{{\"call\":{},\"trace\":[{}]}}\n", records::call_line(&call, calls.wall_offset()), lines.join(","));
    shown.answer(StatusCode::OK, "application/json", text)
}

fn nothing_yet(shown: &Shown) -> Response {
    shown.error(StatusCode::SERVICE_UNAVAILABLE, "the probe is not attached yet")
}

impl Shown {
    fn calls(&self) -> Option<Arc<Calls>> {
        self.backend.calls()
    }
}

/// The body of an answer that goes on.
struct Lines {
    followed: Followed,
    wall_offset: i64,
    /// So many more; `None`: no end.
    left: Option<usize>,
    beat: Interval,
}

impl Lines {
    fn new(followed: Followed, wall_offset: i64, left: Option<usize>) -> Self {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { followed, wall_offset, left, beat }
    }
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.left == Some(0) {
            return Poll::Ready(None);
        }
        let mut text = String::new();
        let mut ended = false;
        for _ in 0..PIECE.min(this.left.unwrap_or(PIECE)) {
            match this.followed.calls.poll_recv(context) {
                Poll::Ready(Some(call)) => {
                    let _ = writeln!(text, "{}", records::call_line(&call, this.wall_offset));
                    this.left = this.left.map(|left| left - 1);
                }
                Poll::Ready(None) => {
                    ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        let left_out = this.followed.left_out();
        if left_out > 0 {
            let _ = writeln!(text, "{{\"left_out\":{left_out}}}");
        }
        if text.is_empty() && !ended && this.beat.poll_tick(context).is_ready() {
            text.push('\n');
            // So that the next beat wakes it.
            let _ = this.beat.poll_tick(context);
        }
        match (text.is_empty(), ended) {
            (false, _) => Poll::Ready(Some(Ok(text.into()))),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[(&str, &str)]) -> Result<Wish, String> {
        let words: Vec<_> = words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Wish::read(&words)
    }

    #[test]
    fn reads_wishes_and_says_what_is_wrong_with_others() {
        let wish = read(&[("follow", "true"), ("limit", "7"), ("service", "a"), ("service", "b")]).unwrap();
        assert_eq!((wish.follow, wish.limit), (true, Some(7)));
        for bad in [("follow", "maybe"), ("limit", "0"), ("limit", "10001"), ("colour", "red"), ("status", "bad")] {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
    }
}
