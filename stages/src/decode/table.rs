//! The connections of a shard: found by the kernel's number, ordered by when they last spoke.
//!
//! Slots are used again with a new generation. The order is a list through the slots, so that the one idle longest is
//! known at once, however many there are; datagram sockets, which expire sooner, have a list of their own. A connection moves in
//! its list at most once in a [stretch of time](Table::new), so that a record touches its own slot and not those of its
//! neighbours, which are in no cache once there are many.

use super::info::Heard;
use super::turns::Progress;
use crate::flow::conn::{ConnInfo, ConnKey};
use crate::time::Nanos;
use hashbrown::HashMap;
use std::sync::Arc;

/// No slot.
const NONE: u32 = u32::MAX;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) key: ConnKey,
    pub(super) info: Arc<ConnInfo>,
    /// What its last record said of it, which `info` knows.
    pub(super) heard: Option<Heard>,
    /// How far it has come.
    pub(super) progress: Progress,
    /// Which set of listeners its role was asked of.
    pub(super) listeners: u32,
    /// When it last spoke, by the clock of the stages.
    spoke: Nanos,
    /// When it last moved in its list; the list is in this order.
    listed: Nanos,
}

#[derive(Debug)]
struct Slot {
    /// `None` while free.
    conn: Option<Conn>,
    generation: u32,
    before: u32,
    after: u32,
}

/// The table. Bounded by its capacity.
#[derive(Debug)]
pub(super) struct Table {
    by_id: HashMap<u64, u32, foldhash::fast::RandomState>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    orders: [Order; 2],
    capacity: usize,
    stretch: Nanos,
}

/// Ends of a list of slots, by when they last spoke.
#[derive(Debug, Clone, Copy)]
struct Order {
    oldest: u32,
    newest: u32,
}

/// Which connections expire together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Stream,
    Datagram,
}

impl Class {
    fn of(conn: &Conn) -> Self {
        if conn.info.transport.is_datagram() { Self::Datagram } else { Self::Stream }
    }
}

impl Table {
    /// For `capacity` connections. The one idle longest is known to within `stretch`.
    pub(super) fn new(capacity: usize, stretch: Nanos) -> Self {
        let by_id = HashMap::with_hasher(foldhash::fast::RandomState::default());
        let orders = [Order { oldest: NONE, newest: NONE }; 2];
        Self { by_id, slots: Vec::new(), free: Vec::new(), orders, capacity: capacity.max(1), stretch }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// All connections.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.slots.iter_mut().filter_map(|slot| slot.conn.as_mut())
    }

    /// The slot of a connection.
    pub(super) fn find(&self, id: u64) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The connection in a slot, noted as having spoken now.
    pub(super) fn touch(&mut self, at: u32, now: Nanos) -> Option<&mut Conn> {
        let stretch = self.stretch;
        let conn = self.slot(at)?.conn.as_mut()?;
        conn.spoke = now;
        if now.since(conn.listed) >= stretch {
            conn.listed = now;
            let class = Class::of(conn);
            if self.order(class).newest != at {
                self.unlink(at, class);
                self.link(at, class);
            }
        }
        self.slot(at)?.conn.as_mut()
    }

