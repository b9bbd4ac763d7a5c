//! What travels between the stages, in travel order.
//!
//! [`event`] (records in ring memory) -> [`segment`] (bytes of a connection) -> [`message`] (protocol units) ->
//! [`exchange`] (a request with its answer) -> [`converged`] (with a low-cardinality endpoint) -> [`joined`] (with
//! identities) -> [`delta`] (what changed in which series).
//!
//! Up to [`message`] everything is about a connection and wrapped in [`conn::About`], so that opening, loss and closing
//! keep their place among the data.

pub mod conn;
pub mod converged;
pub mod delta;
pub mod event;
pub mod exchange;
pub mod joined;
pub mod message;
pub mod segment;
pub mod trace;
