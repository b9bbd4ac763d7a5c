//! The governor: keeps what the agent uses within its budget of processor time, by doing less in steps.
//!
//! A [`Step`] says what is left out; [`decision`] when to take one, out of readings alone; [`meter`] reads; `haste` tells the
//! pipeline, `notices` what is worth a line of the log; this file acts. Life cycle: [`Governor::start`] once probe and pipeline run, a thread that looks once a second, [`Governor::stop`] before the
//! pipeline stops. Without a budget there is none of it.
//!
//! Every step is a log line, a metric (`redtap_governor_*`, `redtap_sampling_ratio`) and shown in the status ([`State`]).
//!
//! Absent: anything that touches an event. Why it is so: `docs/adr/0010-the-governor.md`.

pub mod decision;
mod haste;
pub mod meter;
mod notices;
pub mod step;

use crate::chain::Remote;
use crate::clock;
use crate::source::Lease;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use decision::{Change, Decision, Use};
use haste::Haste;
use meter::{Costs, Meter};
use notices::Notices;
use parking_lot::Mutex;
use redtap_kernel::probe::Probe;
use redtap_stages::identify::Identify;
use redtap_stages::time::Nanos;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
pub use step::Step;

/// How often it looks.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Where it stands, for metrics and status. Without a governor: the default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct State {
    /// Budget, a share of one processor; 0: none.
    pub budget: f64,
    /// How far it has stepped down.
    pub step: Step,
    /// Since when.
    pub since: Nanos,
    /// What is used.
    pub used: Use,
    /// Steps down so far.
    pub downs: u64,
    /// Steps up so far.
    pub ups: u64,
    /// What operations cost in the kernel programs.
    pub costs: Costs,
}

/// A running governor.
#[derive(Debug)]
pub struct Governor {
    state: Arc<Mutex<State>>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Governor {
    /// Keeps the use of this process and of `probe` below `budget` (a share of one processor), from a thread of its own.
    /// `identify` are those of all shards.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(budget: f64, probe: Arc<Probe>, identify: Vec<Remote<Identify<Lease>>>) -> std::io::Result<Self> {
        let now = clock::monotonic();
        let state = Arc::new(Mutex::new(State { budget, since: now, ..State::default() }));
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let shown = Arc::clone(&state);
        let worker = Worker {
            meter: Meter::new(Arc::clone(&probe)),
            decision: Decision::new(budget, now),
            probe,
            haste: Haste::new(identify),
            state: shown,
            notices: Notices::default(),
        };
        let thread =
            std::thread::Builder::new().name("redtap-governor".to_owned()).spawn(move || worker.run(&stopped))?;
        Ok(Self { state, stop, thread })
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        *self.state.lock()
    }

    /// Ends the thread. What was asked of probe and pipeline stays as it is.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

struct Worker {
    meter: Meter,
    decision: Decision,
    probe: Arc<Probe>,
    haste: Haste,
    state: Arc<Mutex<State>>,
    notices: Notices,
}

impl Worker {
    fn run(mut self, stopped: &Receiver<()>) {
        let goes_on = |time| matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        while goes_on(INTERVAL) {
            let reading = self.meter.read(goes_on);
            let change = self.decision.read(reading).and_then(|change| self.take(change));
            self.haste.tell(self.decision.step().mutes_unknown());
            self.show(reading.at, change);
            self.warn();
        }
    }

    /// Takes a step in the kernel programs. Without them it is not taken: what is shown is what is in force.
    fn take(&mut self, change: Change) -> Option<Change> {
        if let Err(error) = self.probe.tune(change.to.tuning()) {
            self.decision.take_back(&change);
            if self.notices.refused(&error.to_string()) {
                tracing::warn!(
                    from = change.from.name(),
                    to = change.to.name(),
                    "governor: the kernel programs cannot be told of a step, which is not taken: {error}"
                );
            }
            return None;
        }
        self.meter.forget_cost();
        self.notices.stepped(&change);
        self.log(&change);
        Some(change)
    }

    fn show(&self, now: Nanos, change: Option<Change>) {
        let mut state = self.state.lock();
        state.step = self.decision.step();
        if let Some(used) = self.decision.used() {
            state.used = used;
        }
        if let Some(change) = change {
            state.since = now;
            state.downs += u64::from(change.is_down());
            state.ups += u64::from(!change.is_down());
        }
        state.costs = self.meter.costs();
    }

    fn log(&self, change: &Change) {
        let Change { from, to, used } = change;
        let budget = percent(self.state.lock().budget);
        let (agent, kernel, total) = (percent(used.agent), percent(used.kernel), percent(used.share()));
        let (from, sampling_ratio, to_name) = (from.name(), to.sampling_ratio(), to.name());
        if change.is_down() {
            tracing::warn!(
                from,
                to = to_name,
                used = total,
                agent,
                kernel,
                budget,
                sampling_ratio,
                "governor: above the budget of processor time, one step down{}",
                if change.begins_sampling() { "; counts are scaled from here on (governor.cpu)" } else { "" }
            );
        } else {
            tracing::info!(
                from,
                to = to_name,
                used = total,
                agent,
                kernel,
                budget,
                sampling_ratio,
                "governor: room in the budget of processor time, one step up"
            );
        }
    }

    fn warn(&mut self) {
        let State { used, budget, step, .. } = *self.state.lock();
        if self.notices.exhausted(step.down().is_none() && used.share() > budget) {
            tracing::warn!(
                used = percent(used.share()),
                budget = percent(budget),
                "governor: at its last step and still above the budget; nothing more is left out"
            );
        }
    }
}

/// For logs: `1.23%`.
fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}
