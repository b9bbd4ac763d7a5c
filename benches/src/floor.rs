//! The floor: the same nine stages, called one after the other in one loop. No edges, threads, actors, statistics, or
//! protection against panics; batches are reused. What the pipeline costs above this is what its structure costs.

use crate::events::EventsSource;
use redtap::source::{Filled, Lease, Source as _};
use redtap_e2e::stopwatch;
use redtap_stages::aggregate::Aggregate;
use redtap_stages::converge::{Converge, ConvergeRules};
use redtap_stages::decode::{Decode, DecodeSettings};
use redtap_stages::filter::{Filter, FilterRules};
use redtap_stages::flow::event::EventBatch;
use redtap_stages::flush::{Flush, FlushSettings};
use redtap_stages::identify::Identify;
use redtap_stages::join::{Join, JoinSettings};
use redtap_stages::pair::{Pair, PairSettings};
use redtap_stages::parse::Parse;
use redtap_stages::stage::{Batch as _, Stage};
use redtap_stages::time::Nanos;

/// How often stages are told the time, as in the topology.
pub(crate) const SECOND: Nanos = Nanos::SECOND;
pub(crate) const QUARTER: Nanos = Nanos::from_millis(250);
pub(crate) const SHORT: Nanos = Nanos::from_millis(50);

/// What the floor did.
#[derive(Debug, Default)]
pub struct Done {
    /// Observations published.
    pub publications: u64,
    /// Exchanges that reached `aggregate`.
    pub exchanges: u64,
    /// Series in the table of `aggregate`.
    pub series: usize,
    /// Time spent in each stage, ns; zero unless asked for.
    pub stages: [(&'static str, u64); 9],
}

/// A stage, its batch, and its rhythm.
pub(crate) struct Step<S: Stage> {
    stage: S,
    out: S::Out,
    ticked: Option<Nanos>,
    tick_every: Nanos,
    spent: u64,
}

impl<S: Stage> Step<S> {
    pub(crate) fn new(stage: S, tick_every: Nanos) -> Self {
        Self { stage, out: S::Out::default(), ticked: None, tick_every, spent: 0 }
    }

    pub(crate) fn take<const TIMED: bool>(&mut self, now: Nanos, input: &mut S::In) -> &mut S::Out {
        let begin = if TIMED { stopwatch::now() } else { 0 };
        self.out.recycle();
        if !input.is_empty() {
            self.stage.process(now, input, &mut self.out);
        }
        if now.since(*self.ticked.get_or_insert(now)) >= self.tick_every {
            self.ticked = Some(now);
            self.stage.tick(now, &mut self.out);
        }
        if TIMED {
            self.spent += stopwatch::now() - begin;
        }
        &mut self.out
    }

    fn drain(&mut self, now: Nanos, input: &mut S::In) -> &mut S::Out {
        self.take::<false>(now, input);
        self.stage.drain(now, &mut self.out);
        &mut self.out
    }

    /// What its stage did.
    #[cfg(test)]
    pub(crate) fn ledger(&self) -> redtap_stages::stage::Ledger {
        self.stage.ledger()
    }

    fn done(&self) -> (&'static str, u64) {
        (S::NAME, self.spent)
    }
}

/// The nine stages, before their first event.
pub struct Floor {
    decode: Step<Decode<Lease>>,
    identify: Step<Identify<Lease>>,
    parse: Step<Parse<Lease>>,
    pair: Step<Pair>,
    filter: Step<Filter>,
    converge: Step<Converge>,
    join: Step<Join>,
    aggregate: Step<Aggregate>,
    flush: Step<Flush>,
    batch: EventBatch<Lease>,
    publications: u64,
}

impl Default for Floor {
    fn default() -> Self {
        Self {
            decode: Step::new(Decode::new(DecodeSettings::default()), SECOND),
            identify: Step::new(Identify::new(), SECOND),
            parse: Step::new(Parse::new(), SECOND),
            pair: Step::new(Pair::new(PairSettings::default()), QUARTER),
            filter: Step::new(Filter::new(FilterRules::default()), SECOND),
            converge: Step::new(Converge::new(ConvergeRules::default()), SECOND),
            join: Step::new(Join::new(JoinSettings::default()), SHORT),
            aggregate: Step::new(Aggregate::new(), SECOND),
            flush: Step::new(Flush::new(FlushSettings::default()), QUARTER),
            batch: EventBatch::default(),
            publications: 0,
        }
    }
}

impl Floor {
    /// All events of `source` through the nine stages, in the topology's rhythm of ticks; the time at their end. `TIMED`
    /// measures each stage, which costs a little itself.
    pub fn feed<const TIMED: bool>(&mut self, mut source: EventsSource) -> Nanos {
        loop {
            self.batch.recycle();
            let now = match source.fill(&mut self.batch) {
                Filled::Records(now) | Filled::Time(now) | Filled::Nothing(now) => now,
                Filled::End(now) => return now,
            };
            let out = self.decode.take::<TIMED>(now, &mut self.batch);
            let out = self.identify.take::<TIMED>(now, out);
            let out = self.parse.take::<TIMED>(now, out);
            let out = self.pair.take::<TIMED>(now, out);
            let out = self.filter.take::<TIMED>(now, out);
            let out = self.converge.take::<TIMED>(now, out);
            let out = self.join.take::<TIMED>(now, out);
            let out = self.aggregate.take::<TIMED>(now, out);
            self.publications += self.flush.take::<TIMED>(now, out).len() as u64;
        }
    }

    /// Everything held goes out; what was done.
    pub fn finish(mut self, now: Nanos) -> Done {
        self.batch.recycle();
        let out = self.decode.drain(now, &mut self.batch);
        let out = self.identify.drain(now, out);
        let out = self.parse.drain(now, out);
        let out = self.pair.drain(now, out);
        let out = self.filter.drain(now, out);
        let out = self.converge.drain(now, out);
        let out = self.join.drain(now, out);
        let out = self.aggregate.drain(now, out);
        self.publications += self.flush.drain(now, out).len() as u64;
        let stages = [
            self.decode.done(),
            self.identify.done(),
            self.parse.done(),
            self.pair.done(),
            self.filter.done(),
            self.converge.done(),
            self.join.done(),
            self.aggregate.done(),
            self.flush.done(),
        ];
        Done {
            publications: self.publications,
            exchanges: self.aggregate.stage.ledger().taken,
            series: self.aggregate.stage.series(),
            stages,
        }
    }
}

/// All events of `source` through nine fresh stages, to their end.
pub fn run<const TIMED: bool>(source: EventsSource) -> Done {
    let mut floor = Floor::default();
    let now = floor.feed::<TIMED>(source);
    floor.finish(now)
}
