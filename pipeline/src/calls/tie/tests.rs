//! Ties are right or not made: threads, event loops, goroutines, sockets, and what is missing.

use super::*;
use redtap_stages::flow::conn::{Address, ConnInfo, Owner, Transport};
use redtap_stages::flow::converged;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::joined::Parties;
use redtap_stages::flow::message::{Addresses, Status};
use redtap_stages::flow::trace::{TraceContext, TraceFormat};
use redtap_stages::protocols::Protocol;
use redtap_stages::symbol::Interner;
use redtap_stages::text::{Text, Token};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Milliseconds of a test, which begin late enough for everything to be after zero.
fn ms(at: u64) -> Nanos {
    Nanos::from_millis(100_000 + at)
}

/// One exchange of process `pid`, on `tid`, over milliseconds `from..to`.
pub(in crate::calls) struct One {
    pid: u32,
    tid: u32,
    side: Role,
    from: u64,
    to: u64,
    conn: u64,
    port: u16,
    number: u32,
    id: u32,
    answered_by: u32,
    answered: bool,
    said: Option<(u128, u64)>,
    protocol: Protocol,
}

impl One {
    fn new(side: Role, pid: u32, tid: u32, from: u64, to: u64) -> Self {
        // Its own connection: nothing else starts then.
        let conn = from * 1_000 + to * 7 + u64::from(pid) * 100_000 + u64::from(tid);
        let port = u16::try_from(conn % 50_000 + 1_000).unwrap();
        Self {
            pid,
            tid,
            side,
            from,
            to,
            conn,
            port,
            number: 1,
            id: 0,
            answered_by: tid,
            answered: true,
            said: None,
            protocol: Protocol::Http1,
        }
    }

    pub(in crate::calls) fn served(pid: u32, tid: u32, from: u64, to: u64) -> Self {
        Self::new(Role::Server, pid, tid, from, to)
    }

    fn asked(pid: u32, tid: u32, from: u64, to: u64) -> Self {
        Self::new(Role::Client, pid, tid, from, to)
    }

    pub(in crate::calls) fn joined(&self) -> Joined {
        let mut interner = Interner::default();
        // Servers are asked from elsewhere, unless the port says that both ends are here.
        let here = Address::Inet(Ipv4Addr::LOCALHOST.into(), 80);
        let client = Address::Inet(Ipv4Addr::new(10, 0, 0, 1).into(), self.port);
        let (local, remote) = if self.side == Role::Server { (here, client) } else { (client, here) };
        let conn = ConnInfo {
            id: self.conn,
            transport: Transport::Tcp,
            role: self.side,
            local,
            remote,
            owner: Owner { pid: self.pid, cgroup_id: 0, comm: [0; 16] },
            netns: 1,
            sock_ino: 0,
            late: false,
            sampling: 0,
        };
        let context = self.said.map(|(trace, parent)| TraceContext {
            trace: TraceId::new(trace).unwrap(),
            parent: SpanId::new(parent).unwrap(),
            sampled: Some(true),
            format: TraceFormat::Traceparent,
        });
        let exchange = Exchange {
            conn: Arc::new(conn),
            protocol: self.protocol,
            side: self.side,
            start: ms(self.from),
            answered: self.answered.then(|| ms(self.to)),
            end: self.answered.then(|| ms(self.to)),
            method: Token::from("GET"),
            target: Text::from("/"),
            status: Status::Ok,
            code: Token::from("200"),
            addresses: Addresses::new(),
            no_answer: None,
            session: None,
            trace: context.map(Box::new),
            number: self.number,
            id: self.id,
            asked_by: self.tid,
            answered_by: self.answered_by,
            request_messages: 0,
            response_messages: 0,
            request_bytes: 1,
            response_bytes: 1,
            one_way: false,
            sampling: 0,
        };
        let names = converged::Names {
            endpoint: interner.intern("/"),
            collection: interner.intern(""),
            namespace: interner.intern(""),
            method: interner.intern("GET"),
            code: interner.intern("200"),
        };
        let (service, peer) = (interner.intern(""), interner.intern(""));
        let parties = Parties { service, identity: 0, peer, peer_watched: false };
        Joined { converged: converged::Converged { exchange, names: Arc::new(names) }, parties: Arc::new(parties) }
    }

