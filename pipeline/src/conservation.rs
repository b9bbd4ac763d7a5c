//! Adds up what every part says it did, and says whether it adds up.
//!
//! From the kernel's ring to the publications: what the kernel attempted it refused or handed over; what the drain took
//! it fed; what was fed was taken; what a stage took it passed on, holds, rejected for a reason, or lost in a fault;
//! what it gave was sent, and what was sent was taken. The account of exchanges is kept by `pair`.
//!
//! Each stage's own balance holds at any moment. Sums over several threads are exact only when nothing is under way: once
//! a report is [`settled`](Conservation::settled), every one of them must be.

use crate::drain::DrainTotals;
use crate::edge::EdgeTotals;
use crate::runner::StageTotals;
use serde::Serialize;

/// Exchanges, as `pair` counts them: `seen = reported + missed + dropped + pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Exchanges {
    /// All that were begun.
    pub seen: u64,
    /// Put out, with or without an answer.
    pub reported: u64,
    /// Their request was refused by the kernel.
    pub missed: u64,
    /// Not followed, at a bound.
    pub dropped: u64,
    /// Waiting for their answer.
    pub pending: u64,
    /// Lost with a faulted stage, and so part of no other number.
    pub lost: u64,
    /// Besides: request turns missed on connections whose protocol never became known. Not part of `seen`.
    pub missed_unidentified: u64,
}

impl Exchanges {
    /// The share of the traffic that was reported, of what has been decided: `reported / (reported + missed + dropped +
    /// lost)`; 1 when there was none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
    pub fn capture_ratio(&self) -> f64 {
        let decided = self.reported + self.missed + self.dropped + self.lost;
        if decided == 0 { 1.0 } else { self.reported as f64 / decided as f64 }
    }

    /// `seen = reported + missed + dropped + pending + lost`.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.seen == self.reported + self.missed + self.dropped + self.pending + self.lost
    }

    fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.reported += other.reported;
        self.missed += other.missed;
        self.dropped += other.dropped;
        self.pending += other.pending;
        self.lost += other.lost;
        self.missed_unidentified += other.missed_unidentified;
    }
}

/// One stage of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// Its name.
    pub name: &'static str,
    /// Its numbers.
    pub totals: StageTotals,
    /// Rejected records by reason.
    pub rejected: Vec<(&'static str, u64)>,
    /// The edge into it.
    pub inlet: EdgeTotals,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardReport {
    /// Its drain and source.
    pub drain: DrainTotals,
    /// Its stages, in order.
    pub stages: Vec<StageReport>,
    /// Its exchanges.
    pub exchanges: Exchanges,
}

/// What the kernel programs counted, where there are any. All shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct KernelCounts {
    /// Records that they tried to put into a ring.
    pub attempted: u64,
    /// Of these, refused because the ring was full.
    pub refused: u64,
    /// Of the refused, first records of a turn.
    pub refused_turns: u64,
}

/// The sums.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conservation {
    /// The kernel's side; none for recordings.
    pub kernel: Option<KernelCounts>,
    /// Records read from rings or recordings.
    pub received: u64,
    /// Records made from dirty slots.
    pub progress: u64,
    /// Bytes in the rings that nobody has read yet.
    pub ring_bytes: u64,
    /// Records that reached the first stages.
    pub decoded: u64,
    /// Records in edges, all stages.
    pub in_flight: u64,
    /// Records held by stages.
    pub held: u64,
    /// Records rejected by stages, all reasons.
    pub rejected: u64,
    /// Records lost by faults, or because whoever should take them was gone.
    pub lost: u64,
    /// Exchanges.
    pub exchanges: Exchanges,
    /// See [`Exchanges::capture_ratio`].
    pub capture_ratio: f64,
    /// Nothing is under way and nothing will come.
    pub settled: bool,
    /// Everything that must add up now does.
    pub balanced: bool,
    /// What does not: where, and the two sums.
    pub imbalances: Vec<Imbalance>,
}

