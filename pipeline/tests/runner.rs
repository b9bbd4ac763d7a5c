//! Runners without actors: backpressure on a two-slot edge, time as data, faults, drain, control.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use redtap::edge::{EdgeCapacity, EdgeView, Inlet, Outlet, edge};
use redtap::runner::{
    ControlRefused, Controls, Hook, NoVerdicts, Parts, Runner, StageStats, TIME_STEP, Turn, Turns, VerdictSink,
};
use redtap_stages::abi::{Capture, Verdict};
use redtap_stages::flow::message::MessageBatch;
use redtap_stages::reasons;
use redtap_stages::stage::{Ledger, Stage};
use redtap_stages::time::Nanos;
use std::sync::{Arc, Mutex};

reasons! {
    /// Why a number does not go on.
    enum Refused { /// Odd.
        Odd => "odd" }
}

/// Keeps every number until the next one comes, drops odd ones, panics at 13, gives the time at each tick.
struct Delay {
    held: Option<u64>,
    bonus: u64,
    ledger: Ledger,
}

impl Delay {
    fn new() -> Self {
        Self { held: None, bonus: 0, ledger: Ledger::new::<Refused>() }
    }
}

impl Stage for Delay {
    type In = Vec<u64>;
    type Out = Vec<u64>;
    const NAME: &'static str = "delay";

    fn process(&mut self, _: Nanos, input: &mut Vec<u64>, out: &mut Vec<u64>) {
        for number in input.drain(..) {
            self.ledger.taken += 1;
            if number % 2 == 1 {
                assert_ne!(number, 13, "thirteen");
                self.ledger.reject(Refused::Odd, 1);
                continue;
            }
            self.ledger.held += 1;
            if let Some(before) = self.held.replace(number) {
                self.ledger.held -= 1;
                self.ledger.passed += 1;
                self.ledger.emitted += 1;
                out.push(before + self.bonus);
            }
        }
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<u64>) {
        out.push(now.0);
        self.ledger.emitted += 1;
    }

    fn drain(&mut self, _: Nanos, out: &mut Vec<u64>) {
        out.extend(self.held.take());
        self.ledger.passed += self.ledger.held;
        self.ledger.emitted += self.ledger.held;
        self.ledger.held = 0;
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}

struct Bench {
    source: Option<Outlet<Vec<u64>>>,
    runner: Box<dyn Turns>,
    stats: Arc<StageStats>,
    controls: Controls<Delay>,
    sink: Inlet<Vec<u64>>,
    sink_view: EdgeView,
}

fn bench(places: usize) -> Bench {
    bench_with(places, None)
}

fn bench_with(places: usize, hook: Option<Hook<Delay>>) -> Bench {
    let capacity = EdgeCapacity::new(places).unwrap();
    let (source, inlet) = edge(capacity);
    let (exit, sink) = edge(capacity);
    let sink_view = exit.view();
    let (runner, controls) = Runner::new(Parts {
        fresh: Box::new(Delay::new),
        inlet,
        exit,
        verdicts: Arc::new(NoVerdicts),
        hook,
        tick_every: Nanos::SECOND,
    });
    let stats = runner.stats();
    Bench { source: Some(source), runner: Box::new(runner), stats, controls, sink, sink_view }
}

impl Bench {
    fn feed(&mut self, at: u64, batch: &[u64]) -> bool {
        self.source.as_mut().unwrap().send(Nanos(at), batch.to_vec()).is_ok()
    }

