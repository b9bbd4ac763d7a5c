//! Sends what waits in an [`Outbox`], one request after the other, until it is taken or refused.
//!
//! By the rules of OTLP/HTTP: 429, 502, 503 and 504 are tried again, after `Retry-After` if the receiver says so; so is what had
//! no answer. By those of OTLP/gRPC: the statuses that it names, after `RetryInfo`. Everything else is refused for good. A success may still name items that were not taken. An outage is one line
//! in the log, not one a request. Absent: what is in a request.

use super::outbox::{Encoding, Outbox, Sending};
use super::{Common, Protocol};
use crate::export::Ending;
use crate::export::backoff::{Backoff, dice};
use crate::export::client::{Client, Outcome, Request, Retryable, shown};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use std::time::Duration;

/// Waits between two tries.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Longest wait once the agent ends.
const LAST_WAIT: Duration = Duration::from_millis(250);

/// Who takes it, and how it is told.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) client: Client,
    /// What it speaks.
    #[cfg_attr(not(feature = "otlp-grpc"), expect(dead_code, reason = "there is but one encoding of a request"))]
    pub(super) protocol: Protocol,
    /// What bodies are compressed with.
    pub(super) encoding: Encoding,
    /// How many items of a request were not taken, by the answer to it, and why.
    pub(super) rejected: fn(&[u8]) -> (u64, String),
}

impl Receiver {
    /// Reached by `client`, told as `common` says.
    pub(super) fn new(client: Client, common: &Common, rejected: fn(&[u8]) -> (u64, String)) -> Self {
        Self { client, protocol: common.protocol, encoding: common.encoding, rejected }
    }
}

/// Until the outbox is closed and empty.
pub(super) async fn deliver(outbox: &Outbox, to: &Receiver, mut ending: Ending) {
    let mut backoff = Backoff::new(WAITS.0, WAITS.1);
    while let Some(sending) = outbox.next().await {
        if !one(sending, outbox, to, &mut backoff, &mut ending).await {
            return;
        }
        backoff.reset();
    }
}

/// Until it is decided; false: nothing more can be sent before the end.
async fn one(sending: Sending, outbox: &Outbox, to: &Receiver, backoff: &mut Backoff, ending: &mut Ending) -> bool {
    let receiver = shown(&to.client.settings().url);
    let mut failing = false;
    loop {
        match to.client.send(request(&sending, to)).await {
            Outcome::Delivered(answer) => {
                let (count, why) = (to.rejected)(&answer.body);
                if count > 0 || !why.is_empty() {
                    let why = to.client.shown(&why).await;
                    tracing::warn!(receiver, rejected = count, "not all was taken: {why:?}");
                }
                if failing {
                    tracing::info!(receiver, "takes again what is sent");
                }
                sending.delivered(count);
                return true;
            }
            Outcome::Refused { status, said, .. } => {
                tracing::warn!(receiver, status, "refused: {said:?}");
                sending.refused();
                return true;
            }
            Outcome::Retry { why, after } => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(receiver, "{why}; it is tried again until there is no more room to keep what waits");
                }
                let wait = backoff.next(after, dice());
                let last = ending.is_asked();
                if last && after.is_some() {
                    return false;
                }
                let wait = if last { wait.min(LAST_WAIT) } else { wait };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    // It may have come back by now: a last chance, at once.
                    () = ending.asked(), if !last => {}
                }
                outbox.retried();
            }
        }
    }
}

fn request(sending: &Sending, to: &Receiver) -> Request {
    #[cfg(feature = "otlp-grpc")]
    if to.protocol == Protocol::Grpc {
        return Request::grpc(&sending.body(), to.encoding == Encoding::Gzip);
    }
    let request = Request::post(sending.body(), Retryable::Overload);
    let request = request.with(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    match to.encoding {
        Encoding::Gzip => request.with(CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        Encoding::Identity => request,
    }
}

#[cfg(test)]
mod tests;
