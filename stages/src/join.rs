//! Stage `join`: says whose an exchange is, and with whom it was.
//!
//! Identities and names are facts, found out off the data path: [`Join::wanted`] says which processes to look up,
//! [`Join::learn`] takes what was found. An exchange of a process that is being looked up waits, as do the first exchanges
//! of a connection within this host until the other end was seen; never longer than [`JoinSettings::hold`], never more than
//! [`JoinSettings::max_held`] of them. Then it goes on by the name of its thread, and without the other end. The exchanges of
//! one connection keep their order.
//!
//! The other end, as its client sees it: the watched service that answers there, else a listening service that was told, else
//! the name in a DNS answer that was seen, else a hosts name, else the address. As its server sees it: the watched client's
//! service, else a name, else nothing. What was found is remembered for the connection.
//!
//! Never rejects. Absent: the file system, the clock, the network.

mod addresses;
mod fact;
mod owners;
mod peers;
mod processes;

pub use fact::{Fact, Wanted};

use crate::flow::conn::{Address, Owner, Role};
use crate::flow::converged::Converged;
use crate::flow::exchange::Exchange;
use crate::flow::joined::{Identity, Joined, Parties};
use crate::limits;
use crate::recent::Recent;
use crate::stage::{Ledger, Reason, Stage};
use crate::symbol::{Interner, Symbol, SymbolKey};
use crate::time::Nanos;
use addresses::Addresses;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use owners::Owners;
use peers::{Pair, Peers, pair};
use processes::{Named, Processes, Version};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

/// The name of a peer found by name or address is looked up again after this long.
const PEER_NAME_GOOD: Nanos = Nanos::from_secs(10);
/// A peer of which nothing is known is looked up again after this long.
const PEER_NOTHING_GOOD: Nanos = Nanos::SECOND;
/// How often unused names are let go.
const SWEEP_INTERVAL: Nanos = Nanos::from_secs(60);

/// How long to wait for what.
#[derive(Debug, Clone)]
pub struct JoinSettings {
    /// Longest time that an exchange waits.
    pub hold: Nanos,
    /// Exchanges that wait at a time. At most [`limits::MAX_JOIN_HELD`].
    pub max_held: usize,
    /// Somebody answers [`Join::wanted`]. False (in a replay): every process goes by its thread name at once.
    pub lookups: bool,
    /// Wait for the other end of a connection within this host.
    pub wait_for_peer: bool,
    /// Learn names of addresses from DNS answers.
    pub dns_names: bool,
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self {
            hold: limits::JOIN_HOLD,
            max_held: limits::MAX_JOIN_HELD,
            lookups: true,
            wait_for_peer: true,
            dns_names: true,
        }
    }
}

/// `join` rejects nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinReject {}

impl Reason for JoinReject {
    const LABELS: &'static [&'static str] = &[];
    fn index(self) -> usize {
        match self {}
    }
}

/// What is remembered of a connection. There are as many as connections were used lately, so it is kept small.
#[derive(Debug)]
struct Memo {
    /// For this owner and this other end (a datagram socket may change it) ...
    owner: Arc<Owner>,
    remote: Address,
    /// ... in this state of knowledge of processes, or any later one that says nothing new of these two ...
    epoch: u64,
    version: Version,
    /// The process at the other end; means something if [`Parties::peer_watched`].
    other: (u32, Version),
    parties: Arc<Parties>,
    /// ... and until then.
    until: Nanos,
}

impl Memo {
    /// Nothing was learned since of the processes at its ends.
    fn holds(&mut self, processes: &Processes) -> bool {
        if self.epoch == processes.epoch() {
            return true;
        }
        let same = self.version == processes.version(self.owner.pid) && self.other_holds(processes);
        if same {
            self.epoch = processes.epoch();
        }
        same
    }

    /// The same of the other end alone.
    fn other_holds(&self, processes: &Processes) -> bool {
        let (pid, version) = self.other;
        !self.parties.peer_watched || version == processes.version(pid)
    }
}

/// What tells parties apart: service, identity, peer, and whether that one is watched.
type PartiesKey = (SymbolKey, u32, SymbolKey, bool);

/// Exchanges of one connection that wait.
#[derive(Debug)]
struct Waiting {
    since: Nanos,
    pair: Pair,
    exchanges: Vec<Converged>,
}