    fn span(&self, tie: &Tie) -> SpanId {
        tie.names.numbered(self.conn, self.number)
    }
}

/// Takes them as they end, tells what is open ten times a second, and gives what came of it by span.
fn run(tie: &mut Tie, all: &[One], until: u64) -> HashMap<SpanId, Ids> {
    let mut order: Vec<&One> = all.iter().collect();
    order.sort_by_key(|one| one.to);
    let mut out = Vec::new();
    let mut next = order.into_iter().peekable();
    for at in (0..until).step_by(10) {
        while let Some(one) = next.next_if(|one| one.to <= at) {
            tie.take(one.joined(), ms(at), &mut out);
        }
        if at % 100 == 0 {
            let open = all.iter().filter(|one| one.side == Role::Server && one.from <= at && at < one.to);
            let requests = open
                .map(|one| OpenRequest {
                    pid: one.pid,
                    tid: one.tid,
                    start: ms(one.from),
                    conn: one.conn,
                    number: one.number,
                })
                .collect();
            // The answer is on its way for as long as anything else.
            tie.opened(Open { at: ms(at), complete: true, requests, lost: 0 });
        }
        tie.settle(ms(at), &mut out);
    }
    out.into_iter().map(|call| (call.ids.span, call.ids)).collect()
}

fn tie() -> Tie {
    Tie::new(Names::new(Nanos(7)))
}

#[test]
fn the_only_request_of_a_thread_is_the_cause_of_its_call() {
    let mut tie = tie();
    let all = [One::served(1, 11, 0, 50), One::asked(1, 11, 10, 20), One::asked(1, 11, 30, 40)];
    let ids = run(&mut tie, &all, 2_000);
    let [request, first, second] = all.each_ref().map(|one| ids[&one.span(&tie)]);
    for call in [first, second] {
        assert_eq!((call.parent, call.link, call.trace), (Some(request.span), Link::Thread, request.trace));
    }
    assert_eq!((request.parent, request.link), (None, Link::None));
}

#[test]
fn many_calls_before_the_first_answer_are_tied_to_it_when_it_comes() {
    let mut tie = tie();
    // Twenty calls of one request; the request is over after the last of them.
    let mut all: Vec<One> = (0..20).map(|call| One::asked(1, 11, 10 + 4 * call, 12 + 4 * call)).collect();
    all.push(One::served(1, 11, 0, 100));
    let ids = run(&mut tie, &all, 2_000);
    let request = ids[&all[20].span(&tie)];
    let tied = all[..20].iter().filter(|call| ids[&call.span(&tie)].parent == Some(request.span)).count();
    assert_eq!(tied, 20);
}

#[test]
fn a_request_that_got_no_answer_was_open_until_that_was_known() {
    let mut tie = tie();
    // The client of the first hangs up at 300 ms; the second is answered in between, and the call may be of either.
    let mut all = [One::served(1, 11, 0, 300), One::served(1, 11, 100, 150), One::asked(1, 11, 120, 130)];
    all[0].answered = false;
    let ids = run(&mut tie, &all, 2_000);
    let call = ids[&all[2].span(&tie)];
    assert_eq!((call.parent, call.link), (None, Link::None));
}

