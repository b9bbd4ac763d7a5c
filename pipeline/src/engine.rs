//! An engine: the threads that turn the runners of all chains, until the last one is finished.
//!
//! Two kinds. **Actors**: each runner is a stage actor, on the arbiter that the plan gives it; the first arbiter is that of
//! the actor system itself, so that one thread is enough. **Fused**: one thread a group turns its runners in rounds and
//! parks when a round moved nothing; no messages at all.
//!
//! Life cycle: start wires the bells and rings each runner once, for whatever came before its bell was there. The engine
//! ends by itself, in order, when the sources end.
//!
//! Absent: a way to kill a runner. [`Engine::wait`] gives up after a time, and says who was not finished.

use crate::actor::{Doorbell, StageActor, bell};
use crate::chain::Chain;
use crate::clock;
use crate::edge::Bell;
use crate::runner::{Turn, Turns};
use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle, System};
use crossbeam_channel::{Receiver, Sender};
use redtap_stages::time::Nanos;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Most threads that turn runners.
pub const MAX_THREADS: usize = 72;

/// What turns the runners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engines {
    /// Actors with doorbells.
    #[default]
    Actors,
    /// A loop over runners.
    Fused,
}

/// The running threads.
#[derive(Debug)]
pub struct Engine {
    finished: Receiver<&'static str>,
    unfinished: Vec<&'static str>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Actors { system: System, thread: JoinHandle<()> },
    Fused { threads: Vec<JoinHandle<()>> },
}

/// Runners that did not finish in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not finished in time: {}", .0.join(", "))]
pub struct Unfinished(pub Vec<&'static str>);

impl Engine {
    /// Starts `chains`. `thread_of` gives the thread, from 0, of the runner at (chain, place).
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(kind: Engines, chains: Vec<Chain>, thread_of: impl Fn(usize, usize) -> usize) -> io::Result<Self> {
        let unfinished: Vec<_> = chains.iter().flat_map(|chain| chain.runners.iter().map(|one| one.name())).collect();
        // One place for each runner: telling of the end never fails.
        let (tell, finished) = crossbeam_channel::bounded(unfinished.len().max(1));
        let kind = match kind {
            Engines::Actors => start_actors(chains, &thread_of, &tell)?,
            Engines::Fused => start_fused(chains, &thread_of, &tell)?,
        };
        Ok(Self { finished, unfinished, kind })
    }

    /// Waits until all runners are finished, at most `at_most` (for ever: `None`).
    ///
    /// # Errors
    /// The names of those that are not.
    pub fn wait(&mut self, at_most: Option<Duration>) -> Result<(), Unfinished> {
        let limit = at_most.map(|time| clock::monotonic() + Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)));
        while !self.unfinished.is_empty() {
            let name = match limit {
                None => self.finished.recv().ok(),
                Some(limit) => {
                    let rest = Duration::from_nanos(limit.since(clock::monotonic()).0);
                    self.finished.recv_timeout(rest).ok()
                }
            };
            let Some(name) = name else { return Err(Unfinished(self.unfinished.clone())) };
            if let Some(place) = self.unfinished.iter().position(|one| *one == name) {
                self.unfinished.remove(place);
            }
        }
        Ok(())
    }

    /// Ends the threads. To be called after [`Self::wait`]: what is not finished then is lost. False if one of them panicked,
    /// or still runs.
    #[must_use]
    pub fn join(self) -> bool {
        match self.kind {
            Kind::Actors { system, thread } => {
                system.stop();
                thread.join().is_ok()
            }
            // A thread that is not finished cannot be ended from outside; it is left behind.
            Kind::Fused { .. } if !self.unfinished.is_empty() => false,
            Kind::Fused { threads } => threads.into_iter().all(|thread| thread.join().is_ok()),
        }
    }
}

fn start_actors(
    chains: Vec<Chain>,
    thread_of: &dyn Fn(usize, usize) -> usize,
    tell: &Sender<&'static str>,
) -> io::Result<Kind> {
    let threads = places(&chains).map(|(chain, place)| thread_of(chain, place)).max().unwrap_or(0) + 1;
    let (system, arbiters, thread) = start_system(threads.min(MAX_THREADS))?;
    for (number, mut chain) in chains.into_iter().enumerate() {
        let actors: Vec<_> = std::mem::take(&mut chain.runners)
            .into_iter()
            .enumerate()
            .filter_map(|(place, runner)| {
                let arbiter = arbiters.get(thread_of(number, place) % arbiters.len())?;
                let actor = StageActor::new(runner, tell.clone());
                Some(StageActor::start_in_arbiter(arbiter, move |_| actor))
            })
            .collect();
        wire(chain, |place| actors.get(place).map(bell));
        for actor in &actors {
            ring_once(actor);
        }
    }
    Ok(Kind::Actors { system, thread })
}

