//! What the kernel programs counted: sums over processors of the map `rt_counters`, and what the kernel skipped.
//!
//! The names follow `enum rt_counter` in `bpf/abi.h`. Absent: reading of maps (see [`crate::probe`]).

/// Counters of one set, `RT_C_COUNT` in `bpf/abi.h`.
pub(crate) const COUNTERS: usize = 14;
/// Sets of counters: operations, state changes (`bpf/maps.h`).
pub(crate) const SETS: usize = 2;

/// Sums since the probe was attached.
///
/// `attempted` = records that reached the rings + `refused_full`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Losses {
    /// Records that the programs tried to put into a ring.
    pub attempted: u64,
    /// Of these, refused because the ring was full.
    pub refused_full: u64,
    /// Of the refused, first records of a turn.
    pub refused_turns: u64,
    /// Turns begun on selected connections that were not muted.
    pub turns: u64,
    /// Connections given an id.
    pub connections: u64,
    /// Operations not seen because state could not be had.
    pub no_storage: u64,
    /// Dirty slots taken over by a newer connection before they were read.
    pub slot_lost: u64,
    /// Turns that nothing will tell of because of that: their connection was closed.
    pub slot_lost_turns: u64,
    /// Operations of sockets that the filters exclude.
    pub not_selected: u64,
    /// Operations of muted connections.
    pub muted: u64,
    /// User buffers that could not be read.
    pub fault: u64,
    /// Operations of selected connections that moved data.
    pub operations: u64,
    /// Connections that others pushed out of a full table (syscall rung); what they move later is a new connection's.
    pub evicted: u64,
    /// Turns begun on connections that sampling leaves out. Not among `turns`.
    pub sampled_turns: u64,
    /// Program runs that the kernel skipped because the program was already running on that processor.
    pub missed: u64,
}

impl Losses {
    /// From the words of `rt_counters`, summed over processors, in the order of `enum rt_counter`.
    pub(crate) fn from_words(words: [u64; COUNTERS], missed: u64) -> Self {
        let [
            attempted,
            refused_full,
            refused_turns,
            turns,
            connections,
            no_storage,
            slot_lost,
            slot_lost_turns,
            not_selected,
            muted,
            fault,
            operations,
            evicted,
            sampled_turns,
        ] = words;
        Self {
            attempted,
            refused_full,
            refused_turns,
            turns,
            connections,
            no_storage,
            slot_lost,
            slot_lost_turns,
            not_selected,
            muted,
            fault,
            operations,
            evicted,
            sampled_turns,
            missed,
        }
    }
}
