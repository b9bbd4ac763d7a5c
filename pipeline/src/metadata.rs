//! Metadata: what processes are, what listens here, what addresses are called. Off the data path.
//!
//! [`Resolver`] answers one question at a time and caches; [`local`] and [`hosts`] read tables of this host. Who asks, and
//! how often, is the business of [`feed`].
//!
//! **Invariant:** of a process's environment only [`service::VARIABLES`] are kept. No process is stopped, traced or
//! signalled; everything is read from `/proc`.
//!
//! Bounds: [`MAX_PROCESSES`] cached processes (the one asked for longest ago makes room), [`MAX_READ`] bytes of a file.

pub mod container;
mod diag;
pub mod feed;
pub mod hosts;
pub mod local;
mod process;
pub mod service;

use container::Container;
use redtap_stages::flow::joined::Identity;
use service::Evidence;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most processes remembered.
pub const MAX_PROCESSES: usize = 16_384;
/// Most processes whose descriptors are looked at before anything is attached.
pub const MAX_SEARCHED: usize = 4_096;
/// Most bytes read of one file.
pub const MAX_READ: usize = 256 * 1024;

/// Where to look, and what was configured.
#[derive(Debug, Clone)]
pub struct ResolverSettings {
    /// The proc file system.
    pub proc: PathBuf,
    /// Where Docker keeps what it knows of containers.
    pub docker: PathBuf,
    /// Service names by process name.
    pub services: BTreeMap<String, String>,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            docker: PathBuf::from("/var/lib/docker/containers"),
            services: BTreeMap::new(),
        }
    }
}

/// A process that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// When it started, clock ticks since boot.
    pub start: u64,
    /// Who it is.
    pub identity: Arc<Identity>,
}

/// What the resolver did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResolverStats {
    /// Processes looked at.
    pub looked_up: u64,
    /// Of these, gone before they could be looked at.
    pub missed: u64,
    /// Processes that gave way to others in the cache.
    pub evicted: u64,
    /// Processes remembered now.
    pub known: u64,
}

/// The processes known at one moment, to be looked at without holding up who asks.
#[derive(Debug)]
pub(super) struct Survey {
    proc: PathBuf,
    known: Vec<(u32, u64)>,
}

impl Survey {
    pub(super) fn of(resolver: &Resolver) -> Self {
        let known = resolver.known.iter().map(|(&pid, known)| (pid, known.found.start)).collect();
        Self { proc: resolver.settings.proc.clone(), known }
    }

    /// Pid and former start of those that are gone, or are others by now.
    pub(super) fn gone(&self) -> Vec<(u32, u64)> {
        let gone = |&&(pid, start): &&(u32, u64)| process::start(&self.proc, pid) != Some(start);
        self.known.iter().filter(gone).copied().collect()
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        self.known.iter().map(|&(pid, _)| pid)
    }
}

#[derive(Debug)]
struct Known {
    found: Found,
    asked: u64,
}

/// Finds out who processes are.
#[derive(Debug)]
pub struct Resolver {
    settings: ResolverSettings,
    host: Box<str>,
    known: HashMap<u32, Known>,
    /// One `Arc` an identity: the workers of a server share it.
    identities: HashMap<Identity, std::sync::Weak<Identity>>,
    containers: HashMap<String, String>,
    asked: u64,
    stats: ResolverStats,
}

impl Resolver {
    /// A resolver that knows nothing yet.
    #[must_use]
    pub fn new(settings: ResolverSettings) -> Self {
        let host = process::read_text(&settings.proc.join("sys/kernel/hostname")).unwrap_or_default();
        Self {
            settings,
            host: host.trim().into(),
            known: HashMap::new(),
            identities: HashMap::new(),
            containers: HashMap::new(),
            asked: 0,
            stats: ResolverStats::default(),
        }
    }

    /// Who `pid` is now; `None` if it is gone.
    pub fn look_up(&mut self, pid: u32) -> Option<Found> {
        self.asked += 1;
        self.stats.looked_up += 1;
        let Some(start) = self.start(pid) else {
            self.stats.missed += 1;
            self.known.remove(&pid);
            return None;
        };
        let evidence = process::evidence(&self.settings.proc, pid);
        // Started anew between the two reads: then what was read is not to be trusted.
        if self.start(pid) != Some(start) {
            self.stats.missed += 1;
            return None;
        }
        let found = Found { start, identity: self.identity(&evidence) };
        // What is known is replaced: a process may have become another program since (exec).
        if !self.known.contains_key(&pid) {
            self.make_room();
        }
        self.known.insert(pid, Known { found: found.clone(), asked: self.asked });
        Some(found)
    }