/// The stage.
#[derive(Debug)]
pub struct Join {
    settings: JoinSettings,
    /// Names of services.
    services: Interner,
    /// Names of everything else at other ends.
    hosts: Interner,
    nobody: Symbol,
    processes: Processes,
    addresses: Addresses,
    peers: Peers,
    owners: Owners,
    memos: Recent<u64, Memo>,
    /// Each holds the symbols that its key stands for.
    parties: Recent<PartiesKey, Arc<Parties>>,
    /// Of exchanges of the batch at hand; empty between two.
    found: Vec<Arc<Parties>>,
    waiting: HashMap<u64, Waiting, RandomState>,
    /// Which connection waits for the other end of a pair.
    by_pair: HashMap<Pair, u64, RandomState>,
    /// Connections by when they began to wait; may name some that do so no more. At most twice as many as may wait.
    order: VecDeque<(Nanos, u64)>,
    /// Something was learned that may let exchanges go on.
    news: bool,
    hurried: u64,
    expired: u64,
    scratch: String,
    swept_at: Nanos,
    now: Nanos,
    ledger: Ledger,
}

impl Join {
    /// A stage that knows nobody.
    #[must_use]
    pub fn new(mut settings: JoinSettings) -> Self {
        settings.max_held = settings.max_held.min(limits::MAX_JOIN_HELD);
        let mut hosts = Interner::default();
        Self {
            processes: Processes::new(settings.lookups, settings.hold),
            settings,
            services: Interner::default(),
            nobody: hosts.intern(""),
            hosts,
            addresses: Addresses::new(),
            peers: Peers::new(),
            owners: Owners::new(),
            memos: Recent::new(limits::MAX_PEERS),
            parties: Recent::new(limits::MAX_PARTIES),
            found: Vec::new(),
            waiting: HashMap::default(),
            by_pair: HashMap::default(),
            order: VecDeque::new(),
            news: false,
            hurried: 0,
            expired: 0,
            scratch: String::new(),
            swept_at: Nanos::ZERO,
            now: Nanos::ZERO,
            ledger: Ledger::new::<JoinReject>(),
        }
    }

    /// Takes a fact. What waited for it goes on with the next `process` or `tick`.
    pub fn learn(&mut self, fact: Fact) {
        self.news = true;
        match fact {
            Fact::Process { pid, identity } => self.processes.learn(pid, identity, &mut self.services),
            Fact::ProcessGone { pid } => self.processes.gone(self.now, pid),
            Fact::Name { ip, name } => self.addresses.told(ip, name),
            Fact::Listener { ip, port, service } => {
                let service = (!service.is_empty()).then(|| self.services.intern(&service));
                self.peers.told(ip, port, service);
            }
            Fact::LocalAddress { ip } => self.addresses.is_local_now(ip),
        }
    }

    /// Moves the look-ups to be made into `out`: each process once for each name that one of its threads showed.
    pub fn wanted(&mut self, out: &mut Vec<Wanted>) {
        self.processes.wanted(out);
    }

    /// The identities seen so far; [`Parties::identity`] is the position in it, counted from 1.
    #[must_use]
    pub fn identities(&self) -> &[Arc<Identity>] {
        self.processes.identities()
    }

    /// Exchanges that went on before their time because too many waited.
    #[must_use]
    pub fn hurried(&self) -> u64 {
        self.hurried
    }

