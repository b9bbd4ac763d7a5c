//! The requests that wait for their answers: all of a shard in one bounded slab, on three lists each.
//!
//! A request is on the line of its connection (oldest first), on the list of its time-out (oldest first, because all on one
//! list have the same time to live) and, where the protocol pairs by id, in the chain of its id. Whatever is asked is at a
//! list's head, so nothing is searched for. Slots are used again: nothing is allocated in steady state.

use crate::flow::exchange::Exchange;
use crate::time::Nanos;
use hashbrown::HashMap;

/// No entry.
const NONE: u32 = u32::MAX;

/// Number of time-out lists.
pub(super) const TIMERS: usize = 6;

/// First and last entry of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl List {
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }
}

#[derive(Debug, Clone, Copy)]
struct Links {
    before: u32,
    after: u32,
}

const UNLINKED: Links = Links { before: NONE, after: NONE };

/// Which of an entry's links.
#[derive(Debug, Clone, Copy)]
enum On {
    Line,
    Timer,
    Chain,
}

/// One request and what is known of its exchange.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) exchange: Exchange,
    /// Slot of its connection.
    pub(super) flow: u32,
    /// Pairs by this id; `None`: by order.
    pub(super) id: Option<u64>,
    /// The beginning of its answer came.
    pub(super) answering: bool,
    /// Requests right behind it that were not taken in: as many answers behind its own are nobody's.
    pub(super) dropped_behind: u32,
    timer: usize,
    since: Nanos,
}

#[derive(Debug)]
struct Entry {
    waiting: Option<Waiting>,
    line: Links,
    timer: Links,
    chain: Links,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Slab {
    entries: Vec<Entry>,
    free: Vec<u32>,
    timers: [List; TIMERS],
    /// Requests on each of these.
    listed: [usize; TIMERS],
    chains: HashMap<(u32, u64), List, foldhash::fast::RandomState>,
    len: usize,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            timers: [List::default(); TIMERS],
            listed: [0; TIMERS],
            chains: HashMap::with_hasher(foldhash::fast::RandomState::default()),
            len: 0,
        }
    }
}

impl Slab {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many are on time-out list `timer`.
    pub(super) fn listed(&self, timer: usize) -> usize {
        self.listed.get(timer).copied().unwrap_or(0)
    }

    /// Puts a request at the end of its connection's line and of time-out list `timer` (below [`TIMERS`]).
    pub(super) fn push(
        &mut self,
        line: &mut List,
        flow: u32,
        id: Option<u64>,
        exchange: Exchange,
        timer: usize,
        now: Nanos,
    ) -> u32 {
        let waiting = Some(Waiting { exchange, flow, id, answering: false, dropped_behind: 0, timer, since: now });
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.entries.push(Entry { waiting: None, line: UNLINKED, timer: UNLINKED, chain: UNLINKED });
                u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(entry) = self.entry(at) {
            entry.waiting = waiting;
        }
        self.len += 1;
        self.append(line, at, On::Line);
        self.start_timer(at, timer);
        if let Some(id) = id {
            let mut chain = self.chains.get(&(flow, id)).copied().unwrap_or_default();
            self.append(&mut chain, at, On::Chain);
            self.chains.insert((flow, id), chain);
        }
        at
    }

    /// All of them, list by list, each oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Exchange> {
        let next = |at: Option<u32>| at.and_then(|at| self.entries.get(usize::try_from(at).ok()?));
        self.timers
            .iter()
            .flat_map(move |list| std::iter::successors(next(list.first()), move |entry| next(Some(entry.timer.after))))
            .filter_map(|entry| Some(&entry.waiting.as_ref()?.exchange))
    }

    pub(super) fn waiting(&mut self, at: u32) -> Option<&mut Waiting> {
        self.entry(at)?.waiting.as_mut()
    }

    /// The oldest request of a connection with this id.
    pub(super) fn by_id(&self, flow: u32, id: u64) -> Option<u32> {
        self.chains.get(&(flow, id)).and_then(List::first)
    }

    /// Puts a request at the end of another time-out list.
    pub(super) fn restart_timer(&mut self, at: u32, timer: usize, now: Nanos) {
        self.stop_timer(at);
        if let Some(waiting) = self.waiting(at) {
            (waiting.timer, waiting.since) = (timer, now);
        }
        self.start_timer(at, timer);
    }

    /// True if a request is on time-out list `timer`.
    pub(super) fn is_on(&mut self, at: u32, timer: usize) -> bool {
        self.waiting(at).is_some_and(|waiting| waiting.timer == timer)
    }

    /// The request that has been longest on time-out list `timer`, and since when.
    pub(super) fn oldest(&self, timer: usize) -> Option<(u32, Nanos)> {
        let at = self.timers.get(timer)?.first()?;
        let entry = self.entries.get(usize::try_from(at).ok()?)?;
        Some((at, entry.waiting.as_ref()?.since))
    }

    /// Takes a request out; its exchange goes into `out`.
    pub(super) fn remove(&mut self, line: &mut List, at: u32, out: &mut Vec<Exchange>) {
        self.stop_timer(at);
        self.unlink(line, at, On::Line);
        let Some(waiting) = self.entry(at).and_then(|entry| entry.waiting.take()) else { return };
        let (flow, id) = (waiting.flow, waiting.id);
        out.push(waiting.exchange);
        if let Some(id) = id {
            let key = (flow, id);
            let mut chain = self.chains.get(&key).copied().unwrap_or_default();
            self.unlink(&mut chain, at, On::Chain);
            match chain.first() {
                Some(_) => self.chains.insert(key, chain),
                None => self.chains.remove(&key),
            };
        }
        self.len -= 1;
        self.free.push(at);
    }

    fn start_timer(&mut self, at: u32, timer: usize) {
        let Some(mut list) = self.timers.get(timer).copied() else { return };
        self.append(&mut list, at, On::Timer);
        if let Some(place) = self.timers.get_mut(timer) {
            *place = list;
        }
        if let Some(listed) = self.listed.get_mut(timer) {
            *listed += 1;
        }
    }

    fn stop_timer(&mut self, at: u32) {
        let Some(timer) = self.waiting(at).map(|waiting| waiting.timer) else { return };
        let Some(mut list) = self.timers.get(timer).copied() else { return };
        self.unlink(&mut list, at, On::Timer);
        if let Some(place) = self.timers.get_mut(timer) {
            *place = list;
        }
        if let Some(listed) = self.listed.get_mut(timer) {
            *listed = listed.saturating_sub(1);
        }
    }

    fn entry(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    fn links(&mut self, at: u32, on: On) -> Option<&mut Links> {
        let entry = self.entry(at)?;
        Some(match on {
            On::Line => &mut entry.line,
            On::Timer => &mut entry.timer,
            On::Chain => &mut entry.chain,
        })
    }

    fn append(&mut self, list: &mut List, at: u32, on: On) {
        let last = list.last;
        if let Some(links) = self.links(at, on) {
            *links = Links { before: last, after: NONE };
        }
        match self.links(last, on) {
            Some(links) => links.after = at,
            None => list.first = at,
        }
        list.last = at;
    }

    fn unlink(&mut self, list: &mut List, at: u32, on: On) {
        let Some(links) = self.links(at, on) else { return };
        let Links { before, after } = std::mem::replace(links, UNLINKED);
        match self.links(before, on) {
            Some(links) => links.after = after,
            None => list.first = after,
        }
        match self.links(after, on) {
            Some(links) => links.before = before,
            None => list.last = before,
        }
    }
}
