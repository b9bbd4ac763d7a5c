//! A runner: one stage between two edges, moved one batch at a time. It knows no actor, thread or clock.
//!
//! Life cycle: [`Turns::turn`] until [`Turn::Finished`]. A turn runs the control functions that have come, hands on the
//! batch that found the edge full (nothing is taken before that succeeded), takes one batch, lets the stage process it,
//! ticks the stage when its time has come, and hands on what it gave. When the producer is gone and the edge is empty,
//! the stage is drained, once, and the runner is finished when the last batch is on its way.
//!
//! Time comes with the batches: the stamp of a batch says up to when everything before it has been seen. A backlog can
//! therefore never make a stage time out what still waits behind it, and a recording gives the same results at any
//! speed. Sources send empty batches when nothing happens, and runners pass time on at steps of [`TIME_STEP`].
//!
//! A panic in a stage is caught and counted; a fresh stage takes its place. What the old one held and the batch in
//! hand are counted as lost. The process stays up.
//!
//! **Invariant:** `taken = passed + held + rejected + lost`, in every published [`StageTotals`].
//!
//! Absent: unbounded loops (controls are bounded by their queue, [`CONTROL_QUEUE`]) and allocation in a steady flow.

use crate::edge::{Inlet, Outlet};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use redtap_stages::abi::Verdict;
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

pub mod stats;
pub use stats::{StageStats, StageTotals};

/// Control functions that may wait for one stage; past that the caller is refused.
pub const CONTROL_QUEUE: usize = 64;
/// Time is passed on with an empty batch when the next stage has heard nothing for this long.
pub const TIME_STEP: Nanos = Nanos::from_millis(25);
/// A stage is ticked at least this often while time passes, unless its parts say otherwise.
pub const TICK: Nanos = Nanos::SECOND;

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing to do. The data bell of the inlet rings when there is.
    Idle,
    /// A batch was moved; there may be more.
    Worked,
    /// The next edge is full. Its space bell rings when it is not; until then nothing is taken.
    Blocked,
    /// The stage is drained and everything is handed on. Drop the runner: that tells the next one.
    Finished,
}

/// Where a runner sends what its stage gives.
pub trait Exit<B: Batch>: Send + 'static {
    /// An empty batch to fill.
    fn blank(&mut self) -> B;

    /// Hands on `batch`, which holds all that happened up to `at`.
    ///
    /// # Errors
    /// Gives the batch back when there is no room now, or when the other end [is gone](Self::is_closed).
    fn send(&mut self, at: Nanos, batch: B) -> Result<(), B>;

    /// Nothing sent will ever be taken.
    fn is_closed(&self) -> bool;
}

impl<B: Batch> Exit<B> for Outlet<B> {
    fn blank(&mut self) -> B {
        Self::blank(self)
    }

    fn send(&mut self, at: Nanos, batch: B) -> Result<(), B> {
        Self::send(self, at, batch)
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }
}

/// A runner of any stage.
pub trait Turns: Send + fmt::Debug + 'static {
    /// Name of the stage.
    fn name(&self) -> &'static str;

    /// Moves at most one batch.
    fn turn(&mut self) -> Turn;
}

/// Takes what the stages want the kernel to know of connections.
pub trait VerdictSink: Send + Sync {
    /// Must not block; a verdict may be given again.
    fn set(&self, verdict: Verdict);
}

/// For sources that nobody can tell anything, such as recordings.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVerdicts;

impl VerdictSink for NoVerdicts {
    fn set(&self, _: Verdict) {}
}

/// Runs between two turns of a stage.
pub type Control<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Runs after every batch, tick and drain: the place to fetch what a stage knows beyond its ledger. Must be cheap.
pub type Hook<S> = Box<dyn FnMut(&mut S) + Send>;