#[test]
fn of_two_requests_at_once_in_an_event_loop_neither_is_guessed_even_when_the_longer_one_is_not_over() {
    let mut tie = tie();
    // The call is made under both; the one of 9 s is still open when the short one ends.
    let all = [One::served(1, 11, 0, 9_000), One::served(1, 11, 20, 60), One::asked(1, 11, 30, 40)];
    let ids = run(&mut tie, &all, 12_000);
    let call = ids[&all[2].span(&tie)];
    assert_eq!((call.parent, call.link), (None, Link::None));
    assert_eq!(tie.counts().ambiguous, 1);
}

#[test]
fn a_call_under_a_long_request_is_tied_when_that_ends() {
    let mut tie = tie();
    let all = [One::served(1, 11, 0, 5_000), One::asked(1, 11, 30, 40)];
    let ids = run(&mut tie, &all, 6_000);
    assert_eq!(ids[&all[1].span(&tie)].parent, Some(all[0].span(&tie)));
}

#[test]
fn threads_with_a_request_each_are_trusted_once_they_have_shown_it() {
    let mut tie = tie();
    let mut all = Vec::new();
    for round in 0..40 {
        for thread in 0..4 {
            let from = round * 100 + u64::from(thread);
            all.push(One::served(1, 10 + thread, from, from + 50));
            all.push(One::asked(1, 10 + thread, from + 10, from + 20));
        }
    }
    let ids = run(&mut tie, &all, 20_000);
    let mut tied = 0;
    for pair in all.chunks(2) {
        let call = ids[&pair[1].span(&tie)];
        assert!(call.parent.is_none_or(|parent| parent == pair[0].span(&tie)), "a wrong tie");
        tied += usize::from(call.parent.is_some());
    }
    // All but those of the first rounds.
    assert!(tied >= 130, "{tied} of 160");
}

#[test]
fn a_request_that_another_thread_answers_makes_threads_say_nothing() {
    let mut tie = tie();
    let mut all = Vec::new();
    for round in 0..40 {
        for thread in 0..4 {
            let from = round * 100 + u64::from(thread);
            let mut request = One::served(1, 10 + thread, from, from + 50);
            // A goroutine goes on elsewhere.
            request.answered_by = 10 + (thread + 1) % 4;
            all.push(request);
            all.push(One::asked(1, 10 + (thread + 1) % 4, from + 10, from + 20));
        }
    }
    let ids = run(&mut tie, &all, 20_000);
    assert!(all.chunks(2).all(|pair| ids[&pair[1].span(&tie)].parent.is_none()));
    assert_eq!(tie.counts().thread, 0);
}

#[test]
fn nothing_is_tied_by_thread_where_something_is_missing() {
    let mut tie = tie();
    tie.missed(ms(35));
    let all = [One::served(1, 11, 0, 50), One::asked(1, 11, 30, 40)];
    let ids = run(&mut tie, &all, 2_000);
    assert_eq!(ids[&all[1].span(&tie)].parent, None);
}

#[test]
fn both_ends_of_a_connection_share_a_trace_through_a_whole_chain() {
    let mut tie = tie();
    let mut all =
        [One::asked(1, 1, 0, 100), One::served(2, 2, 1, 99), One::asked(2, 2, 10, 90), One::served(3, 3, 11, 89)];
    all[1].port = all[0].port;
    all[3].port = all[2].port;
    let ids = run(&mut tie, &all, 3_000);
    let chain = all.each_ref().map(|one| ids[&one.span(&tie)]);
    assert!(chain.iter().all(|call| call.trace == chain[0].trace), "{chain:?}");
    let links = chain.map(|call| call.link);
    assert_eq!(links, [Link::None, Link::Socket, Link::Thread, Link::Socket]);
    for (call, cause) in chain[1..].iter().zip(&chain) {
        assert_eq!(call.parent, Some(cause.span));
    }
}

