//! Where exchanges were counted lately: one look instead of two keys made of all labels, and two tables.
//!
//! A table of a fixed size, each place used by what came last. An entry is known by the very names and parties of the exchange
//! (their addresses; the entry keeps both alive, so that no other ones can come to lie there) and by what else a series is told
//! apart by. Absent: anything that overflowed, because that is counted each time.

use super::labels::{self, Fault};
use crate::flow::conn::Role;
use crate::flow::converged::Names;
use crate::flow::joined::{Joined, Parties};
use crate::limits;
use std::sync::Arc;

/// Indices of a series, and of an edge of the service graph if the exchange is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) series: usize,
    pub(super) edge: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    names: Arc<Names>,
    parties: Arc<Parties>,
    rest: u64,
    place: Place,
}

/// The table.
#[derive(Debug)]
pub(super) struct Places(Vec<Option<Entry>>);

impl Places {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(|| None).take(limits::PLACES_CACHE).collect())
    }

    /// Where an exchange like this one was counted.
    pub(super) fn find(&self, joined: &Joined) -> Option<Place> {
        let rest = rest(joined);
        let entry = self.0.get(index(joined, rest))?.as_ref()?;
        let same = entry.rest == rest
            && Arc::ptr_eq(&entry.names, &joined.converged.names)
            && Arc::ptr_eq(&entry.parties, &joined.parties);
        same.then_some(entry.place)
    }

    pub(super) fn put(&mut self, joined: &Joined, place: Place) {
        let rest = rest(joined);
        if let Some(entry) = self.0.get_mut(index(joined, rest)) {
            let (names, parties) = (Arc::clone(&joined.converged.names), Arc::clone(&joined.parties));
            *entry = Some(Entry { names, parties, rest, place });
        }
    }

    /// Forgets all, because indices have changed.
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(|entry| *entry = None);
    }
}

/// What tells series apart besides names and parties.
fn rest(joined: &Joined) -> u64 {
    let exchange = &joined.converged.exchange;
    let fault = match labels::fault(exchange) {
        Fault::None => 0,
        Fault::Code => 1,
        Fault::Other => 2,
        Fault::Silence(why) => 3 + why as u64,
    };
    u64::from(labels::port(exchange))
        | fault << 16
        | u64::from(exchange.side == Role::Server) << 24
        | (exchange.protocol as u64) << 32
}

fn index(joined: &Joined, rest: u64) -> usize {
    const { assert!(limits::PLACES_CACHE.is_power_of_two()) };
    // Nobody outside chooses addresses: mixing them is enough.
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let names = Arc::as_ptr(&joined.converged.names).addr() as u64;
    let parties = Arc::as_ptr(&joined.parties).addr() as u64;
    let mixed = (names.wrapping_mul(ODD) ^ parties).wrapping_mul(ODD) ^ rest;
    let mixed = mixed.wrapping_mul(ODD);
    usize::try_from(mixed >> 40).unwrap_or(0) & (limits::PLACES_CACHE - 1)
}
