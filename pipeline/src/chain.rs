//! A chain: the runners of one shard in order, and how to reach each.
//!
//! [`Chain::link`] adds a stage and gives the edge that leaves it; an [`crate::engine`] turns the finished chain.
//!
//! Absent: threads, and knowledge of which stages there are.

use crate::edge::{Bell, EdgeCapacity, EdgeView, Inlet, edge};
use crate::runner::{ControlRefused, Controls, Exit, Hook, Parts, Runner, StageStats, Turns, VerdictSink};
use redtap_stages::stage::{Batch, Stage};
use redtap_stages::time::Nanos;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One stage's place in a chain.
pub struct Place<S> {
    /// Makes the stage, and a fresh one after a fault.
    pub fresh: Box<dyn FnMut() -> S + Send>,
    /// How often it is ticked.
    pub tick_every: Nanos,
    /// Run after each of its turns.
    pub hook: Option<Hook<S>>,
}

/// Takes the bell it asked for.
pub(crate) type Caller = Box<dyn FnOnce(Bell) + Send>;

/// The runners of one shard.
pub struct Chain {
    capacity: EdgeCapacity,
    verdicts: Arc<dyn VerdictSink>,
    pub(crate) runners: Vec<Box<dyn Turns>>,
    /// The edge into each runner.
    pub(crate) edges: Vec<EdgeView>,
    pub(crate) stats: Vec<Arc<StageStats>>,
    /// Who wants to be able to ring a runner, by its place.
    pub(crate) callers: Vec<(usize, Caller)>,
}

/// Reaches one stage from any thread while it runs.
pub struct Remote<S> {
    controls: Controls<S>,
    stats: Arc<StageStats>,
    bell: Arc<OnceLock<Bell>>,
}

impl<S: Stage> Remote<S> {
    /// Has `control` run between two turns of the stage, soon. After a fault of the stage nothing of what earlier calls did
    /// to it is left: what must hold is to be said again, from time to time or when there is one [fault](Self::faults) more.
    ///
    /// # Errors
    /// When [`crate::runner::CONTROL_QUEUE`] are waiting, or the stage is finished.
    pub fn apply(&self, control: impl FnOnce(&mut S) + Send + 'static) -> Result<(), ControlRefused> {
        self.controls.apply(Box::new(control))?;
        if let Some(bell) = self.bell.get() {
            bell();
        }
        Ok(())
    }

    /// Stages that fell over so far, each of which a fresh one has replaced; as of its last turn.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.stats.totals().faults
    }

    /// Calls that wait for the stage.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.controls.waiting()
    }
}

impl<S> Clone for Remote<S> {
    fn clone(&self) -> Self {
        Self { controls: self.controls.clone(), stats: Arc::clone(&self.stats), bell: Arc::clone(&self.bell) }
    }
}

impl<S> fmt::Debug for Remote<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.controls).finish()
    }
}

impl Chain {
    /// A chain without stages, whose edges hold `capacity` batches and whose verdicts go to `verdicts`.
    #[must_use]
    pub fn new(capacity: EdgeCapacity, verdicts: Arc<dyn VerdictSink>) -> Self {
        let (runners, edges, stats, callers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { capacity, verdicts, runners, edges, stats, callers }
    }

    /// Adds a stage behind `inlet`, and an edge behind it.
    pub fn link<S: Stage>(&mut self, inlet: Inlet<S::In>, place: Place<S>) -> (Inlet<S::Out>, Remote<S>) {
        let (outlet, next) = self.edge();
        let remote = self.end(inlet, place, outlet);
        (next, remote)
    }

    /// Adds a stage behind `inlet` that gives to `exit`.
    pub fn end<S: Stage>(&mut self, inlet: Inlet<S::In>, place: Place<S>, exit: impl Exit<S::Out>) -> Remote<S> {
        self.edges.push(inlet.view());
        let Place { fresh, tick_every, hook } = place;
        let verdicts = Arc::clone(&self.verdicts);
        let (runner, controls) = Runner::new(Parts { fresh, inlet, exit, verdicts, hook, tick_every });
        let stats = runner.stats();
        self.stats.push(Arc::clone(&stats));
        self.runners.push(Box::new(runner));
        let bell = Arc::new(OnceLock::new());
        let remote = Remote { controls, stats, bell: Arc::clone(&bell) };
        self.call(move |ring| drop(bell.set(ring)));
        remote
    }

    /// The runners and their numbers, in order, to be turned by hand.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Box<dyn Turns>>, Vec<Arc<StageStats>>) {
        (self.runners, self.stats)
    }

    /// An edge as all of this chain are.
    #[must_use]
    pub fn edge<B: Batch>(&self) -> (crate::edge::Outlet<B>, Inlet<B>) {
        edge(self.capacity)
    }

    /// Gives `caller` a bell for the stage that was added last, once there is one.
    pub fn call(&mut self, caller: impl FnOnce(Bell) + Send + 'static) {
        self.callers.push((self.runners.len().saturating_sub(1), Box::new(caller)));
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.runners.iter().map(|runner| runner.name())).finish()
    }
}