#[test]
fn streams_of_one_connection_are_paired_by_id_and_requests_in_order_by_time() {
    let mut tie = tie();
    let mut all = Vec::new();
    for stream in 0..4_u32 {
        let from = u64::from(stream);
        for (side, pid, from, to) in [(Role::Client, 1, from, 60 + from), (Role::Server, 2, from + 1, 59 + from)] {
            let mut one = One::new(side, pid, pid, from, to);
            (one.port, one.id, one.protocol) = (4_000, stream * 2 + 1, Protocol::Http2);
            all.push(one);
        }
    }
    for round in 0..3 {
        let from = 100 + round * 20;
        for (side, pid, from, to) in [(Role::Client, 1, from, from + 19), (Role::Server, 2, from + 1, from + 18)] {
            let mut one = One::new(side, pid, pid, from, to);
            (one.port, one.number) = (5_000, 1 + u32::try_from(round).unwrap());
            all.push(one);
        }
    }
    let ids = run(&mut tie, &all, 3_000);
    for ends in all.chunks(2) {
        assert_eq!(ids[&ends[1].span(&tie)].parent, Some(ends[0].span(&tie)));
    }
}

/// A client's and a server's end of requests on one connection: number, from, to.
fn ends(pairs: &[[(u32, u64, u64); 2]]) -> Vec<One> {
    let mut all = Vec::new();
    for pair in pairs {
        for ((number, from, to), (side, pid)) in pair.iter().zip([(Role::Client, 1), (Role::Server, 2)]) {
            let mut one = One::new(side, pid, pid, *from, *to);
            (one.conn, one.port, one.number) = (u64::from(pid), 6_000, *number);
            all.push(one);
        }
    }
    all
}

#[test]
fn an_end_that_is_noted_late_is_still_the_same_request() {
    // The server waited for a processor after it had sent; the client waited after it had sent, and the answer was there by then.
    for pairs in [
        [[(1, 0, 10), (1, 1, 200)], [(2, 30, 40), (2, 31, 39)]],
        [[(1, 18, 19), (1, 1, 17)], [(2, 60, 70), (2, 61, 90)]],
    ] {
        let mut tie = tie();
        let all = ends(&pairs);
        let ids = run(&mut tie, &all, 3_000);
        for pair in all.chunks(2) {
            assert_eq!(ids[&pair[1].span(&tie)].parent, Some(pair[0].span(&tie)), "{pairs:?}");
        }
    }
}

#[test]
fn where_an_end_missed_a_request_numbers_and_times_do_not_agree_and_nothing_is_guessed() {
    let mut tie = tie();
    // The server's first was lost: its second is called first.
    let mut all = ends(&[[(1, 0, 10), (9, 0, 0)], [(2, 12, 30), (1, 13, 29)], [(3, 200, 230), (2, 201, 229)]]);
    all.remove(1);
    let ids = run(&mut tie, &all, 3_000);
    assert_eq!(ids[&all[2].span(&tie)].parent, None, "its number says one, its time another");
    assert_eq!(ids[&all[4].span(&tie)].parent, Some(all[3].span(&tie)), "the time says it alone");
}

#[test]
fn a_request_waits_for_its_other_end_for_as_long_as_that_waits_for_its_cause() {
    let mut tie = tie();
    // A thread of which something is open for long: the call is held for as long as anything is.
    let hold = HOLD.0 / 1_000_000;
    let mut all = [One::served(1, 11, 0, 2 * hold), One::asked(1, 11, 10, 20), One::served(2, 2, 11, 19)];
    all[2].port = all[1].port;
    let ids = run(&mut tie, &all, 3 * hold);
    assert_eq!(ids[&all[2].span(&tie)].parent, Some(all[1].span(&tie)));
    assert_eq!(ids[&all[2].span(&tie)].trace, ids[&all[1].span(&tie)].trace);
}

