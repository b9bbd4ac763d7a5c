//! Adds up what every part says it did, and says whether it adds up.
//!
//! From the kernel's ring to the publications: what the kernel attempted it refused or handed over; what the drain took
//! it fed; what was fed was taken; what a stage took it passed on, holds, rejected for a reason, or lost in a fault;
//! what it gave was sent, and what was sent was taken. The account of exchanges is kept by `pair`, and closed where the
//! publications leave: what `pair` reported was delivered, rejected for a reason, or lost on the way.
//!
//! Each stage's own balance holds at any moment. Sums over several threads are exact only when nothing is under way: once
//! a report is [`settled`](Conservation::settled), every one of them must be.

use crate::drain::DrainTotals;
use crate::edge::EdgeTotals;
use crate::runner::StageTotals;
use redtap_stages::pair::Pair;
use redtap_stages::stage::Stage as _;
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

/// What left the pipeline of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Exchanges in the publications that the sink took.
    pub exchanges: u64,
    /// Of these, on connections that sampling let stand for others as well.
    pub scaled: u64,
    /// What these were counted for besides themselves: the series hold `exchanges + extrapolated`.
    pub extrapolated: u64,
    /// Exchanges in those that it did not survive.
    pub lost: u64,
    /// Publications that it did not survive.
    pub publications_lost: u64,
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
    /// What became of those it reported.
    pub delivered: Delivered,
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
    /// Records lost by faults before they could become exchanges, and those of connections that a stage did not know after
    /// a fault. Each of them may have been an exchange.
    pub unread: u64,
    /// Exchanges that were reported by `pair` and lost after it. While something is under way, a delta that was lost counts
    /// as one exchange; at the end the number is exact.
    pub undelivered: u64,
    /// The share of the traffic that was reported, of what has been decided: `(reported - undelivered) / (reported + missed +
    /// dropped + lost + unread)`; 1 when there was none.
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
            unread: shards.iter().map(unread).sum(),
            undelivered: 0,
            capture_ratio: 1.0,
            settled: in_flight == 0 && shards.iter().all(settled),
            balanced: true,
            imbalances: Vec::new(),
        };
        shards.iter().for_each(|shard| sums.check_moment(shard));
        if sums.settled {
            sums.check_kernel();
            shards.iter().for_each(|shard| sums.check_settled(shard));
        }
        sums.undelivered = shards.iter().map(|shard| undelivered(shard, sums.settled)).sum();
        sums.capture_ratio = sums.ratio();
        sums.balanced = sums.imbalances.is_empty();
        sums
    }

    /// Takes into account that whoever shows the publications refused that many exchanges of them.
    #[must_use]
    pub fn with_refused(mut self, exchanges: u64) -> Self {
        self.undelivered += exchanges;
        self.capture_ratio = self.ratio();
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
    fn ratio(&self) -> f64 {
        let Exchanges { reported, missed, dropped, lost, .. } = self.exchanges;
        let decided = reported + missed + dropped + lost + self.unread;
        if decided == 0 { 1.0 } else { reported.saturating_sub(self.undelivered) as f64 / decided as f64 }
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
        // A lost delta does not say how many exchanges it held; then the difference is what was lost.
        let (_, after) = parts(shard);
        let lost_deltas = after.last().map_or(0, |flush| flush.totals.lost) + unsendable_deltas(after);
        if lost_deltas == 0 && !after.is_empty() {
            let lost: u64 = counted(after).map(|stage| stage.totals.lost + stage.totals.unsendable).sum();
            let found = rejected(after) + lost + shard.delivered.exchanges + shard.delivered.lost;
            self.expect(
                "exchanges reported, and delivered, rejected or lost",
                "flush",
                shard.exchanges.reported,
                found,
            );
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

/// The stages up to `pair`, which makes exchanges, and those after it.
fn parts(shard: &ShardReport) -> (&[StageReport], &[StageReport]) {
    let pair = shard.stages.iter().position(|stage| stage.name == Pair::NAME);
    shard.stages.split_at(pair.map_or(shard.stages.len(), |pair| pair + 1))
}

/// Of the stages after `pair`, those that take exchanges: all but the last.
fn counted(after: &[StageReport]) -> impl Iterator<Item = &StageReport> {
    after.split_last().map_or(&[][..], |(_, counted)| counted).iter()
}

/// Exchanges that the stages after `pair` refused for a reason.
fn rejected(after: &[StageReport]) -> u64 {
    counted(after).map(|stage| stage.totals.rejected_total()).sum()
}

/// Deltas that the last stage but one could not hand on.
fn unsendable_deltas(after: &[StageReport]) -> u64 {
    counted(after).last().map_or(0, |aggregate| aggregate.totals.unsendable)
}

/// Records that were lost before they could become exchanges.
fn unread(shard: &ShardReport) -> u64 {
    const UNKNOWN: &str = "unknown_connection";
    let (before, _) = parts(shard);
    let unknown = |stage: &StageReport| -> u64 {
        stage.rejected.iter().filter(|(reason, _)| *reason == UNKNOWN).map(|(_, count)| count).sum()
    };
    let lost: u64 = before.iter().map(|stage| stage.totals.lost + unknown(stage)).sum();
    // What `pair` sends are exchanges; what it lost of those it held is in its account.
    let unsendable = before.split_last().map_or(0, |(_, rest)| rest.iter().map(|stage| stage.totals.unsendable).sum());
    shard.drain.unsendable + unsendable + lost.saturating_sub(shard.exchanges.lost)
}

/// Exchanges reported by `pair` that were lost after it.
fn undelivered(shard: &ShardReport, settled: bool) -> u64 {
    let (before, after) = parts(shard);
    if settled {
        return shard.exchanges.reported.saturating_sub(rejected(after) + shard.delivered.exchanges);
    }
    let lost: u64 = after.iter().map(|stage| stage.totals.lost).sum();
    // The last ones are publications, counted by what was in them.
    let unsendable: u64 = before.iter().rev().take(1).chain(counted(after)).map(|stage| stage.totals.unsendable).sum();
    lost + unsendable + shard.delivered.lost
}
