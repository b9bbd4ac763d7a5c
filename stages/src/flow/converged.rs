//! Exchanges with dimensions of low cardinality.

use super::exchange::Exchange;
use crate::symbol::Symbol;
use std::sync::Arc;

/// An exchange and the names that it may be counted under.
#[derive(Debug, Clone)]
pub struct Converged {
    /// The exchange, as it was.
    pub exchange: Exchange,
    /// The names: one and the same for all exchanges that have the same ones, as far as `converge` remembers them.
    pub names: Arc<Names>,
}

/// What an exchange may be counted under.
#[derive(Debug, Clone)]
pub struct Names {
    /// The converged interface: a route template, the summary of a query, a command, a question type. The overflow symbol when
    /// the budget of the service is spent.
    pub endpoint: Symbol,
    /// The only table that a query is about; empty text: there are more, or none, or it is no query.
    pub collection: Symbol,
    /// The database that the session is in; empty text: none, or not known. The overflow symbol when the service has too many.
    pub namespace: Symbol,
    /// The method, out of the protocol's known ones (`_OTHER` else).
    pub method: Symbol,
    /// The status code or error name; empty text: none.
    pub code: Symbol,
}