#[test]
fn what_a_request_says_counts_before_what_can_be_inferred() {
    let mut tie = tie();
    let mut all = [One::served(1, 11, 0, 50), One::asked(1, 11, 10, 20), One::asked(1, 11, 30, 40)];
    all[0].said = Some((0xaa, 0x1));
    // The service made a span of its own; the second call only hands on what it was told.
    all[1].said = Some((0xaa, 0x2));
    all[2].said = Some((0xaa, 0x1));
    let ids = run(&mut tie, &all, 2_000);
    let [request, own, handed_on] = all.each_ref().map(|one| ids[&one.span(&tie)]);
    let said = Link::Said(TraceFormat::Traceparent);
    assert_eq!((request.parent.map(SpanId::get), request.link), (Some(1), said));
    assert_eq!((own.parent.map(SpanId::get), own.link), (Some(2), said));
    assert_eq!((handed_on.parent, handed_on.link), (Some(request.span), said));
    assert!([request, own, handed_on].iter().all(|call| call.trace.get() == 0xaa));
}

#[test]
fn no_more_is_held_than_the_bound_and_everything_comes_out_once() {
    let mut tie = tie();
    let mut out = Vec::new();
    let many = MAX_HELD as u64 + 100;
    for at in 0..many {
        tie.take(One::asked(u32::try_from(at % 5_000).unwrap(), 1, at, at + 1).joined(), ms(at), &mut out);
    }
    assert_eq!(tie.held(), MAX_HELD);
    tie.drain(ms(many), &mut out);
    assert_eq!((out.len() as u64, tie.held(), tie.counts().crowded_out), (many, 0, 100));
}

#[test]
fn work_that_moves_from_thread_to_thread_is_followed_along_the_answers_to_its_calls() {
    let mut tie = tie();
    let mut request = One::served(1, 11, 0, 90);
    request.answered_by = 14;
    // Asked by the request's thread, answered on another, which asks the next; then one that was not heard of before, by itself.
    let mut first = One::asked(1, 11, 10, 20);
    first.answered_by = 12;
    let mut second = One::asked(1, 12, 30, 40);
    second.answered_by = 13;
    let (before, third, own) = (One::asked(1, 13, 32, 38), One::asked(1, 13, 50, 60), One::asked(1, 15, 62, 70));
    let all = [request, first, second, third, own, before];
    let ids = run(&mut tie, &all, 3_000);
    let parents: Vec<_> = all.iter().map(|one| ids[&one.span(&tie)].parent).collect();
    let cause = Some(all[0].span(&tie));
    assert_eq!(parents, [None, cause, cause, cause, None, None]);
}

#[test]
fn a_request_that_seems_to_end_before_it_began_does_no_harm() {
    let mut tie = tie();
    let mut out = Vec::new();
    tie.take(One::served(1, 11, 50, 40).joined(), ms(60), &mut out);
    tie.take(One::asked(1, 11, 55, 45).joined(), ms(60), &mut out);
    tie.drain(ms(70), &mut out);
    assert_eq!(out.len(), 2);
}

#[test]
fn nothing_is_tied_across_a_loss_of_the_kernel() {
    let mut tie = tie();
    let mut out = Vec::new();
    let open = |at, lost| Open { at: ms(at), complete: true, requests: Vec::new(), lost };
    let mut parents = Vec::new();
    // Once before anything is lost; while, and shortly after something was; long after.
    for (from, lost) in [(0, 0), (2_000, 1), (4_000, 1), (13_000, 1)] {
        let (request, call) = (One::served(1, 11, from, from + 50), One::asked(1, 11, from + 10, from + 20));
        tie.take(call.joined(), ms(from + 20), &mut out);
        tie.take(request.joined(), ms(from + 50), &mut out);
        tie.opened(open(from + 500, lost));
        tie.settle(ms(from + 1_500), &mut out);
        let ids: HashMap<_, _> = out.drain(..).map(|call| (call.ids.span, call.ids)).collect();
        parents.push(ids[&call.span(&tie)].parent.is_some());
    }
    assert_eq!(parents, [true, false, false, true]);
}

