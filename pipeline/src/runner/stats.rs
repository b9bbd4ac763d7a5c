//! What a runner publishes of its stage: one consistent set of numbers a turn.
//!
//! Metrics: `redtap_stage_*{stage}` are these numbers.

use parking_lot::Mutex;
use redtap_stages::stage::{Ledger, MAX_REASONS};
use redtap_stages::time::Nanos;

/// Numbers of one stage since the start, over all its restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTotals {
    /// Records that the stage took.
    pub taken: u64,
    /// Records whose content went on.
    pub passed: u64,
    /// Records that the stage holds now.
    pub held: u64,
    /// Records not passed on, by the index of their reason.
    pub rejected: [u64; MAX_REASONS],
    /// Records that the stage says it put out.
    pub emitted: u64,
    /// Records lost by faults: held by the stage, or in the batch that it panicked over.
    pub lost: u64,
    /// Panics caught.
    pub faults: u64,
    /// Records handed to the next edge.
    pub sent: u64,
    /// Records that could not be handed on, because whoever should take them was gone.
    pub unsendable: u64,
    /// Times that a batch found the next edge full.
    pub blocked: u64,
    /// Verdicts handed to the kernel.
    pub verdicts: u64,
    /// Batches taken, empty ones too.
    pub turns: u64,
    /// Ticks.
    pub ticks: u64,
    /// Up to when the stage has seen everything.
    pub now: Nanos,
    /// The stage is drained and all it gave is handed on.
    pub finished: bool,
}

impl StageTotals {
    /// `taken = passed + held + rejected + lost`.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.taken == self.passed + self.held + self.rejected_total() + self.lost
    }

    /// Rejected records of all reasons.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    /// Takes over the ledger of the running stage, on top of the stages `before` it.
    pub(super) fn follow(&mut self, before: &Self, ledger: &Ledger) {
        self.taken = before.taken + ledger.taken;
        self.passed = before.passed + ledger.passed;
        self.held = ledger.held;
        self.emitted = before.emitted + ledger.emitted;
        for (sum, (old, new)) in self.rejected.iter_mut().zip(before.rejected.iter().zip(ledger.rejected)) {
            *sum = old + new;
        }
    }

    /// The stage panicked with `in_hand` records before it: its last ledger stands, and what it held is lost with them.
    pub(super) fn fault(&mut self, in_hand: u64) {
        self.faults += 1;
        self.taken += in_hand;
        self.lost += in_hand + self.held;
        self.held = 0;
    }
}

/// The published numbers of one stage. Read from any thread.
#[derive(Debug)]
pub struct StageStats {
    name: &'static str,
    labels: Vec<&'static str>,
    /// Held for the time of a copy by either side; one set of numbers is worth more than the lock costs a batch.
    totals: Mutex<StageTotals>,
}

impl StageStats {
    /// For a stage of this name, with the reasons of this ledger.
    #[must_use]
    pub fn new(name: &'static str, ledger: &Ledger) -> Self {
        Self { name, labels: ledger.reasons().map(|(label, _)| label).collect(), totals: Mutex::default() }
    }

    /// Name of the stage.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The numbers after the last turn.
    #[must_use]
    pub fn totals(&self) -> StageTotals {
        *self.totals.lock()
    }

    /// Label and count of each reason for rejecting.
    #[must_use]
    pub fn rejected(&self) -> Vec<(&'static str, u64)> {
        self.labels.iter().copied().zip(self.totals().rejected).collect()
    }

    pub(super) fn publish(&self, totals: &StageTotals) {
        *self.totals.lock() = *totals;
    }
}
