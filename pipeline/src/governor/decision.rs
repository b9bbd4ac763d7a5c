//! When to step down, and when back up: arithmetic on readings, without clock, probe or thread.
//!
//! **Down**, one step, when the use over a whole [`WINDOW`] since the last change is above the budget.
//!
//! **Up**, one step, when what the step above would use is expected to stay below [`HEADROOM`] of the budget, for [`CALM`]
//! without a break. Expected is what that step used when it was left, for as much more or less as operations are
//! now seen. So under a constant load nothing moves: the step above was left because it used too much for that load.
//!
//! That expectation is wrong where the load has become of another kind, or was not what cost the time (a scraper gone wild).
//! Therefore a use that stays below [`HEADROOM`] of the budget for [`PATIENCE`] is reason enough to try. A try that fails
//! (down again within [`PROVEN`]) doubles the time before the next, to at most [`MAX_PATIENCE`].

use super::step::Step;
use redtap_stages::time::Nanos;
use std::collections::VecDeque;

/// What is averaged over before a step down.
pub const WINDOW: Nanos = Nanos::from_secs(3);
/// The start of the agent is not judged.
pub const SETTLE: Nanos = Nanos::from_secs(3);
/// The part of the budget that may be expected to be used after a step up.
pub const HEADROOM: f64 = 0.8;
/// How long the expectation must hold before a step up.
pub const CALM: Nanos = Nanos::from_secs(10);
/// How long a low use must last before a step up is tried against the expectation.
pub const PATIENCE: Nanos = Nanos::from_secs(300);
/// The most that this grows to.
pub const MAX_PATIENCE: Nanos = Nanos::from_secs(3_600);
/// A step up that lasts this long has not failed.
pub const PROVEN: Nanos = Nanos::from_secs(60);
/// Readings kept; at most one a second is needed.
const MAX_READINGS: usize = 64;

/// What was used up to a moment, all since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// When.
    pub at: Nanos,
    /// Processor time of the agent's threads.
    pub agent: Nanos,
    /// Processor time of its kernel programs for what is watched, on the accounts of whom they watch.
    pub kernel: Nanos,
    /// The same for what the filters exclude.
    pub excluded: Nanos,
    /// Operations of what is watched.
    pub operations: u64,
}

/// Use over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Use {
    /// By the agent, as a share of one processor.
    pub agent: f64,
    /// By the kernel programs for what is watched, likewise.
    pub kernel: f64,
    /// By them for what the filters exclude: nothing that the governor can do makes it less, so it is not governed.
    pub excluded: f64,
    /// Watched operations a second.
    pub rate: f64,
}

impl Use {
    /// What is governed: the agent, and its kernel programs for what is watched.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.agent + self.kernel
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    fn between(from: &Reading, to: &Reading) -> Option<Self> {
        let time = to.at.since(from.at);
        let seconds = time.as_secs_f64();
        (time > Nanos::ZERO).then(|| Self {
            agent: to.agent.since(from.agent).as_secs_f64() / seconds,
            kernel: to.kernel.since(from.kernel).as_secs_f64() / seconds,
            excluded: to.excluded.since(from.excluded).as_secs_f64() / seconds,
            rate: to.operations.saturating_sub(from.operations) as f64 / seconds,
        })
    }
}

/// A step that is to be taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// From here.
    pub from: Step,
    /// To there: a neighbour.
    pub to: Step,
    /// Because of this use.
    pub used: Use,
}

impl Change {
    /// To less.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.to > self.from
    }

    /// From everything to a sample.
    #[must_use]
    pub fn begins_sampling(&self) -> bool {
        self.from.tuning().sampling == 0 && self.to.tuning().sampling > 0
    }
}

/// The decision.
#[derive(Debug)]
pub struct Decision {
    budget: f64,
    step: Step,
    judged_from: Nanos,
    /// Since the last change; the first is the newest that is a window old, if any is.
    readings: VecDeque<Reading>,
    /// What each step used when it was left for the one below.
    left: [Option<Use>; Step::COUNT],
    calm_since: Option<Nanos>,
    low_since: Option<Nanos>,
    stepped_up: Option<Nanos>,
    patience: Nanos,
}

