//! What became of what an exporter had to send. `gathered = delivered + undelivered{reason} + pending`, in the exporter's
//! own unit: samples of metrics, spans, notifications.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why something was not delivered, and will not be. The metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The receiver refused it for good.
    Refused,
    /// There was no room to keep it until the receiver could take it; the oldest goes first.
    Overflow,
    /// The agent ended before it could be sent, and it is not kept on disk.
    Ended,
    /// What is kept on disk could not be read again.
    Unreadable,
    /// It was not chosen to be sent: sampling.
    NotSampled,
    /// It was chosen, but more than may be sent in a second were.
    Rate,
    /// The wall clock was set back behind what the receiver has already: it takes a series only in order of time.
    OutOfOrder,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Refused, Self::Overflow, Self::Ended, Self::Unreadable, Self::NotSampled, Self::Rate, Self::OutOfOrder];

    /// As the label says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Overflow => "overflow",
            Self::Ended => "ended",
            Self::Unreadable => "unreadable",
            Self::NotSampled => "not_sampled",
            Self::Rate => "rate",
            Self::OutOfOrder => "out_of_order",
        }
    }
}

/// The counters of one exporter.
#[derive(Debug)]
pub struct Account {
    name: &'static str,
    gathered: AtomicU64,
    delivered: AtomicU64,
    undelivered: [AtomicU64; Reason::ALL.len()],
    retries: AtomicU64,
    faults: AtomicU64,
}

/// What an [`Account`] says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountTotals {
    /// Taken up for sending.
    pub gathered: u64,
    /// Taken by the receiver.
    pub delivered: u64,
    /// Never to be delivered, in the order of [`Reason::ALL`].
    pub undelivered: [u64; Reason::ALL.len()],
    /// Waiting to be sent, or sent again.
    pub pending: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Panics of the exporter.
    pub faults: u64,
}

impl Account {
    /// Of the exporter with this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            gathered: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            undelivered: [const { AtomicU64::new(0) }; Reason::ALL.len()],
            retries: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        }
    }

    /// Whose.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// So many more are to be sent.
    pub fn gathered(&self, count: u64) {
        self.gathered.fetch_add(count, Ordering::Relaxed);
    }

    /// So many of them were taken.
    pub fn delivered(&self, count: u64) {
        self.delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// So many of them will not be.
    pub fn undelivered(&self, reason: Reason, count: u64) {
        if let Some(counter) = self.undelivered.get(reason as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A request is sent again.
    pub fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The exporter panicked.
    pub(crate) fn faulted(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it. What is decided is read first, so that nothing pending seems negative.
    #[must_use]
    pub fn totals(&self) -> AccountTotals {
        let load = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let delivered = load(&self.delivered);
        let undelivered = self.undelivered.each_ref().map(load);
        let gathered = load(&self.gathered);
        AccountTotals {
            gathered,
            delivered,
            undelivered,
            pending: gathered.saturating_sub(delivered + undelivered.iter().sum::<u64>()),
            retries: load(&self.retries),
            faults: load(&self.faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_delivered_nor_given_up_is_pending() {
        let account = Account::new("test");
        account.gathered(10);
        account.delivered(4);
        account.undelivered(Reason::Overflow, 3);
        account.undelivered(Reason::Refused, 1);
        let totals = account.totals();
        assert_eq!((totals.pending, totals.undelivered), (2, [1, 3, 0, 0, 0, 0, 0]));
    }
}
