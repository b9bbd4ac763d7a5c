//! Exchanges with identities: whose they are and with whom.

use super::converged::Converged;
use crate::symbol::Symbol;
use std::sync::Arc;

/// What a process is a part of. Found off the data path and handed to `join` as facts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    /// `service.name`.
    pub service: Box<str>,
    /// `service.namespace`, from the environment or the pod.
    pub namespace: Box<str>,
    /// Container id (64 hexadecimal digits), empty if none.
    pub container: Box<str>,
    /// Pod uid or name as far as it is known, empty if none.
    pub pod: Box<str>,
    /// Base name of the executable, or the thread's name where the process was gone before it could be looked at.
    pub process: Box<str>,
    /// Host name.
    pub host: Box<str>,
}

/// An exchange and who took part.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The exchange with its dimensions.
    pub converged: Converged,
    /// Who: one and the same for all exchanges between the same two, as far as `join` remembers them.
    pub parties: Arc<Parties>,
}

/// Who took part in an exchange.
#[derive(Debug, Clone)]
pub struct Parties {
    /// The service that the watched process belongs to.
    pub service: Symbol,
    /// Number of its identity in the facts that `join` was given; 0 where none was known.
    pub identity: u32,
    /// The service or host at the other end; empty text where it is not known.
    pub peer: Symbol,
    /// The other end is a service that this agent watches too (both ends on one host).
    pub peer_watched: bool,
}