impl Decision {
    /// At full capture, from `now` on. `budget` is a share of one processor.
    #[must_use]
    pub fn new(budget: f64, now: Nanos) -> Self {
        Self {
            budget,
            step: Step::FULL,
            judged_from: now + SETTLE,
            readings: VecDeque::new(),
            left: [None; Step::COUNT],
            calm_since: None,
            low_since: None,
            stepped_up: None,
            patience: PATIENCE,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// The use of the last window, or since the last change where that is shorter; `None` right after one.
    #[must_use]
    pub fn used(&self) -> Option<Use> {
        Use::between(self.readings.front()?, self.readings.back()?)
    }

    /// Takes a reading, and says what to do. The step counts as taken, unless it is [taken back](Self::take_back).
    pub fn read(&mut self, reading: Reading) -> Option<Change> {
        if reading.at < self.judged_from {
            return None;
        }
        self.keep(reading);
        let first = self.readings.front()?;
        if reading.at.since(first.at) < WINDOW {
            return None;
        }
        let used = Use::between(first, &reading)?;
        if self.stepped_up.is_some_and(|then| reading.at.since(then) >= PROVEN) {
            self.stepped_up = None;
            self.patience = PATIENCE;
        }
        if used.share() > self.budget { self.down(reading, used) } else { self.up(reading, used) }
    }

    /// The step could not be taken: the step is the one before it. Waiting begins anew, so it is asked for again after another window
    /// at the earliest.
    pub fn take_back(&mut self, change: &Change) {
        self.step = change.from;
        if !change.is_down() {
            self.stepped_up = None;
        }
    }

    fn keep(&mut self, reading: Reading) {
        self.readings.push_back(reading);
        let old = |one: &Reading| reading.at.since(one.at) >= WINDOW;
        while self.readings.get(1).is_some_and(old) || self.readings.len() > MAX_READINGS {
            self.readings.pop_front();
        }
    }

    fn down(&mut self, reading: Reading, used: Use) -> Option<Change> {
        (self.calm_since, self.low_since) = (None, None);
        let to = self.step.down()?;
        if let Some(left) = self.left.get_mut(usize::from(self.step.number())) {
            *left = Some(used);
        }
        if self.stepped_up.take().is_some() {
            self.patience = Nanos(self.patience.0.saturating_mul(2)).min(MAX_PATIENCE);
        }
        Some(self.change(reading, to, used))
    }

    fn up(&mut self, reading: Reading, used: Use) -> Option<Change> {
        let to = self.step.up()?;
        let most = HEADROOM * self.budget;
        let fits = self.expected(to, used) <= most;
        let calm = lasts(&mut self.calm_since, fits, reading.at);
        let low = lasts(&mut self.low_since, used.share() <= most, reading.at);
        if calm < CALM && low < self.patience {
            return None;
        }
        self.stepped_up = Some(reading.at);
        Some(self.change(reading, to, used))
    }

    /// What `step` would use now: what it used when it was left, by the rate of operations.
    fn expected(&self, step: Step, used: Use) -> f64 {
        match self.left.get(usize::from(step.number())).copied().flatten() {
            Some(left) if left.rate > 0.0 => used.share().max(left.share() * used.rate / left.rate),
            // Nothing was going on when it used too much: who knows why.
            Some(_) => f64::INFINITY,
            None => used.share(),
        }
    }

    fn change(&mut self, reading: Reading, to: Step, used: Use) -> Change {
        let from = std::mem::replace(&mut self.step, to);
        (self.calm_since, self.low_since) = (None, None);
        self.readings.clear();
        self.readings.push_back(reading);
        Change { from, to, used }
    }
}

/// For how long `holds` has held without a break.
fn lasts(since: &mut Option<Nanos>, holds: bool, now: Nanos) -> Nanos {
    if !holds {
        *since = None;
        return Nanos::ZERO;
    }
    now.since(*since.get_or_insert(now))
}

#[cfg(test)]
mod tests;
