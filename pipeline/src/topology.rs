//! A topology: sources, the nine stages of each shard, and sinks, running.
//!
//! ```text
//! source -> drain => decode -> identify -> parse -> pair -> filter -> converge -> join -> aggregate -> flush -> sink
//!                                                                           tap <-'
//! ```
//!
//! Life cycle: a [`Plan`] and as many sources as it has shards become [`Running`]; reports and controls while it runs;
//! [`Running::stop`] feeds what has happened, drains every stage in order, delivers the last publications and joins all
//! threads. A recording ends by itself: [`Running::wait`].
//!
//! **Invariant:** nothing here touches an event. Wiring only.

use crate::blueprint::Plan;
use crate::chain::{Chain, Place, Remote};
use crate::conservation::{Conservation, Exchanges, KernelCounts, ShardReport, StageReport};
use crate::drain::{Drain, DrainTotals};
use crate::edge::EdgeView;
use crate::engine::{Engine, Unfinished};
use crate::runner::{Hook, StageStats, VerdictSink};
use crate::source::{Lease, Source};
use crate::tap::{Tap, Tapped};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use redtap_stages::aggregate::Aggregate;
use redtap_stages::converge::Converge;
use redtap_stages::decode::Decode;
use redtap_stages::filter::Filter;
use redtap_stages::flush::Flush;
use redtap_stages::identify::Identify;
use redtap_stages::join::{Join, Wanted};
use redtap_stages::pair::{Account, Pair};
use redtap_stages::parse::Parse;
use redtap_stages::time::Nanos;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod publish;
pub use publish::PublicationSink;
pub(crate) use publish::exchanges;
use publish::{Fate, Publications};

/// Lists of wanted processes that may wait to be looked at; while it is full, `join` keeps what it wants.
pub const WANTED_QUEUE: usize = 64;
/// How long a topology that is dropped, instead of stopped, is given to finish.
const DROP_WAIT: Duration = Duration::from_secs(5);

/// What a topology gives to.
#[derive(Clone)]
pub struct Sinks {
    /// Takes the publications.
    pub publications: Arc<dyn PublicationSink>,
    /// Takes the verdicts: [`crate::source::rings::SlotVerdicts`] for a probe, [`crate::runner::NoVerdicts`] else.
    pub verdicts: Arc<dyn VerdictSink>,
    /// Where single exchanges can be watched, from the first one on.
    pub tap: Arc<Tap>,
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sinks").finish_non_exhaustive()
    }
}

/// Why a topology did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not one source for each shard.
    #[error("{sources} sources for {shards} shards")]
    Sources {
        /// Sources given.
        sources: usize,
        /// Shards planned.
        shards: usize,
    },
    /// No threads.
    #[error("no thread could be started")]
    Thread(#[from] io::Error),
}

/// Processes that the `join` of a shard wants to be told about.
#[derive(Debug)]
pub struct WantedBy {
    /// Whose.
    pub shard: usize,
    /// Which.
    pub processes: Vec<Wanted>,
}

/// Starts topologies.
#[derive(Debug)]
pub struct Topology;