/// Two sums that should be equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imbalance {
    /// Between what.
    pub at: &'static str,
    /// Of which stage; empty where it is of none.
    pub stage: &'static str,
    /// What went in.
    pub expected: u64,
    /// What is accounted for.
    pub found: u64,
}

impl Conservation {
    /// The sums over `shards`. `kernel` must be read after the shards, if they still run.
    #[must_use]
    pub fn of(kernel: Option<KernelCounts>, shards: &[ShardReport]) -> Self {
        let stages = || shards.iter().flat_map(|shard| shard.stages.iter());
        let mut exchanges = Exchanges::default();
        shards.iter().for_each(|shard| exchanges.add(&shard.exchanges));
        let in_flight = stages().map(|stage| stage.inlet.records_in_flight).sum();
        let unsendable = |shard: &ShardReport| shard.drain.unsendable;
        let mut sums = Self {
            kernel,
            received: shards.iter().map(|shard| shard.drain.source.records).sum(),
            progress: shards.iter().map(|shard| shard.drain.source.progress).sum(),
            ring_bytes: shards.iter().map(|shard| shard.drain.source.ring_unread).sum(),
            decoded: shards.iter().filter_map(|shard| shard.stages.first()).map(|stage| stage.totals.taken).sum(),
            in_flight,
            held: stages().map(|stage| stage.totals.held).sum(),
            rejected: stages().map(|stage| stage.totals.rejected_total()).sum(),
            lost: stages().map(|stage| stage.totals.lost + stage.totals.unsendable).sum::<u64>()
                + shards.iter().map(unsendable).sum::<u64>(),
            exchanges,
            capture_ratio: exchanges.capture_ratio(),
            settled: in_flight == 0 && shards.iter().all(settled),
            balanced: true,
            imbalances: Vec::new(),
        };
        shards.iter().for_each(|shard| sums.check_moment(shard));
        if sums.settled {
            sums.check_kernel();
            shards.iter().for_each(|shard| sums.check_settled(shard));
        }
        sums.balanced = sums.imbalances.is_empty();
        sums
    }

    /// What holds at any moment.
    fn check_moment(&mut self, shard: &ShardReport) {
        for stage in &shard.stages {
            let totals = &stage.totals;
            let found = totals.passed + totals.held + totals.rejected_total() + totals.lost;
            self.expect("a stage took, and passed on, held, rejected or lost", stage.name, totals.taken, found);
        }
        let exchanges = &shard.exchanges;
        let found = exchanges.reported + exchanges.missed + exchanges.dropped + exchanges.pending + exchanges.lost;
        self.expect("exchanges seen, and accounted for", "pair", exchanges.seen, found);
    }

    fn check_kernel(&mut self) {
        let Some(kernel) = self.kernel.filter(|_| self.ring_bytes == 0) else { return };
        let found = kernel.refused + self.received;
        self.expect("records attempted by the kernel, and refused or received", "", kernel.attempted, found);
    }

    fn check_settled(&mut self, shard: &ShardReport) {
        let drain = &shard.drain;
        let given = drain.source.records + drain.source.progress;
        self.expect("records given by the source, and fed", "drain", given, drain.fed + drain.unsendable);
        let mut sent = drain.fed;
        for stage in &shard.stages {
            self.expect(
                "records sent to a stage, and taken from its edge",
                stage.name,
                sent,
                stage.inlet.records_taken,
            );
            let totals = &stage.totals;
            self.expect("records taken from an edge, and by its stage", stage.name, sent, totals.taken);
            sent = totals.sent;
        }
    }

    fn expect(&mut self, at: &'static str, stage: &'static str, expected: u64, found: u64) {
        if expected != found {
            self.imbalances.push(Imbalance { at, stage, expected, found });
        }
    }
}

fn settled(shard: &ShardReport) -> bool {
    shard.drain.ended && shard.stages.iter().all(|stage| stage.totals.finished)
}
