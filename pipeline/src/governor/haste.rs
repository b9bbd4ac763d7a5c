//! Tells the stages `identify` whether to be in haste: when that changes, and again after a fault, since a fresh stage knows
//! nothing of it. What is told wakes the stage, so it is not said again and again.

use crate::chain::Remote;
use crate::source::Lease;
use redtap_stages::identify::Identify;

/// All shards' stages.
#[derive(Debug)]
pub(super) struct Haste(Vec<(Remote<Identify<Lease>>, Told)>);

impl Haste {
    pub(super) fn new(identify: Vec<Remote<Identify<Lease>>>) -> Self {
        Self(identify.into_iter().map(|remote| (remote, Told::default())).collect())
    }

    /// Tells who has not heard. A stage that is too busy to listen hears it the next time.
    pub(super) fn tell(&mut self, hasty: bool) {
        for (identify, told) in &mut self.0 {
            // Read before it is told: a fault on the way there is seen the next time.
            let now = Told { hasty, faults: identify.faults() };
            if *told != now && identify.apply(move |identify| identify.set_hasty(hasty)).is_ok() {
                *told = now;
            }
        }
    }
}

/// What a stage was told, and how many before it had fallen over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Told {
    hasty: bool,
    faults: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Chain, Place};
    use crate::edge::{EdgeCapacity, Inlet, Outlet};
    use crate::runner::{NoVerdicts, Turn, Turns};
    use redtap_stages::flow::segment::SegmentBatch;
    use redtap_stages::time::Nanos;
    use std::sync::Arc;

    struct Shard {
        runner: Box<dyn Turns>,
        feed: Outlet<SegmentBatch<Lease>>,
        _end: Inlet<SegmentBatch<Lease>>,
        remote: Remote<Identify<Lease>>,
        second: u64,
    }

    impl Shard {
        fn new() -> Self {
            let mut chain = Chain::new(EdgeCapacity::new(8).unwrap(), Arc::new(NoVerdicts));
            let (feed, inlet) = chain.edge();
            let place = Place { fresh: Box::new(Identify::new), tick_every: Nanos::SECOND, hook: None };
            let (end, remote) = chain.link(inlet, place);
            let (mut runners, _) = chain.into_parts();
            Self { runner: runners.remove(0), feed, _end: end, remote, second: 0 }
        }

        /// Has the stage take a batch without records, and what it was told before that.
        fn turn(&mut self) {
            self.second += 1;
            let batch = self.feed.blank();
            self.feed.send(Nanos::from_secs(self.second), batch).unwrap();
            while self.runner.turn() == Turn::Worked {}
        }

        /// How often `haste` tells the stage something in three rounds.
        fn told(&mut self, haste: &mut Haste, hasty: bool) -> usize {
            (0..3)
                .map(|_| {
                    haste.tell(hasty);
                    let waiting = self.remote.waiting();
                    self.turn();
                    waiting
                })
                .sum()
        }
    }

    #[test]
    fn a_stage_is_told_when_it_changes_and_after_a_fault() {
        let mut shard = Shard::new();
        let mut haste = Haste::new(vec![shard.remote.clone()]);
        assert_eq!(shard.told(&mut haste, false), 0, "as it begins");
        assert_eq!(shard.told(&mut haste, true), 1);
        shard.remote.apply(|_| panic!("as asked by a test")).unwrap();
        shard.turn();
        assert_eq!(shard.told(&mut haste, true), 1, "a fresh one");
        assert_eq!(shard.told(&mut haste, false), 1);
    }

    #[test]
    fn a_stage_that_is_too_busy_to_listen_is_told_later() {
        let mut shard = Shard::new();
        let mut haste = Haste::new(vec![shard.remote.clone()]);
        while shard.remote.apply(|_| {}).is_ok() {}
        haste.tell(true);
        shard.turn();
        assert_eq!(shard.told(&mut haste, true), 1);
    }
}
