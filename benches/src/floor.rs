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
use redtap_stages::stage::{Batch as _, Ledger, Stage};
use redtap_stages::time::Nanos;

/// What the floor did.
#[derive(Debug, Default)]
pub struct Done {
    /// Observations published.
    pub publications: u64,
    /// Exchanges that reached `aggregate`.
    pub exchanges: u64,
    /// Time spent in each stage, ns; zero unless asked for.
    pub stages: [(&'static str, u64); 9],
}

struct Step<S: Stage> {
    stage: S,
    out: S::Out,
    ticked: Option<Nanos>,
    tick_every: Nanos,
    spent: u64,
}

impl<S: Stage> Step<S> {
    fn new(stage: S, tick_every: Nanos) -> Self {
        Self { stage, out: S::Out::default(), ticked: None, tick_every, spent: 0 }
    }

    fn take<const TIMED: bool>(&mut self, now: Nanos, input: &mut S::In) -> &mut S::Out {
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

    fn done(&self) -> (&'static str, u64, Ledger) {
        (S::NAME, self.spent, self.stage.ledger())
    }
}

/// All events of `source` through the nine stages, in the topology's rhythm of ticks. `TIMED` measures each stage, which
/// costs a little itself.
pub fn run<const TIMED: bool>(mut source: EventsSource) -> Done {
    let (second, quarter, short) = (Nanos::SECOND, Nanos::from_millis(250), Nanos::from_millis(50));
    let mut decode = Step::new(Decode::<Lease>::new(DecodeSettings::default()), second);
    let mut identify = Step::new(Identify::<Lease>::new(), second);
    let mut parse = Step::new(Parse::<Lease>::new(), second);
    let mut pair = Step::new(Pair::new(PairSettings::default()), quarter);
    let mut filter = Step::new(Filter::new(FilterRules::default()), second);
    let mut converge = Step::new(Converge::new(ConvergeRules::default()), second);
    let mut join = Step::new(Join::new(JoinSettings::default()), short);
    let mut aggregate = Step::new(Aggregate::new(), second);
    let mut flush = Step::new(Flush::new(FlushSettings::default()), quarter);
    let mut batch = EventBatch::default();
    let mut done = Done::default();
    loop {
        batch.recycle();
        let (now, end) = match source.fill(&mut batch) {
            Filled::Records(now) | Filled::Time(now) | Filled::Nothing(now) => (now, false),
            Filled::End(now) => (now, true),
        };
        if end {
            let out = decode.drain(now, &mut batch);
            let out = identify.drain(now, out);
            let out = parse.drain(now, out);
            let out = pair.drain(now, out);
            let out = filter.drain(now, out);
            let out = converge.drain(now, out);
            let out = join.drain(now, out);
            let out = aggregate.drain(now, out);
            done.publications += flush.drain(now, out).len() as u64;
            break;
        }
        let out = decode.take::<TIMED>(now, &mut batch);
        let out = identify.take::<TIMED>(now, out);
        let out = parse.take::<TIMED>(now, out);
        let out = pair.take::<TIMED>(now, out);
        let out = filter.take::<TIMED>(now, out);
        let out = converge.take::<TIMED>(now, out);
        let out = join.take::<TIMED>(now, out);
        let out = aggregate.take::<TIMED>(now, out);
        done.publications += flush.take::<TIMED>(now, out).len() as u64;
    }
    let ends = [
        decode.done(),
        identify.done(),
        parse.done(),
        pair.done(),
        filter.done(),
        converge.done(),
        join.done(),
        aggregate.done(),
        flush.done(),
    ];
    done.stages = ends.map(|(name, spent, _)| (name, spent));
    done.exchanges = aggregate.stage.ledger().taken;
    done
}
