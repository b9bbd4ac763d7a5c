//! What the parts of the stage share while a segment is at hand.

use super::Counts;
use super::buffers::Buffers;
use crate::flow::conn::{ConnKey, Direction};
use crate::flow::message::MessageBatch;
use crate::stage::Ledger;
use crate::time::Nanos;

/// What a connection may use of the stage.
pub(super) struct Work<'a> {
    pub(super) conn: ConnKey,
    pub(super) at: Nanos,
    /// The thread that moved the segment at hand (0: not known, or there is none), and which way.
    pub(super) mover: (u32, Direction),
    pub(super) buffers: &'a mut Buffers,
    pub(super) ledger: &'a mut Ledger,
    pub(super) counts: &'a mut Counts,
    pub(super) out: &'a mut MessageBatch,
}