impl Topology {
    /// Starts `plan` on `sources`, one a shard.
    ///
    /// # Errors
    /// When the number of sources is not that of the shards, or the system gives no threads.
    pub fn start(plan: Plan, sources: Vec<Box<dyn Source>>, sinks: Sinks) -> Result<Running, StartError> {
        if sources.len() != plan.shards {
            return Err(StartError::Sources { sources: sources.len(), shards: plan.shards });
        }
        let tap = Arc::clone(&sinks.tap);
        let (want, wanted) = crossbeam_channel::bounded(WANTED_QUEUE);
        let (mut chains, mut shards, mut feeds) = (Vec::new(), Vec::new(), Vec::new());
        for (number, source) in sources.into_iter().enumerate() {
            let mut chain = Chain::new(plan.edges, Arc::clone(&sinks.verdicts));
            let (outlet, inlet) = chain.edge();
            let wiring = Wiring { plan: &plan, shard: number, tap: &tap, want: &want, sinks: &sinks };
            shards.push(wiring.build(&mut chain, inlet));
            chains.push(chain);
            feeds.push((number, source, outlet));
        }
        let thread_plan = plan.clone();
        let engine = Engine::start(plan.engine, chains, move |shard, place| thread_plan.thread_of(shard, place))?;
        let mut running = Running { engine: Some(engine), drains: Vec::new(), shards, tap, wanted };
        // Should one not start, dropping `running` ends the others: their edges close.
        for (number, source, outlet) in feeds {
            let drain = Drain::start(number, source, outlet)?;
            if let Some(shard) = running.shards.get_mut(number) {
                shard.drain = drain.totals();
            }
            running.drains.push(drain);
        }
        Ok(running)
    }
}

/// Ways to reach stages of one shard while it runs.
#[derive(Debug, Clone)]
pub struct ShardControls {
    /// `decode`: listening ports.
    pub decode: Remote<Decode<Lease>>,
    /// `identify`.
    pub identify: Remote<Identify<Lease>>,
    /// `parse`.
    pub parse: Remote<Parse<Lease>>,
    /// `pair`.
    pub pair: Remote<Pair>,
    /// `filter`.
    pub filter: Remote<Filter>,
    /// `converge`: its counts.
    pub converge: Remote<Converge>,
    /// `join`: facts, identities.
    pub join: Remote<Join>,
    /// `aggregate`: its counts.
    pub aggregate: Remote<Aggregate>,
    /// `flush`.
    pub flush: Remote<Flush>,
}

/// A running topology.
#[derive(Debug)]
pub struct Running {
    drains: Vec<Drain>,
    engine: Option<Engine>,
    shards: Vec<Shard>,
    tap: Arc<Tap>,
    wanted: Receiver<WantedBy>,
}

/// How a topology ended.
#[derive(Debug)]
pub struct Stopped {
    /// The last reports.
    pub shards: Vec<ShardReport>,
    /// Who did not finish in time, if someone did not.
    pub unfinished: Option<Unfinished>,
    /// No thread panicked.
    pub clean: bool,
}

impl Stopped {
    /// The sums at the end; `kernel` as read after the stop.
    #[must_use]
    pub fn conservation(&self, kernel: Option<KernelCounts>) -> Conservation {
        Conservation::of(kernel, &self.shards)
    }
}

impl Running {
    /// What every part did so far.
    #[must_use]
    pub fn report(&self) -> Vec<ShardReport> {
        self.shards.iter().map(Shard::report).collect()
    }

    /// The sums; `kernel` from [`redtap_kernel::probe::Probe::losses`], if there is a probe.
    #[must_use]
    pub fn conservation(&self, kernel: Option<KernelCounts>) -> Conservation {
        Conservation::of(kernel, &self.report())
    }

    /// Reaches the stages of a shard.
    #[must_use]
    pub fn controls(&self, shard: usize) -> Option<ShardControls> {
        self.shards.get(shard).map(|shard| shard.controls.clone())
    }

    /// The number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Processes that `join` wants to be told about, by [`ShardControls::join`].
    #[must_use]
    pub fn wanted(&self) -> Receiver<WantedBy> {
        self.wanted.clone()
    }

    /// Where single exchanges can be watched.
    #[must_use]
    pub fn tap(&self) -> Arc<Tap> {
        Arc::clone(&self.tap)
    }

    /// All sources have ended (of themselves, or told to). The stages may still be busy.
    #[must_use]
    pub fn sources_ended(&self) -> bool {
        self.shards.iter().all(|shard| shard.drain.lock().ended)
    }

    /// Waits until the sources have ended and everything is drained and delivered.
    #[must_use]
    pub fn wait(mut self) -> Stopped {
        self.finish(None)
    }

