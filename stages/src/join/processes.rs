//! Which process is which service.
//!
//! Keyed by pid. A pid that shows another cgroup is another process; one that shows another thread name may be (exec, or
//! the number was given again), so it is asked about again, at most [`limits::MAX_PROCESS_COMMS`] times. Until it is
//! answered the process is *pending*; once the time for that is over it goes by its thread name, and an answer that comes
//! later still counts. A process may also be told of before it is seen: then that is its name until it is answered.
//!
//! Each process has a [`Version`] that moves when it may be called differently than before, so that what was found for one
//! process outlives news of the others.

use super::fact::Wanted;
use crate::flow::conn::Owner;
use crate::flow::joined::Identity;
use crate::limits;
use crate::recent::Recent;
use crate::symbol::{Interner, Symbol};
use crate::time::Nanos;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// Name of a service of which not even a thread name is known.
const NOBODY: &str = "unknown";

/// What a process is called.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) service: Symbol,
    /// Number of its identity, from 1; 0: none is known.
    pub(super) identity: u32,
}

/// Says whether a process may be called differently than before. [`Version::default`]: of a process that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Version(u64);

#[derive(Debug)]
struct Process {
    /// 0: told of, not seen yet.
    cgroup_id: u64,
    version: Version,
    comms: SmallVec<[[u8; 16]; 2]>,
    /// Not answered since then.
    asked: Option<Nanos>,
    named: Option<Named>,
    /// It ended then.
    gone: Option<Nanos>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Processes {
    table: Recent<u32, Process>,
    by_identity: HashMap<Arc<Identity>, u32, RandomState>,
    identities: Vec<Arc<Identity>>,
    wanted: Vec<Wanted>,
    ask: bool,
    hold: Nanos,
    /// The last version given; no process gets one twice, also not one that was forgotten meanwhile.
    versions: u64,
    by_comm: Recent<[u8; 16], Symbol>,
}

impl Processes {
    pub(super) fn new(ask: bool, hold: Nanos) -> Self {
        Self {
            table: Recent::new(limits::MAX_PROCESSES),
            by_identity: HashMap::default(),
            identities: Vec::new(),
            wanted: Vec::new(),
            ask,
            hold,
            versions: 0,
            by_comm: Recent::new(limits::MAX_PROCESSES),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Moves whenever any process may be called differently than before.
    pub(super) fn epoch(&self) -> u64 {
        self.versions
    }

    /// Moves whenever the process may be called differently than before.
    pub(super) fn version(&self, pid: u32) -> Version {
        self.table.peek(&pid).map(|process| process.version).unwrap_or_default()
    }

    pub(super) fn identities(&self) -> &[Arc<Identity>] {
        &self.identities
    }

    /// Moves the look-ups to be made into `out`.
    pub(super) fn wanted(&mut self, out: &mut Vec<Wanted>) {
        out.append(&mut self.wanted);
    }

    /// Takes note of `owner`, which did something at `at`, and asks about it if need be.
    pub(super) fn see(&mut self, now: Nanos, owner: &Owner, at: Nanos) {
        if !self.ask || owner.pid == 0 {
            return;
        }
        let versions = &mut self.versions;
        let process = self.table.get_or_put(owner.pid, || Process::new(owner.cgroup_id, next(versions)));
        if process.cgroup_id == 0 {
            process.cgroup_id = owner.cgroup_id;
        }
        let other = process.cgroup_id != owner.cgroup_id || process.gone.is_some_and(|gone| at > gone);
        if other {
            *process = Process::new(owner.cgroup_id, next(versions));
        }
        let is_new = !process.comms.contains(&owner.comm) && process.comms.len() < limits::MAX_PROCESS_COMMS;
        if is_new && self.wanted.len() < limits::MAX_WANTED {
            process.comms.push(owner.comm);
            process.asked = Some(now);
            self.wanted.push(Wanted { pid: owner.pid, cgroup_id: owner.cgroup_id, comm: owner.comm });
        }
    }

    /// What `owner` is called. `None`: that is being asked, and there is still time for an answer.
    pub(super) fn name(&mut self, now: Nanos, owner: &Owner, symbols: &mut Interner) -> Option<Named> {
        if let Some(process) = self.table.peek(&owner.pid) {
            if process.asked.is_some_and(|asked| now.since(asked) < self.hold) {
                return None;
            }
            if let Some(named) = &process.named {
                return Some(named.clone());
            }
        }
        Some(self.by_comm(owner, symbols))
    }

    /// What `owner` is called by its thread name alone, or by what it was called before.
    pub(super) fn name_now(&mut self, owner: &Owner, symbols: &mut Interner) -> Named {
        let known = self.table.peek(&owner.pid).and_then(|process| process.named.clone());
        known.unwrap_or_else(|| self.by_comm(owner, symbols))
    }

    fn by_comm(&mut self, owner: &Owner, symbols: &mut Interner) -> Named {
        let symbol = self.by_comm.get_or_put(owner.comm, || {
            let name = owner.name();
            symbols.intern(if name.is_empty() { NOBODY } else { name })
        });
        Named { service: symbol.clone(), identity: 0 }
    }

    /// The answer to a look-up, or what is known of a process that was not seen yet.
    pub(super) fn learn(&mut self, pid: u32, identity: Arc<Identity>, symbols: &mut Interner) {
        let number = self.number(&identity);
        let version = next(&mut self.versions);
        let process = self.table.get_or_put(pid, || Process::new(0, version));
        process.version = version;
        process.asked = None;
        process.gone = None;
        let named = !identity.service.is_empty();
        process.named = named.then(|| Named { service: symbols.intern(&identity.service), identity: number });
    }

    fn number(&mut self, identity: &Arc<Identity>) -> u32 {
        if let Some(&number) = self.by_identity.get(identity) {
            return number;
        }
        if self.identities.len() >= limits::MAX_IDENTITIES {
            return 0;
        }
        self.identities.push(Arc::clone(identity));
        let number = u32::try_from(self.identities.len()).unwrap_or(0);
        self.by_identity.insert(Arc::clone(identity), number);
        number
    }

    /// The process ended; also the answer to a look-up that found nobody.
    pub(super) fn gone(&mut self, now: Nanos, pid: u32) {
        if let Some(process) = self.table.get(&pid) {
            process.version = next(&mut self.versions);
            process.asked = None;
            // One that never had a name goes on by its thread name; asking again would give the same answer.
            process.gone = process.named.is_some().then_some(now);
        }
    }
}

impl Process {
    fn new(cgroup_id: u64, version: Version) -> Self {
        Self { cgroup_id, version, comms: SmallVec::new(), asked: None, named: None, gone: None }
    }
}

fn next(versions: &mut u64) -> Version {
    *versions += 1;
    Version(*versions)
}
