//! Question: what do single calls cost: tying them while many are held, and showing them to who watches?
//!
//! Claims: a call costs at 8 000 held at most twice what it costs at 1 000; where nobody wants single calls the tap costs nothing that can be
//! told; and every exchange is taken, sampled out, or counted as lost.
//!
//! **Tying.** A service of threads: every request has a thread, lasts four seconds, and makes a call each half second; all calls are held until
//! their request is over, so eight a thread, and must then be tied to it. And requests of loopback whose other end nobody sees, which
//! are held for a second. Time is made up, looks are 20 ms apart; processor time of this one thread.
//!
//! **Showing.** Recorded events through running pipelines, as in `pipeline`, with calls that nobody keeps, that are kept, and that are kept and
//! followed, also by who reads nothing, by one shard and by two that have a thread each. Processor time of all threads; the ways take turns; medians, times the first.
//!
//! `cargo run --release -p redtap-benches --bin calls [ROUNDS]`

use anyhow::{Context as _, Result, ensure};
use redtap::blueprint::{Blueprint, ThreadPlan};
use redtap::calls::filter::CallFilter;
use redtap::calls::ids::Names;
use redtap::calls::tie::{Open, Tie};
use redtap::calls::{Calls, FOLLOWED, FOLLOWED_ALL};
use redtap::tap::Tap;
use redtap_benches::events::{Events, Mix};
use redtap_benches::running::{Discard, topology_shown};
use redtap_e2e::stopwatch::{measure, median};
use redtap_stages::flow::conn::{Address, ConnInfo, Owner, Role, Transport};
use redtap_stages::flow::converged;
use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::joined::{Joined, Parties};
use redtap_stages::flow::message::{Addresses, Status};
use redtap_stages::pair::OpenRequest;
use redtap_stages::protocols::Protocol;
use redtap_stages::symbol::Interner;
use redtap_stages::text::{Text, Token};
use redtap_stages::time::Nanos;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Measured rounds, unless told.
const ROUNDS: usize = 5;
/// Events of the second part, about.
const EVENTS: usize = 230_000;
/// Times of the first part, ms.
const LOOK: u64 = 20;
const REQUEST: u64 = 4_000;
const CALLS: u64 = 8;

fn ms(at: u64) -> Nanos {
    // Late enough for everything to be after zero.
    Nanos::from_millis(100_000 + at)
}

/// Exchanges of one process that differ in their times, threads and connections alone.
struct Maker {
    names: Arc<converged::Names>,
    parties: Arc<Parties>,
}

impl Maker {
    fn new() -> Self {
        let mut interner = Interner::default();
        let names = converged::Names {
            endpoint: interner.intern("/"),
            collection: interner.intern(""),
            namespace: interner.intern(""),
            method: interner.intern("GET"),
            code: interner.intern("200"),
        };
        let (service, peer) = (interner.intern(""), interner.intern(""));
        let parties = Parties { service, identity: 0, peer, peer_watched: false };
        Self { names: Arc::new(names), parties: Arc::new(parties) }
    }

    /// Number `number` of connection `conn`, whose other end is elsewhere, or here but not seen.
    fn make(&self, side: Role, tid: u32, (conn, number): (u64, u32), (from, to): (u64, u64), here: bool) -> Joined {
        let local = Address::Inet(Ipv4Addr::LOCALHOST.into(), 80);
        let peer = if here { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 0, 0, 1) };
        let conn = ConnInfo {
            id: conn,
            transport: Transport::Tcp,
            role: side,
            local,
            remote: Address::Inet(peer.into(), u16::try_from(conn % 60_000 + 1_000).unwrap_or(1)),
            owner: Owner { pid: 1, cgroup_id: 0, comm: [0; 16] },
            netns: 1,
            sock_ino: 0,
            late: false,
            sampling: 0,
        };
        let exchange = Exchange {
            conn: Arc::new(conn),
            protocol: Protocol::Http1,
            side,
            start: ms(from),
            answered: Some(ms(to)),
            end: Some(ms(to)),
            method: Token::from("GET"),
            target: Text::from("/"),
            status: Status::Ok,
            code: Token::from("200"),
            addresses: Addresses::new(),
            no_answer: None,
            session: None,
            trace: None,
            number,
            id: 0,
            asked_by: tid,
            answered_by: tid,
            request_messages: 0,
            response_messages: 0,
            request_bytes: 1,
            response_bytes: 1,
            one_way: false,
            sampling: 0,
        };
        let converged = converged::Converged { exchange, names: Arc::clone(&self.names) };
        Joined { converged, parties: Arc::clone(&self.parties) }
    }
}

