//! The decision against a machine that is made up: each step costs so much an operation.

use super::*;
use proptest::prelude::*;

/// What the agent costs without load, and for each operation at each step, seconds.
#[derive(Debug, Clone)]
struct Machine {
    idle: f64,
    each: [f64; Step::COUNT],
}

impl Machine {
    /// Each step costs `shares` of the one before it.
    fn new(idle: f64, first: f64, shares: [f64; Step::COUNT - 1]) -> Self {
        let mut each = [first; Step::COUNT];
        for at in 1..Step::COUNT {
            each[at] = each[at - 1] * shares[at - 1];
        }
        Self { idle, each }
    }

    fn uses(&self, step: Step, rate: f64) -> f64 {
        self.idle + self.each[usize::from(step.number())] * rate
    }
}

/// A machine under a decision, a reading a second.
struct Run {
    machine: Machine,
    decision: Decision,
    reading: Reading,
    changes: Vec<(u64, Change)>,
}

impl Run {
    fn new(machine: Machine, budget: f64) -> Self {
        let start = Nanos::from_secs(1_000);
        let reading = Reading { at: start, ..Reading::default() };
        Self { machine, decision: Decision::new(budget, start), reading, changes: Vec::new() }
    }

    /// `seconds` of a load of `rate` operations a second.
    fn of(&mut self, seconds: u64, rate: f64) {
        for _ in 0..seconds {
            let used = self.machine.uses(self.decision.step(), rate);
            self.reading.at = self.reading.at + Nanos::SECOND;
            self.reading.agent = self.reading.agent + Nanos((used * 6e8) as u64);
            self.reading.kernel = self.reading.kernel + Nanos((used * 4e8) as u64);
            self.reading.operations += rate as u64;
            if let Some(change) = self.decision.read(self.reading) {
                self.changes.push((self.reading.at.0 / Nanos::SECOND.0, change));
            }
        }
    }

    fn ups(&self) -> usize {
        self.changes.iter().filter(|(_, change)| !change.is_down()).count()
    }
}

/// 30 % of a processor at 10,000 operations a second; the steps before sampling help a little, sampling nearly halves.
fn usual() -> Machine {
    Machine::new(0.002, 30e-6, [0.9, 1.0, 0.55, 0.55, 0.55, 0.55])
}

#[test]
fn goes_down_all_steps_in_order_one_a_window_and_stays() {
    let mut run = Run::new(usual(), 0.02);
    run.of(200, 10_000.0);
    let steps: Vec<(u64, u8)> = run.changes.iter().map(|(at, change)| (at - 1_000, change.to.number())).collect();
    assert_eq!(steps, [(6, 1), (9, 2), (12, 3), (15, 4), (18, 5), (21, 6)]);
}

#[test]
fn comes_back_step_by_step_when_the_load_is_gone() {
    let mut run = Run::new(usual(), 0.02);
    run.of(30, 10_000.0);
    assert_eq!(run.decision.step().number(), 6);
    run.changes.clear();
    run.of(120, 0.0);
    let steps: Vec<u8> = run.changes.iter().map(|(_, change)| change.to.number()).collect();
    assert_eq!(steps, [5, 4, 3, 2, 1, 0]);
    let gaps = run.changes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= CALM.0 / Nanos::SECOND.0);
    assert!(gaps, "a step up before the last one was lived with: {:?}", run.changes);
}

#[test]
fn stops_where_the_budget_holds_and_comes_back_as_far_as_it_would() {
    let mut run = Run::new(usual(), 0.02);
    run.of(60, 1_000.0);
    assert_eq!(run.decision.step().number(), 3, "1.7 % at a half of the connections: {:?}", run.changes.last());
    run.of(60, 800.0);
    assert_eq!(run.decision.step().number(), 3, "a little less is no reason: all of them would cost 2.3 %");
    run.of(60, 450.0);
    assert_eq!(run.decision.step().number(), 0, "1.6 % with everything, of 2.0 %");
}

#[test]
fn a_load_just_above_the_budget_moves_nothing_more_than_one_step() {
    let machine = Machine::new(0.0, 2.02e-6, [0.99; Step::COUNT - 1]);
    let mut run = Run::new(machine, 0.02);
    run.of(290, 10_000.0);
    assert_eq!(run.changes.len(), 1, "{:?}", run.changes);
}

#[test]
fn tries_again_against_the_expectation_ever_more_rarely() {
    let mut run = Run::new(Machine::new(0.0, 4e-6, [0.25; Step::COUNT - 1]), 0.02);
    run.of(4 * 3_600, 10_000.0);
    let ups: Vec<u64> = run.changes.iter().filter(|(_, change)| !change.is_down()).map(|(at, _)| *at).collect();
    let gaps: Vec<u64> = ups.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.first().is_some_and(|gap| *gap >= 600), "{gaps:?}");
    assert!(gaps.windows(2).all(|pair| pair[1] >= pair[0]) && gaps.len() <= 5, "{gaps:?}");
}