#[test]
fn a_request_without_an_answer_is_trusted_to_its_thread_only_where_nothing_is_lost() {
    let mut tied = Vec::new();
    for lost in [0, 1] {
        let mut tie = tie();
        let mut out = Vec::new();
        for round in 0..20_u64 {
            for thread in 0..2 {
                let from = round * 10 + u64::from(thread);
                tie.take(One::served(1, 10 + thread, from, from + 5).joined(), ms(from + 5), &mut out);
            }
        }
        let (mut request, call) = (One::served(1, 10, 1_000, 1_050), One::asked(1, 10, 1_010, 1_020));
        request.answered = false;
        tie.take(call.joined(), ms(1_020), &mut out);
        tie.take(request.joined(), ms(1_050), &mut out);
        tie.opened(Open { at: ms(1_500), complete: true, requests: Vec::new(), lost });
        tie.settle(ms(2_500), &mut out);
        tied.push(out.iter().find(|one| one.ids.span == call.span(&tie)).is_some_and(|one| one.ids.parent.is_some()));
    }
    assert_eq!(tied, [true, false]);
}

#[test]
fn a_process_id_that_is_anothers_says_nothing_of_the_process_before() {
    for (second, trusted) in [(70, true), (71, false)] {
        let mut tie = tie();
        let mut out = Vec::new();
        assert!(tie.wants_birth(1, ms(0)));
        tie.born(1, 70, ms(0));
        for round in 0..20_u64 {
            for thread in 0..2 {
                let from = round * 10 + u64::from(thread);
                tie.take(One::served(1, 10 + thread, from, from + 5).joined(), ms(from + 5), &mut out);
            }
        }
        assert!(!tie.wants_birth(1, ms(300)), "its number is its own while it is heard of");
        assert!(tie.wants_birth(1, ms(5_000)));
        tie.born(1, second, ms(5_000));
        let trusts = tie.processes[&1].threads() == Threads::Exclusive;
        assert_eq!(trusts, trusted, "{second}");
    }
}

#[test]
fn of_a_process_that_was_forgotten_the_time_before_is_not_known() {
    let mut tie = tie();
    let mut out = Vec::new();
    let (request, call) = (One::served(1, 11, 0, 900), One::asked(1, 11, 10, 20));
    // A second request, over by then, is forgotten with its process.
    tie.take(One::served(1, 12, 0, 15).joined(), ms(16), &mut out);
    for pid in 2..=u32::try_from(MAX_PROCESSES).unwrap() + 1 {
        tie.take(One::served(pid, 11, 0, 15).joined(), ms(17), &mut out);
    }
    assert!(!tie.processes.contains_key(&1));
    tie.take(call.joined(), ms(20), &mut out);
    tie.take(request.joined(), ms(900), &mut out);
    tie.opened(Open { at: ms(1_000), complete: true, requests: Vec::new(), lost: 0 });
    tie.settle(ms(2_000), &mut out);
    let ids = out.iter().find(|one| one.ids.span == call.span(&tie)).unwrap().ids;
    assert_eq!(ids.parent, None);
}