/// What a runner is made of.
pub struct Parts<S: Stage, X> {
    /// Makes the stage, and a fresh one after a fault.
    pub fresh: Box<dyn FnMut() -> S + Send>,
    /// Where batches come from.
    pub inlet: Inlet<S::In>,
    /// Where batches go.
    pub exit: X,
    /// Told of the verdicts in the batches that the stage gives.
    pub verdicts: Arc<dyn VerdictSink>,
    /// Run after each turn of the stage.
    pub hook: Option<Hook<S>>,
    /// How often the stage is ticked, in the time of the stamps.
    pub tick_every: Nanos,
}

/// One stage between two edges.
pub struct Runner<S: Stage, X: Exit<S::Out>> {
    stage: S,
    parts: Parts<S, X>,
    controls: Receiver<Control<S>>,
    stats: Arc<StageStats>,
    totals: StageTotals,
    /// What the ledgers of the stages before the last fault come to.
    before: StageTotals,
    /// An empty batch at hand, or the one being filled.
    out: Option<S::Out>,
    /// The batch that found no room.
    blocked: Option<S::Out>,
    now: Nanos,
    ticked: Option<Nanos>,
    passed_on: Nanos,
    drained: bool,
}

/// Reaches a stage while its runner runs elsewhere.
pub struct Controls<S> {
    queue: Sender<Control<S>>,
}

/// Why a control function was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlRefused {
    /// The stage is behind.
    #[error("{CONTROL_QUEUE} control functions already wait for the stage")]
    Full,
    /// The stage is finished.
    #[error("the stage is finished")]
    Finished,
}

impl<S> Clone for Controls<S> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<S> fmt::Debug for Controls<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls").field("waiting", &self.queue.len()).finish()
    }
}

impl<S: Stage> Controls<S> {
    /// Queues `control` to be run before the next turn. Does not wake the runner.
    ///
    /// # Errors
    /// When the queue is full or the runner is gone; the function is dropped.
    pub fn apply(&self, control: Control<S>) -> Result<(), ControlRefused> {
        self.queue.try_send(control).map_err(|error| match error {
            TrySendError::Full(_) => ControlRefused::Full,
            TrySendError::Disconnected(_) => ControlRefused::Finished,
        })
    }
}

#[cfg(test)]
impl<S> Controls<S> {
    /// Functions that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl<S: Stage, X: Exit<S::Out>> Runner<S, X> {
    /// A runner of a first stage made by `parts.fresh`, and the way to reach that stage.
    #[must_use]
    pub fn new(mut parts: Parts<S, X>) -> (Self, Controls<S>) {
        let stage = (parts.fresh)();
        let (queue, controls) = crossbeam_channel::bounded(CONTROL_QUEUE);
        let stats = Arc::new(StageStats::new(S::NAME, &stage.ledger()));
        let runner = Self {
            stage,
            parts,
            controls,
            stats,
            totals: StageTotals::default(),
            before: StageTotals::default(),
            out: None,
            blocked: None,
            now: Nanos::ZERO,
            ticked: None,
            passed_on: Nanos::ZERO,
            drained: false,
        };
        (runner, Controls { queue })
    }

    /// The numbers of the stage, published after each turn.
    #[must_use]
    pub fn stats(&self) -> Arc<StageStats> {
        Arc::clone(&self.stats)
    }

    fn move_one(&mut self) -> Turn {
        self.run_controls();
        if let Some(batch) = self.blocked.take() {
            let unblocked = self.hand_on(batch);
            self.publish();
            return if unblocked { Turn::Worked } else { Turn::Blocked };
        }
        if self.drained {
            return Turn::Finished;
        }
        if let Some((at, input)) = self.parts.inlet.take() {
            self.step(at, input);
        } else if self.parts.inlet.is_finished() {
            self.drain();
        } else {
            return Turn::Idle;
        }
        Turn::Worked
    }

    fn run_controls(&mut self) {
        for _ in 0..CONTROL_QUEUE {
            let Ok(control) = self.controls.try_recv() else { return };
            self.guarded(0, |stage, _| control(stage));
        }
    }