    /// An identity for a process that is gone: all that is left of it is the name of its thread.
    pub fn by_name(&mut self, comm: &str) -> Arc<Identity> {
        self.identity(&Evidence { comm: comm.to_owned(), ..Evidence::default() })
    }

    /// The processes that were known and are gone, or are others by now. They are forgotten.
    pub fn gone(&mut self) -> Vec<u32> {
        let gone = Survey::of(self).gone();
        self.forget(&gone)
    }

    /// Forgets processes, by pid and start, that a [`Survey`] found gone, and says which those were: one that was looked up
    /// again since then stays.
    pub(super) fn forget(&mut self, gone: &[(u32, u64)]) -> Vec<u32> {
        let mut forgotten = Vec::new();
        for (pid, start) in gone {
            if self.known.get(pid).is_some_and(|known| known.found.start == *start) {
                self.known.remove(pid);
                forgotten.push(*pid);
            }
        }
        self.identities.retain(|_, identity| identity.strong_count() > 0);
        forgotten
    }

    /// Looks up the processes that hold listening sockets now, so that servers are known by name before their first
    /// request is seen. Looks at the descriptors of at most [`MAX_SEARCHED`] processes.
    pub fn know_listeners(&mut self) {
        let pids: Vec<u32> = process::all(&self.settings.proc).take(MAX_SEARCHED).collect();
        let listeners = local::listeners(&self.settings.proc, pids.iter().copied());
        let inodes: HashSet<u64> = listeners.iter().map(|one| one.inode).collect();
        for pid in pids {
            if local::sockets(&self.settings.proc, pid).iter().any(|inode| inodes.contains(inode)) {
                self.look_up(pid);
            }
        }
    }

    /// The processes known and who they are.
    pub fn processes(&self) -> impl Iterator<Item = (u32, &Arc<Identity>)> {
        self.known.iter().map(|(&pid, known)| (pid, &known.found.identity))
    }

    /// The identities that have a process now; each may come several times.
    pub fn identities(&self) -> impl Iterator<Item = Arc<Identity>> + '_ {
        self.known.values().map(|known| Arc::clone(&known.found.identity))
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> ResolverStats {
        ResolverStats { known: self.known.len() as u64, ..self.stats }
    }

    fn start(&self, pid: u32) -> Option<u64> {
        process::start(&self.settings.proc, pid)
    }

    fn make_room(&mut self) {
        if self.known.len() < MAX_PROCESSES {
            return;
        }
        if let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.asked).map(|(&pid, _)| pid) {
            self.known.remove(&oldest);
            self.stats.evicted += 1;
        }
    }

    fn identity(&mut self, evidence: &Evidence) -> Arc<Identity> {
        let mut evidence = evidence.clone();
        evidence.container_name = self.container_name(&evidence.container);
        let name = service::name(&evidence, &self.settings.services);
        let process = if evidence.executable.is_empty() { &evidence.comm } else { &evidence.executable };
        let identity = Identity {
            service: name.service.into(),
            namespace: name.namespace.into(),
            container: evidence.container.id.as_str().into(),
            pod: service::pod(&evidence)
                .filter(|_| !evidence.container.pod_uid.is_empty())
                .unwrap_or(&evidence.container.pod_uid)
                .into(),
            process: process.as_str().into(),
            host: self.host.clone(),
        };
        if let Some(shared) = self.identities.get(&identity).and_then(std::sync::Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(identity.clone());
        if self.identities.len() >= MAX_PROCESSES {
            self.identities.retain(|_, identity| identity.strong_count() > 0);
        }
        self.identities.insert(identity, Arc::downgrade(&shared));
        shared
    }

    /// The name that Docker gave to a container, read once a container.
    fn container_name(&mut self, container: &Container) -> String {
        if container.id.is_empty() {
            return String::new();
        }
        if let Some(name) = self.containers.get(&container.id) {
            return name.clone();
        }
        let path = self.settings.docker.join(&container.id).join("config.v2.json");
        let name = docker_name(&path).unwrap_or_default();
        if self.containers.len() >= MAX_PROCESSES {
            self.containers.clear();
        }
        self.containers.insert(container.id.clone(), name.clone());
        name
    }
}

fn docker_name(path: &Path) -> Option<String> {
    let text = process::read_text(path)?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    let name = value.get("Name")?.as_str()?.trim_start_matches('/');
    Some(name.to_owned()).filter(|name| !name.is_empty())
}

/// The first [`MAX_READ`] bytes of a file. Files in `/proc` have no length, so that this reads until the end.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_READ as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