    fn taken(&mut self) -> Vec<Vec<u64>> {
        std::iter::from_fn(|| self.sink.take()).map(|(_, batch)| batch).collect()
    }
}

#[test]
fn a_full_edge_stops_the_runner_and_then_its_source() {
    let mut bench = bench(2);
    let mut fed = 0;
    let mut last = Turn::Idle;
    for round in 0..20 {
        if bench.feed(0, &[2 * round, 2 * round]) {
            fed += 1;
        }
        last = bench.runner.turn();
    }
    assert_eq!(last, Turn::Blocked);
    assert_eq!(fed, 5, "two places on each side and the batch in hand");
    assert_eq!(bench.stats.totals().turns, 3, "blocked, it takes nothing more");
    assert_eq!(bench.stats.totals().sent, 3, "0, then 0 and 2");
    assert_eq!(bench.sink_view.totals().depth, 2);

    // Room for one: the batch in hand goes first, and only then is the next one taken.
    assert_eq!(bench.sink.take().unwrap().1, vec![0]);
    assert_eq!(bench.runner.turn(), Turn::Worked);
    assert_eq!(bench.stats.totals().turns, 3);
    assert_eq!(bench.runner.turn(), Turn::Worked);
    assert_eq!(bench.stats.totals().turns, 4);
    assert_eq!(bench.runner.turn(), Turn::Blocked);

    bench.source = None;
    let mut out = Vec::new();
    for _ in 0..20 {
        out.extend(bench.taken().concat());
        bench.runner.turn();
    }
    assert_eq!(out, vec![0, 2, 2, 4, 4, 6, 6, 8, 8], "nothing lost, in order; the last came by the drain");
    assert_eq!(bench.runner.turn(), Turn::Finished);
    assert!(bench.stats.totals().balances());
}

#[test]
fn is_finished_only_when_the_last_batch_is_on_its_way() {
    let mut bench = bench(1);
    bench.feed(0, &[2, 4]);
    assert_eq!(bench.runner.turn(), Turn::Worked);
    bench.source = None;
    assert_eq!(bench.runner.turn(), Turn::Worked, "drained, but the edge is full");
    assert_eq!(bench.runner.turn(), Turn::Blocked);
    assert_eq!(bench.stats.totals().held, 0);
    assert_eq!(bench.taken(), vec![vec![2]]);
    assert_eq!(bench.runner.turn(), Turn::Worked);
    assert_eq!(bench.runner.turn(), Turn::Finished);
    assert_eq!(bench.taken(), vec![vec![4]]);
}

#[test]
fn a_panic_costs_the_batch_in_hand_and_what_the_stage_held() {
    let mut bench = bench(8);
    bench.feed(0, &[2, 4, 5]);
    bench.runner.turn();
    bench.feed(0, &[6, 13, 8]);
    bench.feed(0, &[10, 12]);
    bench.runner.turn();
    let after = bench.stats.totals();
    assert_eq!((after.faults, after.lost, after.held), (1, 4, 0), "three in hand, one held");
    assert!(after.balances(), "{after:?}");
    bench.runner.turn();
    bench.source = None;
    while bench.runner.turn() != Turn::Finished {}
    assert_eq!(
        bench.taken().concat(),
        vec![2, 10, 12],
        "the fresh stage goes on; 4 was passed by the panicking call only"
    );
    let end = bench.stats.totals();
    assert!(end.balances(), "{end:?}");
    assert_eq!((end.taken, end.passed, end.lost, end.faults), (8, 3, 4, 1));
    assert_eq!(bench.stats.rejected(), vec![("odd", 1)]);
    assert_eq!(end.sent, 3);
}

#[test]
fn a_hook_that_panics_costs_nothing_that_was_passed_on() {
    let mut turns = 0;
    let mut bench = bench_with(
        8,
        Some(Box::new(move |_| {
            turns += 1;
            assert_ne!(turns, 1, "as asked by a test");
        })),
    );
    bench.feed(0, &[2, 4, 6]);
    bench.runner.turn();
    let after = bench.stats.totals();
    assert_eq!((after.faults, after.passed, after.lost), (1, 2, 1), "6 was held");
    assert_eq!(after.sent, after.passed, "what was passed on is on its way");
    bench.source = None;
    while bench.runner.turn() != Turn::Finished {}
    assert_eq!(bench.taken().concat(), vec![2, 4]);
}

#[test]
fn time_comes_with_the_batches_and_goes_on_without_records() {
    let mut bench = bench(8);
    let second = Nanos::SECOND.0;
    bench.feed(5 * second, &[2]);
    bench.runner.turn();
    assert_eq!(bench.taken(), vec![Vec::<u64>::new()], "nothing to give, but it is later now");
    bench.feed(5 * second + TIME_STEP.0 - 1, &[]);
    bench.runner.turn();
    assert_eq!(bench.taken(), Vec::<Vec<u64>>::new(), "not much later");
    bench.feed(6 * second, &[]);
    bench.runner.turn();
    assert_eq!(bench.taken(), vec![vec![6 * second]], "a tick, at the time of the stamp");
    bench.feed(3 * second, &[4]);
    bench.runner.turn();
    assert_eq!(bench.stats.totals().now, Nanos(6 * second), "time never goes back");
    assert_eq!(bench.taken(), vec![vec![2]]);
    assert_eq!(bench.stats.totals().ticks, 1);
}

#[test]
fn control_functions_run_between_turns_and_are_bounded() {
    let mut bench = bench(4);
    bench.controls.apply(Box::new(|stage| stage.bonus = 100)).unwrap();
    bench.feed(0, &[2, 4]);
    bench.runner.turn();
    assert_eq!(bench.taken(), vec![vec![102]]);
    for _ in 0..redtap::runner::CONTROL_QUEUE {
        bench.controls.apply(Box::new(|stage| stage.bonus += 1)).unwrap();
    }
    assert_eq!(bench.controls.apply(Box::new(|_| {})), Err(ControlRefused::Full));
    assert_eq!(bench.runner.turn(), Turn::Idle);
    bench.feed(0, &[6]);
    bench.runner.turn();
    assert_eq!(bench.taken(), vec![vec![168]]);
    let Bench { controls, runner, .. } = bench;
    drop(runner);
    assert_eq!(controls.apply(Box::new(|_| {})), Err(ControlRefused::Finished));
}

#[test]
fn what_nobody_takes_is_counted() {
    let mut bench = bench(1);
    let (_, elsewhere) = edge(EdgeCapacity::DEFAULT);
    drop(std::mem::replace(&mut bench.sink, elsewhere));
    bench.feed(0, &[2, 4, 6]);
    assert_eq!(bench.runner.turn(), Turn::Worked);
    assert_eq!(bench.stats.totals().unsendable, 2);
    bench.source = None;
    bench.runner.turn();
    assert_eq!(bench.runner.turn(), Turn::Finished, "it does not wait for ever");
    assert_eq!(bench.stats.totals().unsendable, 3);
}

/// Says something of a connection and passes nothing on.
struct Judge;

impl Stage for Judge {
    type In = Vec<u64>;
    type Out = MessageBatch;
    const NAME: &'static str = "judge";

