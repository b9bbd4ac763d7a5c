//! What becomes of calls between those who tie them and the outbox.

use super::*;
use crate::calls::ids::Names;
use crate::export::otlp::span::tests::{call, joined};
use redtap_stages::flow::conn::Role;
use redtap_stages::protocols::Protocol;

fn spans_of(millionths: u32, slowest: usize) -> Spans {
    Spans::new(Sampling { millionths, slowest, per_second: 10_000 }, Nanos::ZERO)
}

fn batch(count: u32, code: &str) -> impl Iterator<Item = Arc<Call>> {
    let names = Names::new(Nanos(1));
    (1..=count).map(move |number| {
        let mut call = call(joined(Protocol::Http1, Role::Server, ["GET", "/", "/", code]));
        call.ids.span = names.numbered(1, number);
        call.ids.trace = names.trace(call.ids.span);
        Arc::new(call)
    })
}

fn requests(spans: &mut Spans, now: Nanos, last: bool) -> Vec<(ExportTraceServiceRequest, u64)> {
    let resources = Resources::new("node-1", &BTreeMap::new());
    std::iter::from_fn(|| spans.request(now, last, &resources, Vec::new)).collect()
}

fn spans(request: &ExportTraceServiceRequest) -> Vec<&Span> {
    request.resource_spans.iter().flat_map(|one| &one.scope_spans).flat_map(|scope| &scope.spans).collect()
}

#[test]
fn spans_wait_for_others_but_not_for_long() {
    let account = Account::new("test");
    let mut all = spans_of(1_000_000, 0);
    all.take(Nanos(1), 0, batch(u32::try_from(MAX_SPANS).unwrap() + 3, "200"), &account);
    let sizes = |requests: &[(ExportTraceServiceRequest, u64)]| requests.iter().map(|one| one.1).collect::<Vec<_>>();
    assert_eq!(sizes(&requests(&mut all, Nanos(2), false)), [MAX_SPANS as u64]);
    assert!(requests(&mut all, Nanos::SECOND, false).is_empty());
    assert_eq!(sizes(&requests(&mut all, Nanos(DELAY.0 + 1), false)), [3]);
    assert_eq!(account.totals().pending, MAX_SPANS as u64 + 3, "made is not delivered");
}

#[test]
fn each_span_has_ids_of_its_own_and_a_service() {
    let account = Account::new("test");
    let mut all = spans_of(1_000_000, 0);
    all.take(Nanos(1), 0, batch(100, "200"), &account);
    let requests = requests(&mut all, Nanos(2), true);
    let spans = spans(&requests[0].0);
    let ids = |id: fn(&Span) -> &Vec<u8>| spans.iter().map(|span| id(span)).collect::<std::collections::BTreeSet<_>>();
    assert_eq!((ids(|span| &span.trace_id).len(), ids(|span| &span.span_id).len()), (100, 100));
    assert_eq!(requests[0].0.resource_spans.len(), 1);
}

#[test]
fn errors_and_the_slowest_are_sent_though_nothing_else_is() {
    let account = Account::new("test");
    let mut all = spans_of(0, 2);
    all.take(Nanos(1), 0, batch(10, "200"), &account);
    all.take(Nanos(1), 0, batch(3, "500"), &account);
    all.turn(Nanos(2), 0, true, &account);
    let requests = requests(&mut all, Nanos(2), true);
    assert_eq!(requests.iter().map(|one| one.1).sum::<u64>(), 5);
    let totals = account.totals();
    assert_eq!((totals.gathered, totals.undelivered[Reason::NotSampled as usize], totals.pending), (13, 8, 5));
}