    /// Ends the sources, then as [`Self::wait`], but at most for `at_most`.
    #[must_use]
    pub fn stop(mut self, at_most: Duration) -> Stopped {
        self.drains.iter().for_each(Drain::stop);
        self.finish(Some(at_most))
    }

    fn finish(&mut self, at_most: Option<Duration>) -> Stopped {
        let unfinished = self.engine.as_mut().and_then(|engine| engine.wait(at_most).err());
        // In this order: ending the actors frees a drain that still waits before an edge that nobody empties.
        let mut clean = self.engine.take().is_none_or(Engine::join);
        for drain in std::mem::take(&mut self.drains) {
            drain.stop();
            if unfinished.is_none() {
                clean &= drain.join();
            }
        }
        Stopped { shards: self.report(), unfinished, clean }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.engine.is_some() {
            self.drains.iter().for_each(Drain::stop);
            self.finish(Some(DROP_WAIT));
        }
    }
}

#[derive(Debug)]
struct Shard {
    drain: Arc<Mutex<DrainTotals>>,
    stages: Vec<(Arc<StageStats>, EdgeView)>,
    exchanges: Arc<Mutex<Exchanges>>,
    fate: Fate,
    controls: ShardControls,
}

impl Shard {
    fn report(&self) -> ShardReport {
        // Downstream first, so that nothing seems to arrive before it was sent.
        let delivered = self.fate.so_far();
        let exchanges = *self.exchanges.lock();
        let mut stages: Vec<_> = self.stages.iter().rev().map(|(stats, edge)| stage_report(stats, edge)).collect();
        stages.reverse();
        if let Some(last) = stages.last_mut() {
            last.totals.unsendable += delivered.publications_lost;
        }
        ShardReport { drain: *self.drain.lock(), stages, exchanges, delivered }
    }
}

fn stage_report(stats: &StageStats, edge: &EdgeView) -> StageReport {
    StageReport { name: stats.name(), totals: stats.totals(), rejected: stats.rejected(), inlet: edge.totals() }
}

struct Wiring<'a> {
    plan: &'a Plan,
    shard: usize,
    tap: &'a Arc<Tap>,
    want: &'a Sender<WantedBy>,
    sinks: &'a Sinks,
}

impl Wiring<'_> {
    fn build(
        &self,
        chain: &mut Chain,
        events: crate::edge::Inlet<redtap_stages::flow::event::EventBatch<Lease>>,
    ) -> Shard {
        let stages = self.plan.stages.clone();
        let exchanges = Arc::new(Mutex::new(Exchanges::default()));
        let strangers = Strangers::default();
        let decode = move || Decode::new(stages.decode.clone());
        let (segments, decode) = chain.link(events, place(decode, crate::runner::TICK, Some(strangers.introduce())));
        let (segments, identify) = chain.link(segments, every_second(strangers.made_by(Identify::<Lease>::new)));
        let (messages, parse) = chain.link(segments, every_second(strangers.made_by(Parse::<Lease>::new)));
        let pair = strangers.made_by(move || Pair::new(stages.pair.clone()));
        let (paired, pair) = chain.link(messages, place(pair, TIMEOUT_TICK, Some(account_to(&exchanges))));
        let (wanted_ones, filter) = chain.link(paired, every_second(move || Filter::new(stages.filter.clone())));
        let (converged, converge) =
            chain.link(wanted_ones, every_second(move || Converge::new(stages.converge.clone())));
        let (outlet, joined) = chain.edge();
        let join = place(move || Join::new(stages.join.clone()), JOIN_TICK, Some(self.ask()));
        let join = chain.end(converged, join, Tapped::new(outlet, Arc::clone(self.tap)));
        let tap = Arc::clone(self.tap);
        chain.call(move |bell| tap.add_bell(bell));
        let (deltas, aggregate) = chain.link(joined, every_second(move || Aggregate::with(stages.aggregate.clone())));
        let exit = Publications::new(self.shard, Arc::clone(&self.sinks.publications));
        let fate = exit.fate();
        let flush = chain.end(deltas, place(move || Flush::new(stages.flush.clone()), TIMEOUT_TICK, None), exit);
        Shard {
            drain: Arc::default(),
            stages: chain.stats.iter().cloned().zip(chain.edges.iter().cloned()).collect(),
            exchanges,
            fate,
            controls: ShardControls { decode, identify, parse, pair, filter, converge, join, aggregate, flush },
        }
    }

    /// Sends on what `join` wants to know, while there is room.
    fn ask(&self) -> Hook<Join> {
        let (want, shard) = (self.want.clone(), self.shard);
        let mut processes = Vec::new();
        Box::new(move |join| {
            if want.is_full() {
                return;
            }
            join.wanted(&mut processes);
            if !processes.is_empty() {
                // Other shards may have taken the room; then it is asked again with the next tick.
                let asked = WantedBy { shard, processes: std::mem::take(&mut processes) };
                if let Err(refused) = want.try_send(asked) {
                    processes = refused.into_inner().processes;
                }
            }
        })
    }
}