    fn step(&mut self, at: Nanos, mut input: S::In) {
        self.now = self.now.max(at);
        let now = self.now;
        // The first stamp starts the clock of the ticks; it does not end one.
        let ticked = *self.ticked.get_or_insert(now);
        let tick = now.since(ticked) >= self.parts.tick_every;
        let records = input.len() as u64;
        self.totals.turns += 1;
        self.guarded(records, |stage, out| {
            if records > 0 {
                stage.process(now, &mut input, out);
            }
            if tick {
                stage.tick(now, out);
            }
        });
        self.parts.inlet.give_back(input);
        if tick {
            self.ticked = Some(now);
            self.totals.ticks += 1;
        }
        self.emit();
        self.run_hook();
        self.publish();
    }

    fn drain(&mut self) {
        let now = self.now;
        self.guarded(0, |stage, out| stage.drain(now, out));
        self.drained = true;
        self.emit();
        self.run_hook();
        self.publish();
    }

    /// After what the stage gave is on its way: a hook that panics costs the stage, but no record that it passed on.
    fn run_hook(&mut self) {
        if let Some(mut hook) = self.parts.hook.take() {
            self.guarded(0, |stage, _| hook(stage));
            self.parts.hook = Some(hook);
        }
    }

    /// Runs `work` on the stage with the batch being filled. A panic costs the stage, what it held and the `in_hand`
    /// records, and what it had put into the batch.
    fn guarded(&mut self, in_hand: u64, work: impl FnOnce(&mut S, &mut S::Out)) {
        let mut out = self.out.take().unwrap_or_else(|| self.parts.exit.blank());
        let stage = &mut self.stage;
        let worked = catch_unwind(AssertUnwindSafe(|| {
            work(stage, &mut out);
            let ledger = stage.ledger();
            debug_assert!(ledger.balances(), "{}: {ledger:?} does not balance", S::NAME);
            ledger
        }));
        if let Ok(ledger) = worked {
            self.totals.follow(&self.before, &ledger);
        } else {
            out.recycle();
            self.totals.fault(in_hand);
            self.before = self.totals;
            self.stage = (self.parts.fresh)();
        }
        self.out = Some(out);
    }

    /// Hands on what the stage gave, or the time alone.
    fn emit(&mut self) {
        let Some(mut out) = self.out.take() else { return };
        for verdict in out.verdicts() {
            self.parts.verdicts.set(*verdict);
        }
        self.totals.verdicts += out.verdicts().len() as u64;
        if !out.is_empty() {
            self.hand_on(out);
            return;
        }
        // Also lets go of a lease that nothing points into any more.
        out.recycle();
        if self.now.since(self.passed_on) >= TIME_STEP && !self.drained {
            self.hand_on(out);
        } else {
            self.out = Some(out);
        }
    }

    /// True when the batch is gone: sent, or counted as lost since nobody will ever take it.
    fn hand_on(&mut self, batch: S::Out) -> bool {
        let records = batch.len() as u64;
        match self.parts.exit.send(self.now, batch) {
            Ok(()) => {
                self.passed_on = self.now;
                self.totals.sent += records;
                true
            }
            Err(_) if self.parts.exit.is_closed() => {
                self.totals.unsendable += records;
                true
            }
            Err(batch) => {
                self.blocked = Some(batch);
                self.totals.blocked += 1;
                false
            }
        }
    }

    fn publish(&mut self) {
        self.totals.now = self.now;
        self.totals.finished = self.drained && self.blocked.is_none();
        self.stats.publish(&self.totals);
    }
}

impl<S: Stage, X: Exit<S::Out>> Turns for Runner<S, X> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn turn(&mut self) -> Turn {
        self.move_one()
    }
}

impl<S: Stage, X: Exit<S::Out>> fmt::Debug for Runner<S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("stage", &S::NAME).field("totals", &self.totals).finish_non_exhaustive()
    }
}