    /// Connections whose exchanges waited as long as they may, in vain.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Entries of the tables forgotten, facts refused and names not kept, because of a bound.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        let names = self.services.overflowed() + self.hosts.overflowed();
        self.addresses.overflowed() + self.peers.overflowed() + names
    }

    /// Processes known.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Who took part, where nothing has to be looked for or waited for.
    fn remembered(&mut self, now: Nanos, converged: &Converged) -> Option<Arc<Parties>> {
        let exchange = &converged.exchange;
        let conn = &*exchange.conn;
        let resolves = self.settings.dns_names && !exchange.addresses.is_empty();
        if resolves || (!self.waiting.is_empty() && self.waiting.contains_key(&conn.id)) {
            return None;
        }
        let memo = self.memos.get(&conn.id)?;
        let same = memo.remote == conn.remote && *memo.owner == conn.owner && now < memo.until;
        (same && memo.holds(&self.processes)).then(|| Arc::clone(&memo.parties))
    }

    fn take(&mut self, now: Nanos, converged: Converged, out: &mut Vec<Joined>) {
        self.ledger.taken += 1;
        self.ledger.held += 1;
        let exchange = &converged.exchange;
        let conn = &*exchange.conn;
        let resolves = self.settings.dns_names && !exchange.addresses.is_empty();
        let is_new = self.memos.get(&conn.id).is_none_or(|memo| memo.remote != conn.remote);
        self.processes.see(now, &conn.owner, exchange.start);
        if is_new {
            self.see_connection(now, exchange, out);
        }
        if resolves {
            for &ip in exchange.addresses.iter() {
                self.addresses.answered(ip, exchange.target.as_str());
            }
        }
        if let Some(waiting) = self.waiting.get_mut(&conn.id) {
            waiting.exchanges.push(converged);
        } else {
            match self.find(now, exchange, false) {
                Some(parties) => return self.pass(converged, parties, out),
                None => self.wait(now, converged),
            }
        }
        self.keep_bound(now, out);
    }

    /// A connection not remembered: notes its ends, and wakes the connection that waited for that.
    fn see_connection(&mut self, now: Nanos, exchange: &Exchange, out: &mut Vec<Joined>) {
        self.peers.see(exchange, self.owners.shared(&exchange.conn.owner));
        if let Some(ip) = exchange.conn.local.ip() {
            self.addresses.seen(ip);
        }
        if let Some(&other) = self.by_pair.get(&pair(exchange))
            && other != exchange.conn.id
        {
            self.try_release(now, other, false, out);
        }
    }

    fn wait(&mut self, now: Nanos, converged: Converged) {
        let (pair, id) = (pair(&converged.exchange), converged.exchange.conn.id);
        if self.order.len() >= 2 * self.settings.max_held {
            let waiting = &self.waiting;
            self.order.retain(|&(since, id)| waiting.get(&id).is_some_and(|waiting| waiting.since == since));
        }
        self.by_pair.insert(pair, id);
        self.order.push_back((now, id));
        self.waiting.insert(id, Waiting { since: now, pair, exchanges: vec![converged] });
    }

    /// Lets the oldest go on when too many wait.
    fn keep_bound(&mut self, now: Nanos, out: &mut Vec<Joined>) {
        let bound = u64::try_from(self.settings.max_held).unwrap_or(u64::MAX);
        while self.ledger.held > bound {
            let Some((_, id)) = self.order.pop_front() else { return };
            let before = self.ledger.passed;
            self.try_release(now, id, true, out);
            self.hurried += self.ledger.passed - before;
        }
    }

    /// Lets the exchanges of one connection go on, if they can (`over`: they must).
    fn try_release(&mut self, now: Nanos, id: u64, over: bool, out: &mut Vec<Joined>) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        let ready = waiting.exchanges.first().is_none_or(|first| self.find(now, &first.exchange, over).is_some());
        if !ready {
            self.waiting.insert(id, waiting);
            return;
        }
        if self.by_pair.get(&waiting.pair) == Some(&id) {
            self.by_pair.remove(&waiting.pair);
        }
        for converged in waiting.exchanges {
            // Ready is ready for all of them: they share the connection. `true` makes it certain.
            if let Some(parties) = self.find(now, &converged.exchange, true) {
                self.pass(converged, parties, out);
            }
        }
    }

    /// Lets go on what time or a fact has made ready.
    fn release(&mut self, now: Nanos, out: &mut Vec<Joined>) {
        while let Some(&(since, id)) = self.order.front() {
            // An entry of a connection that waits no more, or waits again, names another beginning.
            let current = self.waiting.get(&id).is_some_and(|waiting| waiting.since == since);
            if current && now.since(since) < self.settings.hold {
                break;
            }
            self.order.pop_front();
            if current {
                self.expired += 1;
                self.try_release(now, id, true, out);
            }
        }
        if self.news {
            self.news = false;
            let mut order = std::mem::take(&mut self.order);
            order.retain(|&(since, id)| {
                if self.waiting.get(&id).is_some_and(|waiting| waiting.since == since) {
                    self.try_release(now, id, false, out);
                }
                self.waiting.contains_key(&id)
            });
            self.order = order;
        }
    }

    /// Whose the exchange is and with whom it was; `None` while that may still be learned. With `over`, never.
    fn find(&mut self, now: Nanos, exchange: &Exchange, over: bool) -> Option<Arc<Parties>> {
        let conn = &*exchange.conn;
        let named = self.named(now, &conn.owner, over)?;
        let (epoch, version) = (self.processes.epoch(), self.processes.version(conn.owner.pid));
        let mut first = true;
        if let Some(memo) = self.memos.get(&conn.id).filter(|memo| memo.remote == conn.remote) {
            first = false;
            if now < memo.until && memo.other_holds(&self.processes) {
                let parties = parties(&mut self.parties, named, &memo.parties.peer, memo.parties.peer_watched);
                (memo.owner, memo.epoch, memo.version) = (self.owners.shared(&conn.owner), epoch, version);
                memo.parties = Arc::clone(&parties);
                return Some(parties);
            }
        }
        let (peer, watched) = self.peer(now, exchange, first, over)?;
        let good = match watched {
            Some(_) => limits::CONNECTION_IDLE,
            None if peer.is_empty() => PEER_NOTHING_GOOD,
            None => PEER_NAME_GOOD,
        };
        let parties = parties(&mut self.parties, named, &peer, watched.is_some());
        let memo = Memo {
            owner: self.owners.shared(&conn.owner),
            remote: conn.remote,
            epoch,
            version,
            other: watched.map(|pid| (pid, self.processes.version(pid))).unwrap_or_default(),
            parties: Arc::clone(&parties),
            until: now + good,
        };
        self.memos.put(conn.id, memo);
        Some(parties)
    }

    /// What `owner` is called; `None` while that is being asked, unless time is `over`.
    fn named(&mut self, now: Nanos, owner: &Owner, over: bool) -> Option<Named> {
        match self.processes.name(now, owner, &mut self.services) {
            None if over => Some(self.processes.name_now(owner, &mut self.services)),
            named => named,
        }
    }

    /// Who is at the other end, and its process if that one is watched; `None` while it may still show itself: at the `first`
    /// exchanges of a connection within this host.
    fn peer(&mut self, now: Nanos, exchange: &Exchange, first: bool, over: bool) -> Option<(Symbol, Option<u32>)> {
        let near = exchange.conn.remote.ip().is_none_or(|ip| self.addresses.is_near(ip));
        if let Some(owner) = self.peers.other(exchange, near) {
            return self.named(now, &owner, over).map(|named| (named.service, Some(owner.pid)));
        }
        let told = if exchange.side == Role::Client { self.peers.listener(exchange, near) } else { None };
        if told.is_none() && near && first && !over && self.settings.wait_for_peer {
            return None;
        }
        Some((told.unwrap_or_else(|| self.name(exchange)), None))
    }

    /// What the other end is called by its address.
    fn name(&mut self, exchange: &Exchange) -> Symbol {
        let Address::Inet(ip, port) = exchange.conn.remote else { return self.nobody.clone() };
        if let Some(name) = self.addresses.name(ip, &mut self.hosts) {
            return name;
        }
        if exchange.side == Role::Server || (ip.is_unspecified() && port == 0) {
            return self.nobody.clone();
        }
        self.scratch.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.scratch, "{}", ip.to_canonical());
        self.hosts.intern(&self.scratch)
    }

    fn pass(&mut self, converged: Converged, parties: Arc<Parties>, out: &mut Vec<Joined>) {
        self.ledger.held -= 1;
        self.ledger.passed += 1;
        self.ledger.emitted += 1;
        out.push(Joined { converged, parties });
    }
}