    /// Takes in a connection; the caller has made room. Returns its slot.
    pub(super) fn insert(&mut self, info: Arc<ConnInfo>, progress: Progress, listeners: u32, now: Nanos) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { conn: None, generation: 0, before: NONE, after: NONE });
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        });
        self.by_id.insert(info.id, at);
        let class = if info.transport.is_datagram() { Class::Datagram } else { Class::Stream };
        if let Some(slot) = self.slot(at) {
            let key = ConnKey { slot: at, generation: slot.generation };
            slot.conn = Some(Conn { key, info, heard: None, progress, listeners, spoke: now, listed: now });
        }
        self.link(at, class);
        at
    }

    /// Takes out the connection in a slot.
    pub(super) fn remove(&mut self, at: u32) -> Option<Conn> {
        let slot = self.slot(at)?;
        let conn = slot.conn.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.unlink(at, Class::of(&conn));
        self.by_id.remove(&conn.info.id);
        self.free.push(at);
        Some(conn)
    }

    /// The slot of a class idle longest (or less than a stretch shorter than that), and since when.
    pub(super) fn idlest(&self, class: Class) -> Option<(u32, Nanos)> {
        let [streams, datagrams] = self.orders;
        let at = if class == Class::Stream { streams.oldest } else { datagrams.oldest };
        let slot = self.slots.get(usize::try_from(at).ok()?)?;
        Some((at, slot.conn.as_ref()?.spoke))
    }

    fn order(&mut self, class: Class) -> &mut Order {
        let [streams, datagrams] = &mut self.orders;
        if class == Class::Stream { streams } else { datagrams }
    }

    fn slot(&mut self, at: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(at).ok()?)
    }

    fn link(&mut self, at: u32, class: Class) {
        let newest = self.order(class).newest;
        if let Some(slot) = self.slot(at) {
            slot.before = newest;
            slot.after = NONE;
        }
        match self.slot(newest) {
            Some(slot) => slot.after = at,
            None => self.order(class).oldest = at,
        }
        self.order(class).newest = at;
    }

    fn unlink(&mut self, at: u32, class: Class) {
        let Some(slot) = self.slot(at) else { return };
        let (before, after) = (slot.before, slot.after);
        match self.slot(before) {
            Some(slot) => slot.after = after,
            None => self.order(class).oldest = after,
        }
        match self.slot(after) {
            Some(slot) => slot.before = before,
            None => self.order(class).newest = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::conn::{Address, Owner, Role, Transport};

    fn info(id: u64) -> Arc<ConnInfo> {
        Arc::new(ConnInfo {
            id,
            transport: Transport::Tcp,
            role: Role::Unknown,
            local: Address::UNKNOWN,
            remote: Address::UNKNOWN,
            owner: Owner::default(),
            netns: 0,
            sock_ino: 0,
            late: false,
            sampling: 0,
        })
    }

    #[test]
    fn the_one_that_spoke_longest_ago_is_the_idlest_and_slots_return_with_a_new_generation() {
        let mut table = Table::new(3, Nanos::ZERO);
        let slots: Vec<u32> = (1..=3).map(|id| table.insert(info(id), Progress::default(), 0, Nanos(id))).collect();
        assert!(table.is_full());
        assert_eq!(table.idlest(Class::Stream), Some((slots[0], Nanos(1))));
        table.touch(slots[0], Nanos(9)).unwrap();
        assert_eq!(table.idlest(Class::Stream), Some((slots[1], Nanos(2))));
        let gone = table.remove(slots[1]).unwrap();
        assert_eq!(table.find(2), None);
        assert_eq!(table.idlest(Class::Stream), Some((slots[2], Nanos(3))));
        let again = table.insert(info(4), Progress::default(), 0, Nanos(10));
        let key = table.touch(again, Nanos(10)).unwrap().key;
        assert_eq!((key.slot, key.generation), (gone.key.slot, gone.key.generation + 1));
        let order: Vec<u64> = std::iter::from_fn(|| table.idlest(Class::Stream).and_then(|(at, _)| table.remove(at)))
            .map(|conn| conn.info.id)
            .collect();
        assert_eq!(order, [3, 1, 4]);
    }

    #[test]
    fn the_idlest_is_known_to_within_a_stretch() {
        let mut table = Table::new(3, Nanos(10));
        let slots: Vec<u32> = (1..=3).map(|id| table.insert(info(id), Progress::default(), 0, Nanos(id))).collect();
        table.touch(slots[0], Nanos(10)).unwrap();
        assert_eq!(table.idlest(Class::Stream), Some((slots[0], Nanos(10))), "moved less than a stretch ago: stays");
        table.touch(slots[0], Nanos(11)).unwrap();
        assert_eq!(table.idlest(Class::Stream), Some((slots[1], Nanos(2))));
    }
}
