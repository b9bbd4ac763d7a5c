//! What the agent uses: its threads by their clock, its kernel programs by an estimate.
//!
//! The programs run on the accounts of the processes that they watch. The kernel can keep their run times, for all BPF programs
//! of the machine and at a price for each run, so that is not left on. Instead it is turned on for [`MEASURE`] now and then:
//! what an operation cost in that moment, everything that the programs ran for included, times the operations that they count
//! at all times. Measured when operations are first seen, after each step (which changes the cost), and again every
//! [`due::AGAIN`]. What measuring itself adds to each run is measured once, with an empty program, and taken off.
//!
//! Where somebody has left `kernel.bpf_stats_enabled` on, run times are there without that. They are taken as they are: there
//! every run is measured, and what that takes is used.
//!
//! Two costs are kept apart: that of an operation of a watched connection, which steps make cheaper, and that of one which the
//! filters exclude, which nothing does. The second is learned in moments in which hardly anything else is seen, and taken off
//! what others measure; it is shown, and not governed. Such a moment tells nothing of the first, not even with the second
//! known from before: where of a hundred operations one is watched, an error of a few per cent in the cost of the others is
//! more than all that the one costs. What was known or assumed of it stays.
//!
//! Where the kernel refuses to measure, [`ASSUMED`] is taken, and the status says so.

use super::decision::Reading;
use crate::clock;
use due::{Due, FEW, Told};
use redtap_kernel::probe::{Probe, RunTimes};
use redtap_stages::time::Nanos;
use std::sync::Arc;
use std::time::Duration;

pub mod due;

/// How long run times are kept to measure a cost.
pub const MEASURE: Duration = Duration::from_millis(100);
/// Costs where none was measured. What the development machine measures is of this order (`docs/performance.md`).
pub const ASSUMED: Costs = Costs { watched_ns: 1_000.0, excluded_ns: 250.0, source: CostSource::Assumed };
/// Watched operations may be one in so many where the cost of excluded ones is learned.
const HARDLY: u64 = 100;

/// Where the cost of the kernel programs comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CostSource {
    /// Nothing has been measured yet, or nothing can be.
    Assumed,
    /// Run times of a moment.
    Measured,
    /// Run times at all times (`kernel.bpf_stats_enabled`).
    Statistics,
}

impl CostSource {
    /// As in the status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Assumed => "assumed",
            Self::Measured => "measured",
            Self::Statistics => "statistics",
        }
    }
}

/// What an operation costs in the kernel programs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Of a connection that is watched, ns.
    pub watched_ns: f64,
    /// Of one that the filters exclude, ns.
    pub excluded_ns: f64,
    /// How the first is known.
    pub source: CostSource,
}

impl Default for Costs {
    fn default() -> Self {
        ASSUMED
    }
}

impl Costs {
    /// The programs ran for `ran` ns while they saw `seen`.
    fn learn(&mut self, ran: f64, seen: Operations, source: CostSource) -> Told {
        if ran <= 0.0 || seen.all() == 0 {
            return Told::Nothing;
        }
        if seen.watched.saturating_mul(HARDLY) <= seen.excluded {
            self.excluded_ns = ran / float(seen.excluded);
            return Told::Excluded;
        }
        // What is watched costs all that is done for the excluded, and more.
        let rest = ran - float(seen.excluded) * self.excluded_ns;
        self.watched_ns = (rest / float(seen.watched)).max(self.excluded_ns.min(ran / float(seen.all())));
        self.source = source;
        Told::Watched
    }
}

/// Operations that the programs ran for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Operations {
    watched: u64,
    excluded: u64,
}

impl Operations {
    fn so_far(probe: &Probe) -> Self {
        let losses = probe.losses();
        Self { watched: losses.operations, excluded: losses.not_selected }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            watched: self.watched.saturating_sub(earlier.watched),
            excluded: self.excluded.saturating_sub(earlier.excluded),
        }
    }

    fn all(self) -> u64 {
        self.watched + self.excluded
    }
}

/// Reads what is used.
#[derive(Debug)]
pub(super) struct Meter {
    probe: Arc<Probe>,
    costs: Costs,
    due: Due,
    /// What measuring adds to a run, ns; none before the first time.
    measuring_ns: Option<f64>,
    /// The kernel does not measure: it is not asked again.
    refused: bool,
    /// At the last reading.
    operations: Operations,
    /// Run time at the last reading, where the kernel keeps it.
    run_ns: Option<u64>,
    /// Kernel time so far, ns: for the watched, for the excluded.
    spent: (f64, f64),
}

impl Meter {
    pub(super) fn new(probe: Arc<Probe>) -> Self {
        Self {
            operations: Operations::so_far(&probe),
            probe,
            costs: ASSUMED,
            due: Due::default(),
            measuring_ns: None,
            refused: false,
            run_ns: None,
            spent: (0.0, 0.0),
        }
    }

    pub(super) fn costs(&self) -> Costs {
        self.costs
    }