/// How often `pair` looks for time-outs and `flush` for its interval.
const TIMEOUT_TICK: Nanos = Nanos::from_millis(250);
/// How often `join` asks, and lets go of what it holds for an answer.
const JOIN_TICK: Nanos = Nanos::from_millis(50);

/// Stages that were started anew after a fault and know no connection. `decode` says its connections again for them;
/// without that they would stay blind to each until it is closed.
#[derive(Debug, Clone, Default)]
struct Strangers(Arc<AtomicBool>);

impl Strangers {
    /// `fresh`, of which every stage but the first is a stranger.
    fn made_by<S>(&self, mut fresh: impl FnMut() -> S + Send + 'static) -> impl FnMut() -> S + Send + 'static {
        let (there, mut first) = (Arc::clone(&self.0), true);
        move || {
            if !std::mem::replace(&mut first, false) {
                there.store(true, Ordering::Release);
            }
            fresh()
        }
    }

    /// For `decode`, after each of its turns.
    fn introduce(&self) -> Hook<Decode<Lease>> {
        let there = Arc::clone(&self.0);
        Box::new(move |decode| {
            if there.load(Ordering::Relaxed) && there.swap(false, Ordering::Acquire) {
                decode.reopen();
            }
        })
    }
}

fn every_second<S>(fresh: impl FnMut() -> S + Send + 'static) -> Place<S> {
    place(fresh, crate::runner::TICK, None)
}

fn place<S>(fresh: impl FnMut() -> S + Send + 'static, tick_every: Nanos, hook: Option<Hook<S>>) -> Place<S> {
    Place { fresh: Box::new(fresh), tick_every, hook }
}

/// Publishes the account of `pair`, over all its restarts.
fn account_to(exchanges: &Arc<Mutex<Exchanges>>) -> Hook<Pair> {
    let exchanges = Arc::clone(exchanges);
    let (mut before, mut last) = (Exchanges::default(), Account::default());
    Box::new(move |pair| {
        let now = pair.account();
        if now.seen < last.seen {
            // A fresh stage. What the old one had pending went with it.
            before = sum(&before, &last);
            before.lost += std::mem::take(&mut before.pending);
        }
        last = now;
        *exchanges.lock() = sum(&before, &now);
    })
}

fn sum(before: &Exchanges, account: &Account) -> Exchanges {
    Exchanges {
        seen: before.seen + account.seen,
        reported: before.reported + account.reported,
        missed: before.missed + account.missed,
        dropped: before.dropped + account.dropped(),
        pending: before.pending + account.pending,
        lost: before.lost,
        missed_unidentified: before.missed_unidentified + account.missed_unidentified,
    }
}