/// For what came before the bells were there. A full mailbox is rung already.
fn ring_once(actor: &Addr<StageActor>) {
    drop(actor.try_send(Doorbell));
}

/// The actor system on a thread of its own, with `threads` arbiters of which the first is the system's.
fn start_system(threads: usize) -> io::Result<(System, Vec<ArbiterHandle>, JoinHandle<()>)> {
    let (tell, started) = crossbeam_channel::bounded(1);
    let thread = thread::Builder::new().name("redtap-stages".into()).spawn(move || {
        let runner = System::new();
        let system = System::current();
        let others: io::Result<Vec<_>> = (1..threads).map(|_| Arbiter::try_new()).collect();
        let (others, answer) = match others {
            Ok(others) => {
                let mut arbiters = vec![system.arbiter().clone()];
                arbiters.extend(others.iter().map(Arbiter::handle));
                (others, Ok((system, arbiters)))
            }
            Err(error) => {
                system.stop();
                (Vec::new(), Err(error))
            }
        };
        drop(tell.send(answer));
        // Runs until the system is stopped; the exit code is always 0.
        drop(runner.run());
        for arbiter in others {
            arbiter.stop();
            drop(arbiter.join());
        }
    })?;
    let answer = started.recv().unwrap_or_else(|_| Err(io::Error::other("the actor system did not start")));
    let (system, arbiters) = answer?;
    Ok((system, arbiters, thread))
}

fn start_fused(
    chains: Vec<Chain>,
    thread_of: &dyn Fn(usize, usize) -> usize,
    tell: &Sender<&'static str>,
) -> io::Result<Kind> {
    let mut groups: Vec<Vec<Box<dyn Turns>>> = Vec::new();
    let mut chains = chains;
    for (number, chain) in chains.iter_mut().enumerate() {
        for (place, runner) in std::mem::take(&mut chain.runners).into_iter().enumerate() {
            let group = thread_of(number, place).min(MAX_THREADS);
            if groups.len() <= group {
                groups.resize_with(group + 1, Vec::new);
            }
            if let Some(group) = groups.get_mut(group) {
                group.push(runner);
            }
        }
    }
    let mut threads = Vec::with_capacity(groups.len());
    for (number, group) in groups.into_iter().enumerate() {
        let tell = tell.clone();
        let name = format!("redtap-stages-{number}");
        threads.push(thread::Builder::new().name(name).spawn(move || turn_all(group, &tell))?);
    }
    for (number, chain) in chains.into_iter().enumerate() {
        wire(chain, |place| {
            let thread = threads.get(thread_of(number, place).min(MAX_THREADS))?.thread().clone();
            Some(Box::new(move || thread.unpark()))
        });
    }
    for thread in &threads {
        thread.thread().unpark();
    }
    Ok(Kind::Fused { threads })
}

fn turn_all(mut runners: Vec<Box<dyn Turns>>, finished: &Sender<&'static str>) {
    while !runners.is_empty() {
        let mut moved = false;
        runners.retain_mut(|runner| match runner.turn() {
            Turn::Finished => {
                let _ = finished.try_send(runner.name());
                moved = true;
                false
            }
            turn => {
                moved |= turn == Turn::Worked;
                true
            }
        });
        if !moved {
            thread::park();
        }
    }
}

/// Gives each edge its bells and each caller the bell it asked for.
fn wire(chain: Chain, bell_of: impl Fn(usize) -> Option<Bell>) {
    for (place, edge) in chain.edges.iter().enumerate() {
        if let Some(bell) = bell_of(place) {
            edge.set_data_bell(bell);
        }
        // The edge into the first runner is the drain's, which sets its bell itself.
        if let Some(bell) = place.checked_sub(1).and_then(&bell_of) {
            edge.set_space_bell(bell);
        }
    }
    for (place, caller) in chain.callers {
        if let Some(bell) = bell_of(place) {
            caller(bell);
        }
    }
}

fn places(chains: &[Chain]) -> impl Iterator<Item = (usize, usize)> + '_ {
    chains.iter().enumerate().flat_map(|(number, chain)| (0..chain.runners.len()).map(move |place| (number, place)))
}