#[test]
fn a_load_of_another_kind_is_found_out_by_trying() {
    let mut run = Run::new(Machine::new(0.0, 4e-6, [0.25; Step::COUNT - 1]), 0.02);
    run.of(20, 10_000.0);
    assert_eq!(run.decision.step().number(), 1);
    run.machine = Machine::new(0.0, 1e-6, [0.25; Step::COUNT - 1]);
    run.of(320, 10_000.0);
    assert_eq!(run.decision.step(), Step::FULL);
}

#[test]
fn use_without_load_is_waited_out() {
    let mut run = Run::new(Machine::new(0.05, 0.0, [1.0; Step::COUNT - 1]), 0.02);
    run.of(60, 0.0);
    assert_eq!(run.decision.step().number(), 6);
    run.machine.idle = 0.001;
    run.of(60, 0.0);
    assert_eq!(run.ups(), 0, "what it was is not known");
    run.of(6 * 310, 0.0);
    assert_eq!(run.decision.step(), Step::FULL);
}

#[test]
fn a_step_that_could_not_be_taken_is_none_and_is_asked_for_again_a_window_later() {
    let mut run = Run::new(usual(), 0.02);
    run.of(6, 10_000.0);
    for tries in 1..4 {
        let (at, change) = *run.changes.last().unwrap();
        assert_eq!((at, change.to.number()), (1_003 + 3 * tries, 1));
        run.decision.take_back(&change);
        assert_eq!(run.decision.step(), Step::FULL);
        run.of(3, 10_000.0);
    }
    assert_eq!(run.decision.step().number(), 1);
    // Up likewise; it has not failed because of its use.
    run.of(16, 0.0);
    let (_, change) = *run.changes.last().unwrap();
    assert_eq!((change.from.number(), change.to.number()), (1, 0));
    run.decision.take_back(&change);
    assert_eq!((run.decision.step().number(), run.decision.stepped_up), (1, None));
}

#[test]
fn sampling_begins_with_the_first_step_that_samples() {
    let mut run = Run::new(usual(), 0.02);
    run.of(200, 10_000.0);
    let begins: Vec<bool> = run.changes.iter().map(|(_, change)| change.begins_sampling()).collect();
    assert_eq!(begins, [false, false, true, false, false, false]);
}

#[test]
fn the_start_is_not_judged() {
    let mut decision = Decision::new(0.02, Nanos::ZERO);
    let reading = |second: u64, agent_ms: u64| Reading {
        at: Nanos::from_secs(second),
        agent: Nanos::from_millis(agent_ms),
        ..Reading::default()
    };
    // Half a second of work in the first three.
    for (second, millis) in [(1, 300), (2, 450), (3, 500), (4, 501), (5, 502), (6, 503), (7, 504)] {
        assert_eq!(decision.read(reading(second, millis)), None);
    }
    assert_eq!(decision.used().map(|used| (used.agent * 1e6).round()), Some(1_000.0));
}

proptest! {
    /// Whatever the machine: neighbours only, and under a constant load no step up but the rare tries.
    #[test]
    fn never_oscillates_under_a_constant_load(
        idle in 0.0..0.015_f64,
        first in 1e-7..1e-4_f64,
        shares in prop::array::uniform6(0.05..1.0_f64),
        rate in 10.0..20_000.0_f64,
        budget in 0.002..0.2_f64,
    ) {
        let mut run = Run::new(Machine::new(idle, first, shares), budget);
        run.of(290, rate.floor());
        prop_assert_eq!(run.ups(), 0);
        run.of(3_600 - 290, rate.floor());
        // Tries after 5, then 10, 20, 40 minutes.
        prop_assert!(run.ups() <= 3, "{:?}", run.changes);
        for (_, change) in &run.changes {
            prop_assert!(change.from.down() == Some(change.to) || change.from.up() == Some(change.to));
        }
    }

    /// Whatever the machine and however the load went, everything is followed again once it is gone.
    #[test]
    fn always_comes_back(
        first in 1e-6..1e-4_f64,
        shares in prop::array::uniform6(0.3..1.0_f64),
        rates in prop::collection::vec(100.0..20_000.0_f64, 1..20),
    ) {
        let mut run = Run::new(Machine::new(0.001, first, shares), 0.02);
        for rate in rates {
            run.of(13, rate.floor());
        }
        run.of(200, 0.0);
        prop_assert_eq!(run.decision.step(), Step::FULL);
    }
}