    fn process(&mut self, _: Nanos, input: &mut Vec<u64>, out: &mut MessageBatch) {
        out.verdicts.extend(input.drain(..).map(mute));
    }

    fn tick(&mut self, _: Nanos, _: &mut MessageBatch) {}

    fn drain(&mut self, _: Nanos, _: &mut MessageBatch) {}

    fn ledger(&self) -> Ledger {
        Ledger::new::<Refused>()
    }
}

fn mute(conn_id: u64) -> Verdict {
    Verdict { conn_id, capture: Capture::Mute, ingress_class: 0, egress_class: 0, role: 0 }
}

#[derive(Default)]
struct Heard(Mutex<Vec<Verdict>>);

impl VerdictSink for Heard {
    fn set(&self, verdict: Verdict) {
        self.0.lock().unwrap().push(verdict);
    }
}

#[test]
fn verdicts_reach_the_kernel_once_even_without_records() {
    let (mut source, inlet) = edge(EdgeCapacity::DEFAULT);
    let (exit, _sink) = edge(EdgeCapacity::DEFAULT);
    let heard = Arc::new(Heard::default());
    let verdicts = Arc::clone(&heard);
    let parts = Parts {
        fresh: Box::new(|| Judge),
        inlet,
        exit,
        verdicts: verdicts as Arc<dyn VerdictSink>,
        hook: None,
        tick_every: Nanos::SECOND,
    };
    let (mut runner, _) = Runner::new(parts);
    source.send(Nanos(1), vec![7, 9]).unwrap();
    source.send(Nanos(2), vec![11]).unwrap();
    while runner.turn() == Turn::Worked {}
    assert_eq!(*heard.0.lock().unwrap(), vec![mute(7), mute(9), mute(11)]);
}