    /// What was used so far. `pause` waits for a measurement; false if there is to be none.
    pub(super) fn read(&mut self, pause: impl FnOnce(Duration) -> bool) -> Reading {
        let operations = Operations::so_far(&self.probe);
        let more = operations.since(self.operations);
        let run_ns = self.probe.run_stats().map(|runs| runs.run_ns());
        match (self.run_ns, run_ns) {
            (Some(before), Some(now)) if more.all() >= FEW => {
                self.costs.learn(float(now.saturating_sub(before)), more, CostSource::Statistics);
            }
            (Some(_), Some(_)) => {}
            _ if !self.refused && self.due.is_due(clock::monotonic(), more) => self.measure(more, pause),
            _ => {}
        }
        self.spent.0 += float(more.watched) * self.costs.watched_ns;
        self.spent.1 += float(more.excluded) * self.costs.excluded_ns;
        (self.operations, self.run_ns) = (operations, run_ns);
        let (kernel, excluded) = (whole(self.spent.0), whole(self.spent.1));
        let (at, agent) = (clock::monotonic(), clock::process_cpu());
        Reading { at, agent, kernel, excluded, operations: operations.watched }
    }

    /// What a watched operation costs has changed: it is measured with the next reading.
    pub(super) fn forget_cost(&mut self) {
        self.due.forget_watched();
    }

    /// Measures, because of `more`.
    fn measure(&mut self, more: Operations, pause: impl FnOnce(Duration) -> bool) {
        let times = match self.probe.time_runs() {
            Ok(times) => times,
            Err(error) => {
                let Costs { watched_ns, .. } = ASSUMED;
                tracing::warn!(
                    "the cost of the kernel programs cannot be measured ({error}): {watched_ns} ns an operation are assumed"
                );
                self.refused = true;
                return;
            }
        };
        let before = Operations::so_far(&self.probe);
        if !pause(MEASURE) {
            return;
        }
        let (ran, now) = (times.so_far(), clock::monotonic());
        let seen = Operations::so_far(&self.probe).since(before);
        let measuring_ns = *self.measuring_ns.get_or_insert_with(|| added_by_measuring(&times));
        let told = self.costs.learn(ran.without(measuring_ns), seen, CostSource::Measured);
        self.due.measured(now, more, told);
    }
}

/// What measuring adds to a run, ns. Where that cannot be found out it stays part of the cost, which is then too high.
fn added_by_measuring(times: &RunTimes<'_>) -> f64 {
    times.measuring_ns().unwrap_or_else(|error| {
        tracing::debug!("what measuring adds to a run cannot be measured: {error}");
        0.0
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of what is not negative")]
fn whole(ns: f64) -> Nanos {
    Nanos(ns as u64)
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(costs: Costs, ran_ns: f64, watched: u64, excluded: u64) -> (f64, f64, CostSource) {
        let mut costs = costs;
        costs.learn(ran_ns, Operations { watched, excluded }, CostSource::Measured);
        (costs.watched_ns, costs.excluded_ns, costs.source)
    }

    #[test]
    fn a_moment_of_excluded_operations_tells_their_cost_only() {
        assert_eq!(learned(ASSUMED, 200_000.0, 10, 1_000), (1_000.0, 200.0, CostSource::Assumed));
    }

    #[test]
    fn what_was_known_of_the_watched_outlasts_a_moment_of_excluded_operations() {
        let known = Costs { watched_ns: 1_700.0, source: CostSource::Measured, ..ASSUMED };
        assert_eq!(learned(known, 30_000_000.0, 500, 100_000), (1_700.0, 300.0, CostSource::Measured));
    }

    #[test]
    fn a_moment_tells_of_what_was_seen_in_it_and_of_nothing_if_nothing_ran() {
        let told = |ran, watched, excluded| {
            Costs::default().learn(ran, Operations { watched, excluded }, CostSource::Measured)
        };
        assert_eq!(told(200_000.0, 500, 100_000), Told::Excluded);
        assert_eq!(told(200_000.0, 500, 1_000), Told::Watched);
        assert_eq!(told(200_000.0, 0, 0), Told::Nothing);
        assert_eq!(told(0.0, 500, 0), Told::Nothing);
    }

    #[test]
    fn what_the_excluded_cost_is_taken_off() {
        let known = Costs { excluded_ns: 200.0, ..ASSUMED };
        assert_eq!(learned(known, 900_000.0, 1_000, 1_000), (700.0, 200.0, CostSource::Measured));
        assert_eq!(learned(known, 900_000.0, 1_000, 0), (900.0, 200.0, CostSource::Measured));
    }

    #[test]
    fn a_watched_operation_costs_no_less_than_the_mean_where_more_would_be_taken_off_than_was_measured() {
        let known = Costs { excluded_ns: 200.0, ..ASSUMED };
        assert_eq!(learned(known, 100_000.0, 500, 1_500), (50.0, 200.0, CostSource::Measured));
    }
}
