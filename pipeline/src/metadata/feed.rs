//! Feeds the stages with metadata: answers what `join` asks, and says from time to time what listens and is called what.
//!
//! One thread. It waits for questions; every [`ROUND`] (less often where a round costs much, see [`PAUSE`]) it looks which processes are gone, what listens and which addresses
//! there are, and tells all shards. Facts are said again every [`REPEAT`], because a stage that was started anew knows none.
//!
//! Bounds: those of [`super::Resolver`]; a stage that takes no more is told in the next round.

use super::local::{self, Listener};
use super::{Resolver, ResolverStats, hosts};
use crate::clock;
use crate::registry::Registry;
use crate::topology::{Running, ShardControls, WantedBy};
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use redtap_stages::decode::ListeningPorts;
use redtap_stages::flow::joined::Identity;
use redtap_stages::join::{Fact, NameSource, Wanted};
use redtap_stages::time::Nanos;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks at processes, listeners and addresses.
pub const ROUND: Duration = Duration::from_secs(2);
/// A round is followed by a pause of this many times the processor time it took, so that rounds take at most one part in so many of a
/// processor: for each network namespace the kernel walks its table of all connections, 10 ms on a machine with much memory.
pub const PAUSE: u32 = 100;
/// Longest pause between two rounds.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Every how many rounds everything is said again.
pub const REPEAT: u64 = 15;
/// Most processes whose descriptors are looked at in one round.
pub const SEARCHED: usize = 256;
/// Facts told to a stage in one go.
const CHUNK: usize = 512;

/// What it needs.
#[derive(Debug)]
pub struct FeedSettings {
    /// The proc file system.
    pub proc: PathBuf,
    /// The hosts file.
    pub hosts: PathBuf,
    /// An identity without processes for this long is no longer shown.
    pub expiry: Nanos,
}

/// The running thread.
#[derive(Debug)]
pub struct Feed {
    stop: Sender<()>,
    stats: Arc<Mutex<ResolverStats>>,
    thread: JoinHandle<()>,
}

impl Feed {
    /// Starts feeding `running`; identities are shown by `registry`. The first round is done before this returns, so that
    /// the roles of old connections are known from the first event on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        running: &Running,
        resolver: Resolver,
        registry: Arc<Registry>,
        settings: FeedSettings,
    ) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(1);
        let stats = Arc::new(Mutex::new(ResolverStats::default()));
        let mut feeder = Feeder {
            shards: (0..running.shards()).filter_map(|shard| running.controls(shard)).collect(),
            resolver,
            registry,
            settings,
            addresses: BTreeSet::new(),
            names: BTreeMap::new(),
            shown: HashMap::new(),
            owned: BTreeMap::new(),
            searched: BTreeSet::new(),
            rounds: 0,
        };
        feeder.round();
        let (wanted, published) = (running.wanted(), Arc::clone(&stats));
        let thread = std::thread::Builder::new()
            .name("redtap-metadata".to_owned())
            .spawn(move || feeder.run(&wanted, &stopped, &published))?;
        Ok(Self { stop, stats, thread })
    }

    /// What the resolver did so far.
    #[must_use]
    pub fn stats(&self) -> ResolverStats {
        *self.stats.lock()
    }

    /// Ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// How long to wait after a round that took so long.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(PAUSE).clamp(ROUND, LONGEST_PAUSE)
}

struct Feeder {
    shards: Vec<ShardControls>,
    resolver: Resolver,
    registry: Arc<Registry>,
    settings: FeedSettings,
    addresses: BTreeSet<IpAddr>,
    names: BTreeMap<IpAddr, String>,
    /// When an identity was last seen with a process.
    shown: HashMap<Arc<Identity>, Nanos>,
    /// Service of a listening socket.
    owned: BTreeMap<Listener, Box<str>>,
    /// Processes whose descriptors were looked at.
    searched: BTreeSet<u32>,
    rounds: u64,
}

impl Feeder {
    fn run(mut self, wanted: &Receiver<WantedBy>, stopped: &Receiver<()>, published: &Mutex<ResolverStats>) {
        let mut next = clock::monotonic() + nanos(ROUND);
        loop {
            let wait = Duration::from_nanos(next.since(clock::monotonic()).0);
            crossbeam_channel::select! {
                recv(wanted) -> asked => match asked {
                    Ok(asked) => self.answer(&asked),
                    // The topology has ended.
                    Err(_) => return,
                },
                recv(stopped) -> _ => return,
                default(wait) => {}
            }
            if clock::monotonic() >= next {
                let before = clock::thread_cpu();
                self.round();
                let took = Duration::from_nanos(clock::thread_cpu().since(before).0);
                next = clock::monotonic() + nanos(pause(took));
            }
            *published.lock() = self.resolver.stats();
        }
    }

    fn answer(&mut self, asked: &WantedBy) {
        let mut facts = Vec::with_capacity(asked.processes.len());
        for wanted in &asked.processes {
            match self.resolver.look_up(wanted.pid) {
                Some(found) => {
                    self.show(&found.identity);
                    facts.push(Fact::Process { pid: wanted.pid, identity: found.identity });
                }
                None => {
                    let identity = self.resolver.by_name(&comm(wanted));
                    self.show(&identity);
                    facts.push(Fact::Process { pid: wanted.pid, identity });
                    facts.push(Fact::ProcessGone { pid: wanted.pid });
                }
            }
        }
        if let Some(shard) = self.shards.get(asked.shard) {
            tell(shard, &facts);
        }
    }

