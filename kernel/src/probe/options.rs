//! What a probe is asked for, and the check of its sizes.

use redtap_stages::abi::MAX_SHARDS;

use super::{ProbeError, Sizes};
use crate::filters::Filters;

/// Largest ring, bytes.
pub(super) const MAX_RING_BYTES: u32 = 1 << 30;
/// Fewest and most slots.
pub(super) const SLOT_BOUNDS: (u32, u32) = (64, 1 << 20);
/// Fewest and most connections that the syscall rung remembers.
pub(super) const CONNECTION_BOUNDS: (u32, u32) = (64, 65536);
/// Largest budget class: 2^16 bytes, what one operation can be cut into (`RT_MAX_CHUNK * RT_MAX_CHUNKS`).
pub(super) const MAX_CLASS: u8 = 16;

/// Which rung to attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RungChoice {
    /// The first of the ladder that attaches.
    #[default]
    Auto,
    /// This one or none.
    Socket,
    /// This one or none.
    Syscall,
}

/// How to attach. The default watches everything with one shard of 16 MiB.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Which rung.
    pub rung: RungChoice,
    /// Rings, 1 to [`MAX_SHARDS`]. A connection always uses the same one: the hash of its two ends
    /// (`rt_conn.place` in `bpf/conn.h`) modulo their number.
    pub shards: usize,
    /// Bytes a ring; rounded up to a power of two of at least a page; at most 1 GiB.
    pub ring_bytes: u32,
    /// Shared slots; rounded up to a power of two from 64 to 2^20.
    pub slots: u32,
    /// Connections remembered at a time (syscall rung; the socket rung keeps them in the sockets). When full, the least
    /// recently used is forgotten.
    pub connections: u32,
    /// Budget of an ingress turn: a power of two of bytes, 0 for nothing; at most 16.
    pub ingress_class: u8,
    /// The same for egress.
    pub egress_class: u8,
    /// Bytes waiting in a ring from which on a record wakes the reader.
    pub wake_bytes: u32,
    /// What to watch.
    pub filters: Filters,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            rung: RungChoice::Auto,
            shards: 1,
            ring_bytes: 16 << 20,
            slots: 65536,
            connections: 32768,
            ingress_class: 12,
            egress_class: 12,
            wake_bytes: 4 << 20,
            filters: Filters::default(),
        }
    }
}

impl ProbeOptions {
    /// Checked and rounded.
    pub(crate) fn sizes(&self) -> Result<Sizes, ProbeError> {
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return Err(ProbeError::Option { option: "shards", allowed: "1 to 8" });
        }
        if self.ring_bytes > MAX_RING_BYTES {
            return Err(ProbeError::Option { option: "ring_bytes", allowed: "at most 1 GiB" });
        }
        if self.ingress_class > MAX_CLASS || self.egress_class > MAX_CLASS {
            return Err(ProbeError::Option { option: "budget class", allowed: "0 to 16" });
        }
        Ok(Sizes {
            shards: self.shards,
            ring_bytes: self.ring_bytes.max(page).next_power_of_two(),
            slots: self.slots.clamp(SLOT_BOUNDS.0, SLOT_BOUNDS.1).next_power_of_two(),
            connections: self.connections.clamp(CONNECTION_BOUNDS.0, CONNECTION_BOUNDS.1),
            page,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_powers_of_two_within_their_bounds() {
        let options = ProbeOptions { ring_bytes: 70_000, slots: 3, connections: 1, ..ProbeOptions::default() };
        let sizes = options.sizes().unwrap();
        assert_eq!((sizes.ring_bytes, sizes.slots, sizes.connections), (131_072, 64, 64));
    }

    #[test]
    fn refuses_what_the_programs_cannot_do() {
        for options in [
            ProbeOptions { shards: 0, ..ProbeOptions::default() },
            ProbeOptions { shards: MAX_SHARDS + 1, ..ProbeOptions::default() },
            ProbeOptions { ring_bytes: MAX_RING_BYTES + 1, ..ProbeOptions::default() },
            ProbeOptions { egress_class: 17, ..ProbeOptions::default() },
        ] {
            assert!(matches!(options.sizes(), Err(ProbeError::Option { .. })), "{options:?}");
        }
    }
}
