//! Feeds the stages with metadata: answers what `join` asks, and says from time to time what listens and is called what.
//!
//! Two threads. One answers questions and does nothing else: an answer that comes late costs a service its name. The other
//! looks every [`ROUND`] (less often where a round costs much, see [`PAUSE`]) which processes are gone, what listens and which addresses there are, and tells all shards; on a
//! large host that takes a while. Facts are said again every [`REPEAT`], because a stage that was started anew knows none.
//!
//! **Invariant:** the resolver is locked for as long as one process is looked at, never for a table of the host.
//!
//! Bounds: those of [`super::Resolver`]; a stage that takes no more is told in the next round.

use super::local::{self, Listener};
use super::{Resolver, ResolverStats, Survey, hosts};
use crate::clock;
use crate::registry::Registry;
use crate::topology::{Running, ShardControls, WantedBy};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;
use redtap_stages::decode::ListeningPorts;
use redtap_stages::flow::joined::Identity;
use redtap_stages::join::{Fact, Wanted};
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

/// The running threads.
#[derive(Debug)]
pub struct Feed {
    stop: Sender<()>,
    resolver: Arc<Mutex<Resolver>>,
    threads: Vec<JoinHandle<()>>,
}

impl Feed {
    /// Starts feeding `running`; identities are shown by `registry`. The processes that `resolver` knows already are told
    /// first, then questions are answered; the first round is done before this returns, so that the roles of old
    /// connections are known from the first event on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        running: &Running,
        resolver: Resolver,
        registry: Arc<Registry>,
        settings: FeedSettings,
    ) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(1);
        let shards: Vec<_> = (0..running.shards()).filter_map(|shard| running.controls(shard)).collect();
        let known = |(pid, identity): (u32, &Arc<Identity>)| Fact::Process { pid, identity: Arc::clone(identity) };
        let facts: Vec<Fact> = resolver.processes().map(known).collect();
        shards.iter().for_each(|shard| tell(shard, &facts));
        let resolver = Arc::new(Mutex::new(resolver));
        let shown = Arc::new(Mutex::new(HashMap::new()));
        let answers = Answers {
            shards: shards.clone(),
            resolver: Arc::clone(&resolver),
            registry: Arc::clone(&registry),
            shown: Arc::clone(&shown),
        };
        let (wanted, over) = (running.wanted(), stopped.clone());
        let thread = std::thread::Builder::new().name("redtap-lookups".to_owned());
        let lookups = thread.spawn(move || answers.run(&wanted, &over))?;
        let mut feeder = Feeder {
            shards,
            resolver: Arc::clone(&resolver),
            registry,
            settings,
            addresses: BTreeSet::new(),
            names: BTreeMap::new(),
            shown,
            owned: BTreeMap::new(),
            searched: BTreeSet::new(),
            rounds: 0,
        };
        feeder.round();
        let thread = std::thread::Builder::new().name("redtap-metadata".to_owned());
        let rounds = thread.spawn(move || feeder.run(&stopped))?;
        Ok(Self { stop, resolver, threads: vec![lookups, rounds] })
    }

    /// What the resolver did so far.
    #[must_use]
    pub fn stats(&self) -> ResolverStats {
        self.resolver.lock().stats()
    }

    /// Ends the threads.
    pub fn stop(self) {
        drop(self.stop);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// How long to wait after a round that took so long.
fn pause(took: Duration) -> Duration {
    took.saturating_mul(PAUSE).clamp(ROUND, LONGEST_PAUSE)
}

/// When an identity was last seen with a process.
type ShownIdentities = HashMap<Arc<Identity>, Nanos>;

/// Answers what `join` asks.
struct Answers {
    shards: Vec<ShardControls>,
    resolver: Arc<Mutex<Resolver>>,
    registry: Arc<Registry>,
    shown: Arc<Mutex<ShownIdentities>>,
}

struct Feeder {
    shards: Vec<ShardControls>,
    resolver: Arc<Mutex<Resolver>>,
    registry: Arc<Registry>,
    settings: FeedSettings,
    addresses: BTreeSet<IpAddr>,
    names: BTreeMap<IpAddr, String>,
    shown: Arc<Mutex<ShownIdentities>>,
    /// Service of a listening socket.
    owned: BTreeMap<Listener, Box<str>>,
    /// Processes whose descriptors were looked at.
    searched: BTreeSet<u32>,
    rounds: u64,
}

impl Answers {
    fn run(self, wanted: &Receiver<WantedBy>, stopped: &Receiver<()>) {
        loop {
            crossbeam_channel::select! {
                recv(wanted) -> asked => match asked {
                    Ok(asked) => self.answer(&asked),
                    // The topology has ended.
                    Err(_) => return,
                },
                recv(stopped) -> _ => return,
            }
        }
    }

    fn answer(&self, asked: &WantedBy) {
        let mut facts = Vec::with_capacity(asked.processes.len());
        for wanted in &asked.processes {
            let found = self.resolver.lock().look_up(wanted.pid);
            match found {
                Some(found) => {
                    self.show(&found.identity);
                    facts.push(Fact::Process { pid: wanted.pid, identity: found.identity });
                }
                None => {
                    let identity = self.resolver.lock().by_name(&comm(wanted));
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

    fn show(&self, identity: &Arc<Identity>) {
        if self.shown.lock().insert(Arc::clone(identity), clock::monotonic()).is_none() {
            self.registry.introduce(identity);
        }
    }
}

impl Feeder {
    /// Until the feed is stopped.
    fn run(mut self, stopped: &Receiver<()>) {
        let mut wait = ROUND;
        while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let before = clock::thread_cpu();
            self.round();
            wait = pause(Duration::from_nanos(clock::thread_cpu().since(before).0));
        }
    }

    fn round(&mut self) {
        let again = self.rounds.is_multiple_of(REPEAT);
        self.rounds += 1;
        let survey = Survey::of(&self.resolver.lock());
        let gone = survey.gone();
        let gone = self.resolver.lock().forget(&gone);
        let mut facts: Vec<Fact> = gone.into_iter().map(|pid| Fact::ProcessGone { pid }).collect();
        self.place_facts(again, &mut facts);
        for shard in &self.shards {
            tell(shard, &facts);
        }
        let listeners = local::listeners(&self.settings.proc, survey.pids());
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
        let name = |ip: IpAddr, name: &str| Fact::Name { ip, name: name.into() };
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
        let fresh: Vec<(u32, Arc<Identity>)> = resolver
            .lock()
            .processes()
            .filter(|(pid, _)| !searched.contains(pid))
            .map(|(pid, identity)| (pid, Arc::clone(identity)))
            .take(SEARCHED)
            .collect();
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
        let identities: Vec<_> = self.resolver.lock().identities().collect();
        let mut shown = self.shown.lock();
        for identity in identities {
            if let Some(seen) = shown.get_mut(&identity) {
                *seen = now;
            }
        }
        let (registry, expiry) = (&self.registry, self.settings.expiry);
        shown.retain(|identity, seen| {
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