    fn show(&mut self, identity: &Arc<Identity>) {
        if self.shown.insert(Arc::clone(identity), clock::monotonic()).is_none() {
            self.registry.introduce(identity);
        }
    }

    fn round(&mut self) {
        let again = self.rounds.is_multiple_of(REPEAT);
        self.rounds += 1;
        let mut facts: Vec<Fact> = self.resolver.gone().into_iter().map(|pid| Fact::ProcessGone { pid }).collect();
        self.place_facts(again, &mut facts);
        for shard in &self.shards {
            tell(shard, &facts);
        }
        let listeners = local::listeners(&self.settings.proc, self.resolver.pids());
        self.listening_ports(&listeners);
        self.owners(&listeners, again);
        self.forget();
    }

    fn place_facts(&mut self, again: bool, facts: &mut Vec<Fact>) {
        let addresses = local::addresses(&self.settings.proc);
        facts.extend(
            addresses.iter().filter(|ip| again || !self.addresses.contains(ip)).map(|&ip| Fact::LocalAddress { ip }),
        );
        self.addresses = addresses;
        let names: BTreeMap<IpAddr, String> = hosts::load(&self.settings.hosts).into_iter().rev().collect();
        let name = |ip: IpAddr, name: &str| Fact::Name { ip, name: name.into(), source: NameSource::Hosts };
        facts.extend(self.names.keys().filter(|ip| !names.contains_key(ip)).map(|&ip| name(ip, "")));
        let news = names.iter().filter(|(ip, name)| again || self.names.get(ip) != Some(name));
        facts.extend(news.map(|(&ip, text)| name(ip, text)));
        self.names = names;
    }

    fn listening_ports(&self, listeners: &BTreeSet<Listener>) {
        let mut ports = ListeningPorts::default();
        for one in listeners {
            ports.insert(one.address.ip(), one.address.port());
        }
        let ports = Arc::new(ports);
        for shard in &self.shards {
            let ports = Arc::clone(&ports);
            // Refused: the queue is full or the stage has ended; the next round says it again.
            let _ = shard.decode.apply(move |decode| decode.set_listeners(ports));
        }
    }

    /// Tells all shards which service listens where, as far as its processes are known: the other end of a connection may
    /// be another shard's. Descriptors are looked at only while a listener has no owner yet.
    fn owners(&mut self, listeners: &BTreeSet<Listener>, again: bool) {
        if again {
            // A process may listen on more since; and those that are gone make room.
            self.searched.clear();
        }
        let news = self.search(listeners);
        let fact = |one: &Listener, service: &str| Fact::Listener {
            ip: one.address.ip(),
            port: one.address.port(),
            service: service.into(),
        };
        // Of several sockets at one address (a socket for each worker) one is enough to know it.
        let addresses: BTreeSet<_> = listeners.iter().map(|one| one.address).collect();
        let over = self.owned.keys().filter(|one| !addresses.contains(&one.address));
        let mut facts: Vec<Fact> = over.map(|one| fact(one, "")).collect();
        self.owned.retain(|one, _| listeners.contains(one));
        if again {
            facts.extend(self.owned.iter().map(|(one, service)| fact(one, service)));
        }
        facts.extend(news.iter().map(|(one, service)| fact(one, service)));
        self.owned.extend(news);
        for shard in &self.shards {
            tell(shard, &facts);
        }
    }

    /// Listeners whose owner was not known and is now.
    fn search(&mut self, listeners: &BTreeSet<Listener>) -> BTreeMap<Listener, Box<str>> {
        let orphans: HashMap<u64, Listener> =
            listeners.iter().filter(|one| !self.owned.contains_key(one)).map(|one| (one.inode, *one)).collect();
        let mut found = BTreeMap::new();
        if orphans.is_empty() {
            return found;
        }
        let Self { resolver, searched, settings, .. } = self;
        let fresh: Vec<_> = resolver.processes().filter(|(pid, _)| !searched.contains(pid)).take(SEARCHED).collect();
        for (pid, identity) in fresh {
            searched.insert(pid);
            let sockets = local::sockets(&settings.proc, pid);
            let owned = sockets.iter().filter_map(|inode| orphans.get(inode));
            found.extend(owned.map(|one| (*one, identity.service.clone())));
        }
        found
    }

    /// No longer shows identities whose processes are gone for long.
    fn forget(&mut self) {
        let now = clock::monotonic();
        for identity in self.resolver.identities() {
            if let Some(seen) = self.shown.get_mut(&identity) {
                *seen = now;
            }
        }
        let (registry, expiry) = (&self.registry, self.settings.expiry);
        self.shown.retain(|identity, seen| {
            let keep = now.since(*seen) <= expiry;
            if !keep {
                registry.dismiss(identity);
            }
            keep
        });
    }
}

fn comm(wanted: &Wanted) -> String {
    let bytes = wanted.comm.split(|&byte| byte == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(bytes).into_owned()
}

fn tell(shard: &ShardControls, facts: &[Fact]) {
    for chunk in facts.chunks(CHUNK) {
        let chunk = chunk.to_vec();
        // Refused: the queue is full or the stage has ended. `join` lets what waits go on by its thread name.
        let _ = shard.join.apply(move |join| {
            for fact in chunk {
                join.learn(fact);
            }
        });
    }
}

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_take_a_bounded_share_of_a_processor() {
        let millis = Duration::from_millis;
        assert_eq!(pause(millis(1)), ROUND);
        assert_eq!(pause(millis(50)), millis(5_000));
        assert_eq!(pause(millis(1_000)), LONGEST_PAUSE);
    }
}