/// As [`Tie::settle`], but every held call is looked at.
fn settle_all(tie: &mut Tie, now: Nanos, out: &mut Vec<Call>) {
    tie.held.tell(On::Cause(SpanId::ONE)..=On::End(u64::MAX));
    tie.settle(now, out);
}

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Exchanges of a few processes that ask each other, each over connections that others use as well.
fn traffic(chance: &mut Chance) -> Vec<One> {
    let mut all: Vec<One> = Vec::new();
    // In some, each request has a thread to itself, which then makes the calls.
    let exclusive = chance.below(2) == 0;
    for nth in 0..200 {
        let (caller, callee) =
            (1 + u32::try_from(chance.below(3)).unwrap(), 2 + u32::try_from(chance.below(3)).unwrap());
        let tid = |pid: u32, chance: &mut Chance| pid * 10 + u32::try_from(chance.below(3)).unwrap();
        let (from, port) = (chance.below(3_000), 2_000 + u16::try_from(chance.below(40)).unwrap());
        let longest = if chance.below(5) == 0 { 2_500 } else { 60 };
        let to = from + 1 + chance.below(longest);
        let mut asked = One::asked(caller, tid(caller, chance), from, to);
        let mut served = One::served(callee, tid(callee, chance), from, to.saturating_sub(1).max(from + 1));
        if exclusive {
            (served.tid, served.answered_by) = (1_000 + nth, 1_000 + nth);
            let own = |one: &&One| one.side == Role::Server && one.pid == caller && one.to > one.from + 2;
            let nth = usize::try_from(chance.below(10)).unwrap();
            if let Some(under) = all.iter().rev().filter(own).nth(nth) {
                (asked.tid, asked.answered_by) = (under.tid, under.tid);
                asked.from = under.from + chance.below(under.to - under.from - 1);
                asked.to = under.to.min(asked.from + 2);
            }
        }
        for one in [&mut asked, &mut served] {
            one.port = port;
            let side = u64::from(one.side == Role::Server);
            one.conn = u64::from(port) * 1_000_000 + u64::from(one.pid) * 100_000 + from * 10 + side;
            one.said = (chance.below(12) == 0).then(|| (u128::from(1 + chance.below(4)), 1 + chance.below(4)));
            one.answered = chance.below(20) > 0;
        }
        if chance.below(8) > 0 {
            all.push(asked);
        }
        if chance.below(8) > 0 {
            all.push(served);
        }
    }
    all
}

#[test]
fn looking_only_at_what_has_changed_gives_what_looking_at_all_gives() {
    let (mut threads, mut sockets, mut calls) = (0, 0, 0);
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let all = traffic(&mut chance);
        let missed = chance.below(2) == 0;
        let [changed, looked] = [Tie::settle, settle_all].map(|settle| {
            let (mut tie, mut out, mut when) = (tie(), Vec::new(), Vec::new());
            let mut order: Vec<&One> = all.iter().collect();
            order.sort_by_key(|one| one.to);
            let mut next = order.into_iter().peekable();
            for at in (0..40_000).step_by(20) {
                while let Some(one) = next.next_if(|one| one.to <= at) {
                    tie.take(one.joined(), ms(at), &mut out);
                }
                // From the second list on, something was lost, in some.
                let lost = u64::from(seed % 4 == 3 && at >= 260);
                if missed && at == 2_000 {
                    tie.missed(ms(at));
                }
                if at % 260 == 0 {
                    let open = all.iter().filter(|one| one.side == Role::Server && one.from <= at && at < one.to);
                    let request = |one: &One| OpenRequest {
                        pid: one.pid,
                        tid: one.tid,
                        start: ms(one.from),
                        conn: one.conn,
                        number: 1,
                    };
                    tie.opened(Open { at: ms(at), complete: true, requests: open.map(request).collect(), lost });
                }
                settle(&mut tie, ms(at), &mut out);
                when.resize(out.len(), at);
            }
            assert_eq!(out.len(), all.len());
            let mut ids: Vec<(Ids, u64)> = out.into_iter().map(|call| call.ids).zip(when).collect();
            ids.sort_by_key(|(ids, _)| ids.span);
            (ids, tie.counts())
        });
        threads += changed.1.thread;
        sockets += changed.1.socket;
        calls += all.len() as u64;
        let differs = changed.0.iter().zip(&looked.0).find(|((changed, when), (looked, then))| {
            // What is tied is tied as soon; that nothing is to be tied may show later.
            changed != looked || (changed.link == Link::Thread && when != then)
        });
        assert_eq!((differs, changed.1), (None, looked.1), "seed {seed}");
    }
    assert!(
        threads * 20 > calls && sockets * 10 > calls,
        "{threads} and {sockets} of {calls} were tied: too few to tell"
    );
}