/// What came of a run.
struct Tied {
    /// Most calls held.
    held: usize,
    /// Processor time a call.
    ns: u64,
}

/// Threads with a request each, for twelve seconds.
fn threads(threads: u64) -> Result<Tied> {
    let (maker, mut tie, mut out) = (Maker::new(), Tie::new(Names::new(Nanos(7))), Vec::new());
    let end = 3 * REQUEST;
    // By when it is over: requests begin one after the other, evenly over four seconds.
    let mut order = Vec::new();
    for thread in 0..threads {
        let (tid, first) = (u32::try_from(thread)? + 1, thread * REQUEST / threads);
        for number in 0..u32::try_from(end / REQUEST)? {
            let from = first + u64::from(number) * REQUEST;
            order.push((
                from + REQUEST - 1,
                maker.make(Role::Server, tid, (thread, number), (from, from + REQUEST - 1), false),
            ));
            for call in 0..CALLS {
                let (at, nth) = (from + 1 + call * REQUEST / CALLS, number * 8 + u32::try_from(call)?);
                order.push((at + 2, maker.make(Role::Client, tid, (100_000 + thread, nth), (at, at + 2), false)));
            }
        }
    }
    order.sort_by_key(|(to, _)| *to);
    let (all, mut held, mut asked) = (order.len() as u64, 0, 0);
    let mut next = order.into_iter().peekable();
    let (done, spent) = measure(|| -> Result<()> {
        for at in (0..end + REQUEST + 1_500).step_by(usize::try_from(LOOK)?) {
            while let Some((to, joined)) = next.next_if(|(to, _)| *to <= at) {
                tie.take(joined, ms(to), &mut out);
            }
            if tie.wants_open() && at >= asked + 250 {
                asked = at;
                let open = (0..threads).filter_map(|thread| {
                    let first = thread * REQUEST / threads;
                    let number = at.checked_sub(first)? / REQUEST;
                    let tid = u32::try_from(thread).ok()? + 1;
                    (number < end / REQUEST).then_some(OpenRequest {
                        pid: 1,
                        tid,
                        start: ms(first + number * REQUEST),
                        conn: thread,
                        number: u32::try_from(number).ok()?,
                    })
                });
                tie.opened(Open { at: ms(at), complete: true, requests: open.collect(), lost: 0 });
            }
            tie.settle(ms(at), &mut out);
            held = held.max(tie.held());
        }
        Ok(())
    });
    done?;
    let counts = tie.counts();
    ensure!(out.len() as u64 == all && tie.held() == 0, "{} of {all} came out", out.len());
    // All but those from before threads were trusted.
    let calls = all / (CALLS + 1) * CALLS;
    ensure!(counts.thread * 10 > calls * 6 && counts.crowded_out == 0, "{counts:?} of {calls}");
    Ok(Tied { held, ns: spent.cpu / all })
}

/// Requests whose other end nobody sees, so many a second, for four seconds.
fn alone(a_second: u64) -> Result<Tied> {
    let (maker, mut tie, mut out) = (Maker::new(), Tie::new(Names::new(Nanos(7))), Vec::new());
    let (all, mut held) = (a_second * 4, 0);
    let mut order = (0..all).map(|one| {
        let at = one * 1_000 / a_second;
        (at + 1, maker.make(Role::Server, 1, (one % 500, u32::try_from(one / 500).unwrap_or(0)), (at, at + 1), true))
    });
    let mut order: Vec<_> = order.by_ref().collect();
    order.reverse();
    let (done, spent) = measure(|| -> Result<()> {
        for at in (0..5_500).step_by(usize::try_from(LOOK)?) {
            while order.last().is_some_and(|(to, _)| *to <= at)
                && let Some((to, joined)) = order.pop()
            {
                tie.take(joined, ms(to), &mut out);
            }
            tie.settle(ms(at), &mut out);
            held = held.max(tie.held());
        }
        Ok(())
    });
    done?;
    ensure!(out.len() as u64 == all && tie.held() == 0, "{} of {all} came out", out.len());
    Ok(Tied { held, ns: spent.cpu / all })
}

