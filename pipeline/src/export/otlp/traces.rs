//! Traces: follows single calls and makes spans of those that are chosen.
//!
//! [`Calls`] gives each its ids and finds its parent; what does not fit on the way is counted as `overflow`. Every
//! exchange is gathered once and has one fate: sent and delivered, refused, overflow, ended, `not_sampled` or `rate`.
//!
//! Bounds: [`MAX_TAKEN`] calls are looked at in one go, spans are sent when there are [`MAX_SPANS`] of them or the oldest is
//! [`DELAY`] old. Absent: ids, what ties calls together.

use super::outbox::{Encoding, Outbox, Parcel};
use super::resources::Resources;
use super::sampling::{Facts, Fate, Sampler, Sampling};
use super::wire::{ExportTraceServiceRequest, ResourceSpans, SCHEMA_URL, ScopeSpans, Span, scope};
use super::{TracesPlan, span};
use crate::calls::tie::Call;
use crate::calls::{Calls, Followed};
use crate::clock;
use crate::export::{Account, Ending, Reason};
use crate::registry::Registry;
use prost::Message as _;
use redtap_stages::flow::joined::Identity;
use redtap_stages::symbol::Symbol;
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Calls looked at in one go.
pub(super) const MAX_TAKEN: usize = 256;
/// How often it is looked what is due.
const LOOK: Duration = Duration::from_millis(250);
/// Most spans of one request.
pub(super) const MAX_SPANS: usize = 512;
/// How long a span waits for others.
pub(super) const DELAY: Nanos = Nanos::SECOND;

/// Spans in the making.
#[derive(Debug)]
pub(super) struct Spans {
    sampler: Sampler<Arc<Call>>,
    spans: Vec<(Symbol, Span)>,
    /// When the oldest of them was made.
    oldest: Nanos,
}

impl Spans {
    pub(super) fn new(sampling: Sampling, now: Nanos) -> Self {
        Self { sampler: Sampler::new(sampling, now), spans: Vec::new(), oldest: now }
    }

    /// Takes up calls. `wall_offset` as in [`span::span`].
    pub(super) fn take(
        &mut self,
        now: Nanos,
        wall_offset: i64,
        calls: impl Iterator<Item = Arc<Call>>,
        account: &Account,
    ) {
        let Self { sampler, spans, oldest } = self;
        let mut tell = |fate, call: Arc<Call>| told(fate, &call, now, wall_offset, (spans, oldest), account);
        for call in calls {
            account.gathered(1);
            let exchange = &call.joined.converged.exchange;
            let duration = span::end(exchange, call.known).since(exchange.start);
            let facts = Facts { randomness: span::randomness(&call.ids), error: exchange.is_error(), duration };
            sampler.offer(now, facts, call, &mut tell);
        }
    }

    /// Decides on what was held, where it is time; or on all of it.
    pub(super) fn turn(&mut self, now: Nanos, wall_offset: i64, last: bool, account: &Account) {
        let Self { sampler, spans, oldest } = self;
        let mut tell = |fate, call: Arc<Call>| told(fate, &call, now, wall_offset, (spans, oldest), account);
        if last {
            sampler.end(&mut tell);
        } else {
            sampler.turn(now, &mut tell);
        }
    }

    /// The next request, if there is enough for one or its time has come.
    pub(super) fn request(
        &mut self,
        now: Nanos,
        last: bool,
        resources: &Resources,
        identities: impl FnOnce() -> Vec<Arc<Identity>>,
    ) -> Option<(ExportTraceServiceRequest, u64)> {
        let due = last || self.spans.len() >= MAX_SPANS || now.since(self.oldest) >= DELAY;
        if self.spans.is_empty() || !due {
            return None;
        }
        let rest = self.spans.split_off(self.spans.len().min(MAX_SPANS));
        let spans = std::mem::replace(&mut self.spans, rest);
        let (count, identities) = (spans.len() as u64, identities());
        let mut by_service: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for (service, span) in spans {
            by_service.entry(service.as_str().to_owned()).or_default().push(span);
        }
        let resource_spans = by_service.into_iter().map(|(service, spans)| ResourceSpans {
            resource: Some(resources.service(&service, &identities)),
            scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA_URL.to_owned() }],
            schema_url: SCHEMA_URL.to_owned(),
        });
        Some((ExportTraceServiceRequest { resource_spans: resource_spans.collect() }, count))
    }
}

/// What the sampler says of one.
fn told(
    fate: Fate,
    call: &Call,
    now: Nanos,
    wall_offset: i64,
    (spans, oldest): (&mut Vec<(Symbol, Span)>, &mut Nanos),
    account: &Account,
) {
    match fate {
        Fate::Sent => {
            if spans.is_empty() {
                *oldest = now;
            }
            spans.push((call.joined.parties.service.clone(), span::span(call, wall_offset)));
        }
        Fate::NotSampled => account.undelivered(Reason::NotSampled, 1),
        Fate::Rate => account.undelivered(Reason::Rate, 1),
    }
}

/// Makes spans and puts them into the outbox.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    spans: Spans,
    resources: Resources,
    encoding: Encoding,
    outbox: &'a Outbox,
    account: &'a Account,
    calls: &'a Calls,
    registry: &'a Registry,
    /// Exchanges that were lost before anyone could look at them, as far as they are in the account.
    lost: u64,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        plan: &TracesPlan,
        outbox: &'a Outbox,
        account: &'a Account,
        calls: &'a Calls,
        registry: &'a Registry,
    ) -> Self {
        Self {
            spans: Spans::new(plan.sampling, clock::monotonic()),
            resources: Resources::new(&plan.common.host, &plan.common.resource_attributes),
            encoding: plan.common.encoding,
            outbox,
            account,
            calls,
            registry,
            lost: calls.counts().lost,
        }
    }

    /// Until it is asked to end and all has been taken.
    pub(super) async fn run(mut self, mut followed: Followed, mut ending: Ending) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = Vec::with_capacity(MAX_TAKEN);
        loop {
            let over = tokio::select! {
                count = followed.calls.recv_many(&mut taken, MAX_TAKEN) => count == 0,
                _ = look.tick() => false,
                // What is there is still taken, then it is over.
                () = ending.asked(), if !followed.calls.is_closed() => {
                    followed.calls.close();
                    false
                }
            };
            let (now, wall_offset) = (clock::monotonic(), clock::wall_offset_ns());
            self.spans.take(now, wall_offset, taken.drain(..), self.account);
            self.lost(followed.left_out());
            self.spans.turn(now, wall_offset, over, self.account);
            while self.send(now, over) {
                tokio::task::yield_now().await;
            }
            if over {
                return self.outbox.close();
            }
        }
    }

    /// What went by: on the way here, and before.
    fn lost(&mut self, left_out: u64) {
        let lost = self.calls.counts().lost;
        let count = left_out + lost.saturating_sub(self.lost);
        self.lost = lost;
        self.account.gathered(count);
        self.account.undelivered(Reason::Overflow, count);
    }

    /// True if there was a request to put in the outbox.
    fn send(&mut self, now: Nanos, last: bool) -> bool {
        let identities = || self.registry.identities();
        let Some((message, items)) = self.spans.request(now, last, &self.resources, identities) else { return false };
        self.outbox.put(Parcel { body: self.encoding.encode(message.encode_to_vec()).into(), items });
        true
    }
}

#[cfg(test)]
mod tests;