/// These parties, the ones that were made before if they are still known.
fn parties(
    known: &mut Recent<PartiesKey, Arc<Parties>>,
    named: Named,
    peer: &Symbol,
    peer_watched: bool,
) -> Arc<Parties> {
    let Named { service, identity } = named;
    let key = (service.key(), identity, peer.key(), peer_watched);
    let make = || Arc::new(Parties { service, identity, peer: peer.clone(), peer_watched });
    Arc::clone(known.get_or_put(key, make))
}

impl Stage for Join {
    type In = Vec<Converged>;
    type Out = Vec<Joined>;
    const NAME: &'static str = "join";

    fn process(&mut self, now: Nanos, input: &mut Vec<Converged>, out: &mut Vec<Joined>) {
        self.now = now;
        self.release(now, out);
        let mut rest = input.drain(..);
        let mut found = std::mem::take(&mut self.found);
        loop {
            // As many as are remembered in a row: these are large, and so they are moved once.
            found.extend(rest.as_slice().iter().map_while(|converged| self.remembered(now, converged)));
            let n = u64::try_from(found.len()).unwrap_or(0);
            self.ledger.taken += n;
            self.ledger.passed += n;
            self.ledger.emitted += n;
            let known = rest.by_ref().take(found.len()).zip(found.drain(..));
            out.extend(known.map(|(converged, parties)| Joined { converged, parties }));
            let Some(converged) = rest.next() else { break };
            self.take(now, converged, out);
        }
        self.found = found;
        debug_assert!(self.ledger.balances());
    }

    fn tick(&mut self, now: Nanos, out: &mut Vec<Joined>) {
        self.now = now;
        self.release(now, out);
        if now.since(self.swept_at) >= SWEEP_INTERVAL {
            self.swept_at = now;
            self.parties.clear();
            self.services.release_unused();
            self.hosts.release_unused();
        }
    }

    fn drain(&mut self, now: Nanos, out: &mut Vec<Joined>) {
        while let Some((_, id)) = self.order.pop_front() {
            self.try_release(now, id, true, out);
        }
        debug_assert!(self.ledger.balances() && self.ledger.held == 0);
    }

    fn ledger(&self) -> Ledger {
        self.ledger
    }
}
