//! Sends what waits in the queue of one shard, one batch at a time, until it is taken or refused for good.
//!
//! Life cycle: [`Sender::run`] until the exporter is asked to end and nothing of its shard is left, or the receiver does not
//! take what is left at a last try.

use super::encode::{Version, body};
use super::negotiation::{Receiver, Step};
use super::queue::{Job, Queue};
use crate::export::backoff::{Backoff, dice};
use crate::export::client::{Client, Request, Retryable};
use crate::export::{Account, Ending, Reason, aside};
use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Shortest and longest wait before a request is sent again.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// Most refusals that are logged, one each so many.
const LOG_EVERY: u32 = 100;

/// What all senders of one exporter share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) queue: Arc<Mutex<Queue>>,
    /// The queue is on disk: who uses it may have to wait for that.
    pub(super) on_disk: bool,
    pub(super) account: Arc<Account>,
    pub(super) native: bool,
    pub(super) receiver: Cell<Receiver>,
    /// Rung when something came or went.
    pub(super) news: Notify,
    /// Nothing more will come.
    pub(super) closed: Cell<bool>,
    /// One sender could not send its last batch: nobody waits for the others' batches any more.
    pub(super) given_up: Cell<bool>,
    /// The receiver does not answer, or asks to come again.
    pub(super) failing: Cell<bool>,
    /// Refusals so far.
    pub(super) refusals: Cell<u32>,
}

impl Shared {
    /// Uses the queue, without holding up other exporters while the disk works.
    pub(super) async fn with<R: Send + 'static>(&self, use_it: impl FnOnce(&mut Queue) -> R + Send + 'static) -> R {
        if !self.on_disk {
            return use_it(&mut self.queue.lock());
        }
        let queue = Arc::clone(&self.queue);
        aside(move || use_it(&mut queue.lock())).await
    }
}

/// The sender of one shard.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) shared: Rc<Shared>,
    pub(super) shard: u16,
    pub(super) ending: Ending,
}

impl Sender {
    pub(super) async fn run(mut self) {
        let shared = Rc::clone(&self.shared);
        let shard = self.shard;
        loop {
            let news = shared.news.notified();
            tokio::pin!(news);
            // From here on a ring is not missed.
            news.as_mut().enable();
            let closed = shared.closed.get();
            match shared.with(move |queue| queue.take(shard)).await {
                Some(job) => {
                    let decided = self.send(job).await;
                    shared.given_up.set(shared.given_up.get() || !decided);
                    shared.news.notify_waiters();
                    if !decided {
                        return;
                    }
                }
                // A batch that must wait for those of other shards is not taken yet, but it is there.
                None if closed && self.is_over().await => return,
                None => news.await,
            }
        }
    }

    async fn is_over(&self) -> bool {
        self.shared.given_up.get() || self.shared.with(|queue| queue.pending() == 0).await
    }

    /// Sends until it is decided; false if it is given up because the agent ends.
    async fn send(&mut self, job: Job) -> bool {
        let mut backoff = Backoff::new(WAITS.0, WAITS.1);
        let mut version = self.shared.receiver.get().version();
        loop {
            let (packed, native) = (job.packed.clone(), self.shared.native);
            let Ok(body) = aside(move || body(&packed, version, native)).await else {
                self.shared.with(move |queue| queue.done(&job, 0, Reason::Unreadable)).await;
                return true;
            };
            // Asked before: then this is the last try.
            let last = self.ending.is_asked();
            let outcome = self.shared.client.send(request(body, version)).await;
            let mut receiver = self.shared.receiver.get();
            let step = receiver.heard(version, job.samples, outcome);
            self.learn(receiver);
            match step {
                Step::As(other) => version = other,
                Step::Done { delivered, refused, why } => {
                    if self.shared.failing.take() {
                        tracing::info!("the receiver of remote write takes again what is sent");
                    }
                    if refused > 0 {
                        self.tell(refused, why);
                    }
                    self.shared.with(move |queue| queue.done(&job, delivered, Reason::Refused)).await;
                    return true;
                }
                Step::Again { why, .. } if last => {
                    tracing::warn!("remote write ends without having sent everything: {why}");
                    self.shared.with(move |queue| queue.put_back(&job)).await;
                    return false;
                }
                Step::Again { why, after } => {
                    // One line an outage, whatever the number of shards.
                    if !self.shared.failing.replace(true) {
                        tracing::warn!(
                            "remote write: {why}; it is tried again until there is no more room to keep what waits"
                        );
                    }
                    let wait = backoff.next(after, dice());
                    tracing::debug!(shard = self.shard, "remote write waits {wait:?}: {why}");
                    self.shared.account.retried();
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.ending.asked() => {}
                    }
                    version = self.shared.receiver.get().version();
                }
            }
        }
    }

    fn learn(&self, receiver: Receiver) {
        let before = self.shared.receiver.replace(receiver);
        if before.version() != receiver.version() {
            tracing::info!("the receiver of remote write knows only version 1.0: it is spoken from now on");
        }
    }

    fn tell(&self, refused: u32, why: Option<(u16, String)>) {
        let refusals = self.shared.refusals.get();
        self.shared.refusals.set(refusals.wrapping_add(1));
        if refusals.is_multiple_of(LOG_EVERY) {
            let (status, said) = why.unwrap_or_default();
            tracing::warn!(status, refused, "the receiver of remote write refused samples: {said}");
        }
    }
}

/// Remote write 2.0, "Protocol"; the headers of 1.0 are the same but for their values.
fn request(body: Bytes, version: Version) -> Request {
    let (content, number) = match version {
        Version::V1 => ("application/x-protobuf", "0.1.0"),
        Version::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
    };
    Request::post(body, Retryable::ServerErrors)
        .with(CONTENT_ENCODING, HeaderValue::from_static("snappy"))
        .with(CONTENT_TYPE, HeaderValue::from_static(content))
        .with(HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static(number))
}
