//! Each stage by itself, on exactly the batches that the stages before it make of recorded events.
//!
//! The batches are made beforehand. One round of the recording warms the stage up: its tables are there, its caches filled,
//! its connections' protocols known from other connections of the same kind. What is measured is the rounds behind it.

use crate::events::{Events, Mix};
use crate::floor::{Floor, QUARTER, SECOND, SHORT, Step};
use anyhow::Result;
use redtap::source::{Filled, Lease, Source as _};
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
use std::collections::VecDeque;

/// A batch and the time at which it comes.
type Timed<B> = (Nanos, B);

/// A warm stage and what it is to take.
pub struct Alone<S: Stage> {
    step: Step<S>,
    warm: usize,
    inputs: VecDeque<Timed<S::In>>,
}

impl<S: Stage> Alone<S> {
    /// `stage`, of whose `inputs` the first `warm` ones warm it up.
    fn new(stage: S, tick_every: Nanos, warm: usize, inputs: VecDeque<Timed<S::In>>) -> Self {
        Self { step: Step::new(stage, tick_every), warm, inputs }
    }

    /// What it gives, batch for batch.
    fn outputs(mut self) -> VecDeque<Timed<S::Out>> {
        let inputs = self.inputs.drain(..);
        inputs.map(|(now, mut input)| (now, std::mem::take(self.step.take::<false>(now, &mut input)))).collect()
    }

    /// Takes what warms it up.
    #[must_use]
    pub fn warmed(mut self) -> Self {
        for (now, mut input) in self.inputs.drain(..self.warm) {
            self.step.take::<false>(now, &mut input);
        }
        self
    }

    /// Takes the rest; how many records that gave. Batches are kept, so that freeing them is not measured.
    #[inline(never)]
    pub fn run(&mut self) -> usize {
        self.inputs.iter_mut().map(|(now, input)| self.step.take::<false>(*now, input).len()).sum()
    }
}

/// Recorded events for each stage. The first of the rounds warms up.
pub struct Recorded {
    warm: Events,
    measured: Events,
}

impl Recorded {
    /// `mix`, and `rounds` of it to be measured.
    ///
    /// # Errors
    /// When the recording cannot be read by this version.
    pub fn load(mix: Mix, rounds: u64) -> Result<Self> {
        let once = Events::of(mix, 1)?.len();
        let events = Events::of(mix, rounds + 1)?;
        Ok(Self { warm: events.first(once), measured: events.behind(once) })
    }

    /// Events that are measured.
    #[must_use]
    pub fn len(&self) -> usize {
        self.measured.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.measured.is_empty()
    }

    /// All nine, warm, and the events to be measured.
    #[must_use]
    pub fn floor(&self) -> (Floor, Events) {
        let mut floor = Floor::default();
        floor.feed::<false>(self.warm.source());
        (floor, self.measured.clone())
    }

    /// Stage `decode`.
    #[must_use]
    pub fn decode(&self) -> Alone<Decode<Lease>> {
        let mut inputs = batches(&self.warm);
        let warm = inputs.len();
        inputs.append(&mut batches(&self.measured));
        Alone::new(Decode::new(DecodeSettings::default()), SECOND, warm, inputs)
    }

    /// Stage `identify`.
    #[must_use]
    pub fn identify(&self) -> Alone<Identify<Lease>> {
        behind(self.decode(), Identify::new(), SECOND)
    }

    /// Stage `parse`.
    #[must_use]
    pub fn parse(&self) -> Alone<Parse<Lease>> {
        behind(self.identify(), Parse::new(), SECOND)
    }

    /// Stage `pair`.
    #[must_use]
    pub fn pair(&self) -> Alone<Pair> {
        behind(self.parse(), Pair::new(PairSettings::default()), QUARTER)
    }

    /// Stage `filter`.
    #[must_use]
    pub fn filter(&self) -> Alone<Filter> {
        behind(self.pair(), Filter::new(FilterRules::default()), SECOND)
    }

    /// Stage `converge`.
    #[must_use]
    pub fn converge(&self) -> Alone<Converge> {
        behind(self.filter(), Converge::new(ConvergeRules::default()), SECOND)
    }

    /// Stage `join`.
    #[must_use]
    pub fn join(&self) -> Alone<Join> {
        behind(self.converge(), Join::new(JoinSettings::default()), SHORT)
    }

    /// Stage `aggregate`.
    #[must_use]
    pub fn aggregate(&self) -> Alone<Aggregate> {
        behind(self.join(), Aggregate::new(), SECOND)
    }

    /// Stage `flush`.
    #[must_use]
    pub fn flush(&self) -> Alone<Flush> {
        behind(self.aggregate(), Flush::new(FlushSettings::default()), QUARTER)
    }
}

/// `stage` on what `before` gives.
fn behind<A: Stage, B: Stage<In = A::Out>>(before: Alone<A>, stage: B, tick_every: Nanos) -> Alone<B> {
    let warm = before.warm;
    Alone::new(stage, tick_every, warm, before.outputs())
}

fn batches(events: &Events) -> VecDeque<Timed<EventBatch<Lease>>> {
    let mut source = events.source();
    let mut batches = VecDeque::new();
    loop {
        let mut batch = EventBatch::default();
        match source.fill(&mut batch) {
            Filled::Records(now) => batches.push_back((now, batch)),
            Filled::Time(_) | Filled::Nothing(_) => {}
            Filled::End(_) => return batches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_what_the_baseline_says() {
        for (mix, events) in [(Mix::All, 13_935), (Mix::Http1, 6_123), (Mix::Redis, 7_806)] {
            assert_eq!(Recorded::load(mix, 3).expect("the recording").len(), events, "{mix:?}");
        }
    }

    #[test]
    fn each_stage_gets_what_the_loop_of_all_gives_it() {
        let recorded = Recorded::load(Mix::All, 1).expect("the recording");
        let mut aggregate = recorded.aggregate().warmed();
        assert!(aggregate.run() > 0, "series gained something");
        let (mut floor, events) = recorded.floor();
        let now = floor.feed::<false>(events.source());
        let done = floor.finish(now);
        let held = done.exchanges - aggregate.step.ledger().taken;
        assert!(done.exchanges > 5_000 && held < 100, "{held} of {} were still waited for", done.exchanges);
    }
}
