//! Where every exchange went: the account that makes the capture ratio true.

/// What became of the exchanges seen so far, in exchanges.
///
/// **Invariant:** `seen = reported + missed + dropped_connection_full + dropped_full + pending`, after every turn of the
/// stage.
///
/// One exchange is seen for each request message, and for each request turn that the kernel refused on a connection whose
/// protocol is known (or becomes known later). An answer without a request is none, if its request may have been sent
/// before the probe was there or is counted as missed already; else it is one, missed: the request went by unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// All.
    pub seen: u64,
    /// Put out.
    pub reported: u64,
    /// Request turns refused by the kernel, and requests known only from their answers.
    pub missed: u64,
    /// Not taken in: the connection had [`crate::limits::MAX_PENDING_PER_CONNECTION`] unanswered ones.
    pub dropped_connection_full: u64,
    /// Not taken in: there were [`crate::limits::MAX_PENDING`] unanswered ones in all.
    pub dropped_full: u64,
    /// Waiting for their answers.
    pub pending: u64,
    /// Not part of `seen`: request turns refused on connections whose protocol never became known.
    pub missed_unidentified: u64,
    /// Not part of the sum: requests that may block but were waited for no longer than others, because
    /// [`crate::limits::MAX_PENDING_BLOCKING`] did already.
    pub blocking_full: u64,
}

impl Account {
    /// The invariant.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.seen == self.reported + self.missed + self.dropped() + self.pending
    }

    /// Dropped for whatever reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_connection_full + self.dropped_full
    }
}
