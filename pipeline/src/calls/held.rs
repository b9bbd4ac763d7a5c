//! Calls that wait, and what each waits for: only those are looked at again for which something has changed.
//!
//! A call that has just come is to be looked at. One that must wait is put back with what it waits for ([`On`]); it is to be looked
//! at again when that is told ([`Waiting::tell`]) or when one of its two clocks runs out: [`OTHER_END`] and [`HOLD`] after it
//! came. So a look costs what has changed, not what is held.
//!
//! Bounds: the caller's ([`super::tie::MAX_HELD`]); [`Waiting::pop_oldest`] makes room. Queues of clocks and who waits for a list
//! hold at most twice as many as are held, and 64. Absent: a clock, what the causes of calls are.

use super::ids::Link;
use hashbrown::HashMap;
use redtap_stages::flow::joined::Joined;
use redtap_stages::flow::trace::SpanId;
use redtap_stages::time::Nanos;
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// Longest time that a call waits for its cause to be known.
pub const HOLD: Nanos = Nanos::from_secs(10);
/// Longest time that a call waits for its cause, which is known, to be out itself: it may be the last of several that wait so.
pub const HOLD_BELOW: Nanos = Nanos::from_secs(30);
/// Longest time that a request waits for its other end: more than twice what that may be on its way for ([`super::tie::LAG`]), on a machine that has
/// no time.
pub const OTHER_END: Nanos = Nanos::SECOND;

/// A call that waits for its names.
pub(super) struct Held {
    pub(super) joined: Joined,
    pub(super) span: SpanId,
    pub(super) since: Nanos,
    /// The cause, as soon as it is known; its trace may have to be waited for.
    pub(super) cause: Option<(SpanId, Link)>,
    /// What it waits for; none while it is to be looked at.
    on: Option<On>,
}

impl Held {
    pub(super) fn new(joined: Joined, span: SpanId, since: Nanos) -> Self {
        Self { joined, span, since, cause: None, on: None }
    }
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum On {
    /// The names of its cause.
    Cause(SpanId),
    /// What its process (by id) answered or was answering when it was made, at that moment.
    Request(u32, Nanos),
    /// What that thread (process, thread) answered when it was made, at that moment: where threads answer one request at a time.
    Thread(u32, u32, Nanos),
    /// The other end of its connection ([`super::sockets::place`]).
    End(u64),
}

/// Calls by their number, in the order in which they came.
type Number = u64;

/// The calls.
#[derive(Default)]
pub(super) struct Waiting {
    held: HashMap<Number, Held, foldhash::fast::RandomState>,
    by: BTreeSet<(On, Number)>,
    /// To be looked at.
    look: VecDeque<Number>,
    /// Whose fate depends on a later list of what is open.
    on_list: Vec<Number>,
    /// Whose clocks still run, by when they came.
    other_end: VecDeque<(Nanos, Number)>,
    hold: VecDeque<(Nanos, Number)>,
    hold_below: VecDeque<(Nanos, Number)>,
    next: Number,
}

impl Waiting {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// One that has just come.
    pub(super) fn push(&mut self, held: Held) {
        let number = self.next;
        self.next += 1;
        for clock in [&mut self.other_end, &mut self.hold, &mut self.hold_below] {
            // Most are gone before their clock runs out.
            if clock.len() > 64 + 2 * self.held.len() {
                clock.retain(|(_, number)| self.held.contains_key(number));
            }
            clock.push_back((held.since, number));
        }
        self.held.insert(number, held);
        self.look.push_back(number);
    }

    /// The oldest.
    pub(super) fn pop_oldest(&mut self) -> Option<Held> {
        while let Some((_, number)) = self.hold_below.pop_front() {
            if let Some(held) = self.take(number) {
                return Some(held);
            }
        }
        None
    }

    /// Those to be looked at are looked at in the order in which they came, but for those that are told of from now on.
    pub(super) fn oldest_first(&mut self) {
        self.look.make_contiguous().sort_unstable();
    }

    /// The next one that is to be looked at; it is [`Self::put_back`] or gone.
    pub(super) fn pop(&mut self) -> Option<(Number, Held)> {
        while let Some(number) = self.look.pop_front() {
            if let Some(held) = self.held.remove(&number) {
                return Some((number, held));
            }
        }
        None
    }

    /// It must wait; also for a later list of what is open, if that is so.
    pub(super) fn put_back(&mut self, number: Number, mut held: Held, on: On, wants_list: bool) {
        if wants_list {
            // A list may never come, and who waits may have been put back before.
            if self.on_list.len() > 64 + 2 * self.held.len() {
                self.on_list.sort_unstable();
                self.on_list.dedup();
                self.on_list.retain(|number| self.held.contains_key(number));
            }
            self.on_list.push(number);
        }
        held.on = Some(on);
        self.by.insert((on, number));
        self.held.insert(number, held);
    }

    /// Something has changed for those that wait for one of these.
    pub(super) fn tell(&mut self, what: RangeInclusive<On>) {
        let (from, to) = what.into_inner();
        while let Some(&(on, number)) = self.by.range((from, 0)..=(to, Number::MAX)).next() {
            self.by.remove(&(on, number));
            if let Some(held) = self.held.get_mut(&number) {
                held.on = None;
                self.look.push_back(number);
            }
        }
    }

    /// There is a later list of what is open.
    pub(super) fn tell_list(&mut self) {
        for number in std::mem::take(&mut self.on_list) {
            if let Some(on) = self.held.get_mut(&number).and_then(|held| held.on.take()) {
                self.by.remove(&(on, number));
                self.look.push_back(number);
            }
        }
    }

    /// Those whose clock has run out by now are to be looked at.
    pub(super) fn tell_late(&mut self, now: Nanos) {
        let clocks = [(&mut self.other_end, OTHER_END), (&mut self.hold, HOLD), (&mut self.hold_below, HOLD_BELOW)];
        for (clock, most) in clocks {
            while let Some((_, number)) = clock.pop_front_if(|(since, _)| now.since(*since) >= most) {
                let Some(held) = self.held.get_mut(&number) else { continue };
                if let Some(on) = held.on.take() {
                    self.by.remove(&(on, number));
                    self.look.push_back(number);
                }
            }
        }
    }

    /// When the first call that waits for a request of a process with at least this id was made.
    pub(super) fn first_of(&self, at_least: u32) -> Option<(u32, Nanos)> {
        let first = self.by.range((On::Request(at_least, Nanos::ZERO), 0)..).next()?;
        match first.0 {
            On::Request(pid, at) => Some((pid, at)),
            On::Cause(_) | On::Thread(..) | On::End(_) => None,
        }
    }

    fn take(&mut self, number: Number) -> Option<Held> {
        let held = self.held.remove(&number)?;
        if let Some(on) = held.on {
            self.by.remove(&(on, number));
        }
        Some(held)
    }
}
