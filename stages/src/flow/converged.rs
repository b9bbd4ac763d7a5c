//! Exchanges with dimensions of low cardinality.

use super::exchange::Exchange;
use crate::symbol::Symbol;

/// An exchange and the names that it may be counted under.
#[derive(Debug, Clone)]
pub struct Converged {
    /// The exchange, as it was.
    pub exchange: Exchange,
    /// The converged interface: a route template, a command, a question type. The overflow symbol when the budget of the
    /// service is spent.
    pub endpoint: Symbol,
    /// The method, out of the protocol's known ones (`_OTHER` else).
    pub method: Symbol,
    /// The status code or error name; empty text: none.
    pub code: Symbol,
}