fn tying(rounds: usize) -> Result<()> {
    println!("{:34} {:>8} {:>12} {:>8}", "tying", "held", "cpu ns/call", "x first");
    type Way = fn(u64) -> Result<Tied>;
    let ways: [(&str, Way, u64); 2] =
        [("calls under requests of threads", threads, 220), ("other end not seen", alone, 1_000)];
    for (name, way, unit) in ways {
        let mut of: [Vec<u64>; 4] = Default::default();
        let mut held = [0; 4];
        let times = [1, 2, 4, 8];
        for _ in 0..rounds {
            for ((times, of), held) in times.into_iter().zip(&mut of).zip(&mut held) {
                let tied = way(unit * times * 95 / 100)?;
                of.push(tied.ns);
                *held = tied.held;
            }
        }
        let mut first = None;
        for (of, held) in of.into_iter().zip(held) {
            let ns = median(of) as f64;
            let first = *first.get_or_insert(ns);
            println!("{name:34} {held:>8} {ns:>12.0} {:>8.2}", ns / first);
        }
    }
    Ok(())
}

/// Who wants single calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// No thread of calls at all.
    No,
    /// `calls.keep = 0`, nobody follows.
    Nobody,
    /// 2 000 are kept, as by default.
    Kept,
    /// And one follows all of them, as traces do.
    Followed,
    /// And two follow, one of them all, and read nothing.
    Unread,
}

/// All events once; processor time, and of calls what was taken and what lost.
fn showing(parts: &[Events], wanted: Wanted) -> Result<(u64, u64, u64)> {
    let threads = ThreadPlan { per_shard: parts.len() > 1, ..ThreadPlan::one() };
    let blueprint = Blueprint { threads, ..Blueprint::default() };
    let tap = Arc::new(Tap::default());
    if wanted == Wanted::No {
        let (seen, spent) = topology_shown(parts, blueprint, tap, Arc::new(Discard), || {})?;
        return Ok((seen, spent.cpu, 0));
    }
    let keep = if wanted == Wanted::Nobody { 0 } else { 2_000 };
    let calls = Calls::start(&tap, keep, None, None)?;
    let ended = AtomicBool::new(false);
    let (seen, spent) = std::thread::scope(|scope| {
        let unread = match wanted {
            Wanted::Unread => Some((calls.follow_all()?, calls.follow(CallFilter::default())?)),
            _ => None,
        };
        if wanted == Wanted::Followed {
            let mut followed = calls.follow_all()?;
            let ended = &ended;
            scope.spawn(move || {
                while let Some(call) = followed.calls.blocking_recv() {
                    std::hint::black_box(call.ids);
                }
                ended.store(true, Ordering::Release);
            });
        }
        let done = topology_shown(parts, blueprint, tap, Arc::new(Discard), || calls.stop());
        drop(unread);
        done
    })?;
    let counts = calls.counts();
    if wanted != Wanted::Nobody {
        let sum = counts.taken + counts.sampled_out + counts.lost;
        ensure!(sum == seen, "{sum} of {seen} exchanges are accounted for: {counts:?}");
    }
    if wanted == Wanted::Unread {
        let kept = (FOLLOWED + FOLLOWED_ALL) as u64;
        let shown = 2 * counts.taken;
        ensure!(counts.follower_left_out == shown.saturating_sub(kept), "{shown} shown, {counts:?}");
    }
    ensure!((wanted == Wanted::Followed) == ended.load(Ordering::Acquire), "who follows is told of the end");
    Ok((seen, spent.cpu, counts.lost))
}

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    tying(rounds)?;
    let once = Events::of(Mix::Http1, 1)?.len();
    let events = Events::of(Mix::Http1, (EVENTS / once.max(1)) as u64)?;
    let ways = [Wanted::No, Wanted::Nobody, Wanted::Kept, Wanted::Followed, Wanted::Unread];
    println!("\n{:34} {:>8} {:>12} {:>8} {:>8}", "showing", "shards", "cpu ns/event", "x first", "lost");
    for shards in [1, 2] {
        let parts = events.dealt(shards);
        let mut of: [Vec<u64>; 5] = Default::default();
        let mut lost = [0; 5];
        let mut exchanges = None;
        // The first round warms caches and is not counted.
        for round in 0..=rounds {
            for ((way, of), lost) in ways.into_iter().zip(&mut of).zip(&mut lost) {
                let (seen, cpu, missed) = showing(&parts, way)?;
                let expected = *exchanges.get_or_insert(seen);
                ensure!(seen == expected, "{seen} exchanges, {expected} before");
                if round > 0 {
                    of.push(cpu);
                    *lost += missed;
                }
            }
        }
        let first = median(of.first().cloned().context("ways")?) as f64;
        for ((way, of), lost) in ways.into_iter().zip(of).zip(lost) {
            let cpu = median(of) as f64;
            let name = format!("{way:?}");
            println!("{name:34} {shards:>8} {:>12.1} {:>8.3} {lost:>8}", cpu / events.len() as f64, cpu / first);
        }
    }
    Ok(())
}
