//! Loads a rung's programs, sizes their maps, attaches them, and gives out what user space reads.
//!
//! Life cycle: [`Probe::attach`] either returns a probe that sees everything its rung sees, or nothing is attached.
//! [`Probe::detach`] takes the programs off their hooks, so that what they left can be read to its end; dropping it does too. Nothing is pinned: programs, maps and links live by descriptors of this process alone, so the
//! kernel frees them after kill -9 too.
//!
//! Absent: reading of rings and slots (they are given out as map descriptors), decisions by content.

mod error;
mod options;
mod stats;
mod tuning;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aya::maps::{Map, MapData, PerCpuArray};
use aya::{Btf, Ebpf, EbpfLoader};

pub use self::error::{ProbeError, RungFailure};
pub use self::options::{ProbeOptions, RungChoice};
pub use self::stats::{ProgramStats, RunStats, RunTimes, Runs, measuring_ns};
pub use self::tuning::Tuning;
use crate::filters::{Filters, MAX_ENTRIES};
use crate::losses::{COUNTERS, Losses, SETS};
use crate::rungs::Rung;
pub use crate::rungs::StepError;

/// Names of the ring maps, by shard.
const RINGS: [&str; redtap_stages::abi::MAX_SHARDS] =
    ["ring0", "ring1", "ring2", "ring3", "ring4", "ring5", "ring6", "ring7"];
/// Inode number of the first pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INIT_PID_NAMESPACE: u32 = 0xEFFF_FFFC;

/// Attached programs and the maps they share with user space.
pub struct Probe {
    rung: Rung,
    skipped: Vec<RungFailure>,
    rings: Vec<OwnedFd>,
    slots: OwnedFd,
    dirty: OwnedFd,
    verdict: OwnedFd,
    counters: PerCpuArray<MapData, u64>,
    dial: tuning::Dial,
    programs: Vec<(String, OwnedFd)>,
    ring_bytes: u32,
    slot_count: u32,
    /// Holds the links; dropping it detaches. None once that is done.
    attached: Mutex<Option<Ebpf>>,
}

impl Probe {
    /// Loads and attaches the chosen rung, or the first of the ladder that attaches.
    ///
    /// # Errors
    /// [`ProbeError`]: no BTF, or for each rung that was tried the step that failed, the kernel's words, and what to do.
    pub fn attach(options: &ProbeOptions) -> Result<Self, ProbeError> {
        let sizes = options.sizes()?;
        let btf = Btf::from_sys_fs().map_err(|source| ProbeError::NoBtf { source: Box::new(source) })?;
        lift_memlock();
        let wanted: &[Rung] = match options.rung {
            RungChoice::Auto => &Rung::LADDER,
            RungChoice::Socket => &[Rung::Socket],
            RungChoice::Syscall => &[Rung::Syscall],
        };
        let mut skipped = Vec::new();
        for rung in wanted {
            match Self::attach_rung(*rung, options, &sizes, &btf) {
                Ok(mut probe) => {
                    probe.skipped = skipped;
                    return Ok(probe);
                }
                Err(step) => skipped.push(RungFailure { rung: *rung, step }),
            }
        }
        Err(ProbeError::NoRung { tried: skipped.into() })
    }

    fn attach_rung(rung: Rung, options: &ProbeOptions, sizes: &Sizes, btf: &Btf) -> Result<Self, StepError> {
        let mut ebpf = load(rung, options, sizes, btf)?;
        let rings = RINGS.iter().take(sizes.shards).map(|name| map_fd(&ebpf, name)).collect::<Result<_, _>>()?;
        let (slots, dirty) = (map_fd(&ebpf, "rt_slots")?, map_fd(&ebpf, "rt_dirty")?);
        let verdict = map_fd(&ebpf, "rt_verdict")?;
        let counters = ebpf.take_map("rt_counters").ok_or(StepError::Missing { what: "rt_counters" })?;
        let counters = PerCpuArray::try_from(counters).map_err(|source| StepError::Map { source })?;
        let dial = tuning::Dial::new(ebpf.take_map("rt_tuning").ok_or(StepError::Missing { what: "rt_tuning" })?)?;
        rung.attach(&mut ebpf, btf)?;
        let mut programs = Vec::new();
        for (name, program) in ebpf.programs() {
            let fd = program.fd().map_err(|source| StepError::program("program descriptor", source))?;
            let fd = fd.as_fd().try_clone_to_owned().map_err(|source| StepError::Descriptor { source })?;
            programs.push((name.to_owned(), fd));
        }
        Ok(Self {
            rung,
            skipped: Vec::new(),
            rings,
            slots,
            dirty,
            verdict,
            counters,
            dial,
            programs,
            ring_bytes: sizes.ring_bytes,
            slot_count: sizes.slots,
            attached: Mutex::new(Some(ebpf)),
        })
    }

    /// Takes the programs off their hooks and waits for those that are running: from then on no record is written and no
    /// counter moves. What they left is read as before. Does nothing the second time.
    pub fn detach(&self) {
        let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(links) = attached {
            drop(links);
            wait_for_running();
        }
    }

    /// The rung that runs.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Better rungs that did not attach, and why.
    #[must_use]
    pub fn skipped(&self) -> &[RungFailure] {
        &self.skipped
    }

    /// Number of rings in use.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.rings.len()
    }

    /// Descriptor of a shard's ring map; `None` beyond [`Probe::shards`].
    #[must_use]
    pub fn ring_fd(&self, shard: usize) -> Option<BorrowedFd<'_>> {
        self.rings.get(shard).map(AsFd::as_fd)
    }

    /// Bytes of each ring, a power of two.
    #[must_use]
    pub fn ring_bytes(&self) -> usize {
        self.ring_bytes as usize
    }

    /// Descriptor of the mappable array of slots.
    #[must_use]
    pub fn slots_fd(&self) -> BorrowedFd<'_> {
        self.slots.as_fd()
    }

    /// Descriptor of the mappable array of dirty bits, a word of 64 an entry.
    #[must_use]
    pub fn dirty_fd(&self) -> BorrowedFd<'_> {
        self.dirty.as_fd()
    }

    /// Descriptor of the mappable array of verdict words.
    #[must_use]
    pub fn verdict_fd(&self) -> BorrowedFd<'_> {
        self.verdict.as_fd()
    }

    /// Slots, a power of two.
    #[must_use]
    pub fn slot_count(&self) -> usize {
        self.slot_count as usize
    }

    /// What the programs counted so far. A counter that cannot be read counts as 0.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let mut words = [0_u64; COUNTERS];
        for (counter, word) in words.iter_mut().enumerate() {
            for set in 0..SETS {
                let key = u32::try_from(set * COUNTERS + counter).unwrap_or(u32::MAX);
                if let Ok(values) = self.counters.get(&key, 0) {
                    *word = values.iter().fold(*word, |sum, value| sum.wrapping_add(*value));
                }
            }
        }
        let missed = self.program_stats().iter().map(|program| program.missed).sum();
        Losses::from_words(words, missed)
    }

    /// Run time and count of each program; `None` while `kernel.bpf_stats_enabled` is 0.
    #[must_use]
    pub fn run_stats(&self) -> Option<RunStats> {
        stats::enabled().then(|| RunStats { programs: self.program_stats() })
    }

    /// Keeps the run times of all BPF programs of the machine until the answer is dropped. Costs each of their runs two
    /// readings of the clock (kernel/bpf/syscall.c `bpf_enable_runtime_stats`), so hold it for moments only.
    ///
    /// # Errors
    /// When the kernel refuses (before 5.8, or without `CAP_SYS_ADMIN`).
    pub fn time_runs(&self) -> std::io::Result<RunTimes<'_>> {
        RunTimes::start(self)
    }

    /// Asks for `tuning` from the next operation of each connection on, and sampling from its next request on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tune(&self, tuning: Tuning) -> Result<(), StepError> {
        self.dial.set(tuning)
    }

    /// Names of the attached programs.
    pub fn program_names(&self) -> impl Iterator<Item = &str> {
        self.programs.iter().map(|(name, _)| name.as_str())
    }

    fn program_stats(&self) -> Vec<ProgramStats> {
        self.programs.iter().map(|(name, fd)| stats::of_program(name, fd.as_fd())).collect()
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("rung", &self.rung).field("shards", &self.rings.len()).finish_non_exhaustive()
    }
}

/// Sizes after checking, see [`ProbeOptions::sizes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) shards: usize,
    pub(crate) ring_bytes: u32,
    pub(crate) slots: u32,
    pub(crate) connections: u32,
    pub(crate) page: u32,
}

/// The object with its maps made, constants written, programs not yet loaded.
fn load(rung: Rung, options: &ProbeOptions, sizes: &Sizes, btf: &Btf) -> Result<Ebpf, StepError> {
    let filters = FilterConstants::of(&options.filters);
    let shards = u32::try_from(sizes.shards).unwrap_or(1);
    let (slot_mask, wake) = (sizes.slots - 1, u64::from(options.wake_bytes));
    let (class_in, class_out) = (u32::from(options.ingress_class), u32::from(options.egress_class));
    let (agent_pid, agent_pidns) = (std::process::id(), own_pid_namespace());
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global("rt_shards", &shards, true)
        .override_global("rt_slot_mask", &slot_mask, true)
        .override_global("rt_class_in", &class_in, true)
        .override_global("rt_class_out", &class_out, true)
        .override_global("rt_wake_bytes", &wake, true)
        .override_global("rt_capacity", &sizes.connections, true)
        .override_global("rt_agent_pid", &agent_pid, true)
        .override_global("rt_agent_pidns", &agent_pidns, true)
        .map_max_entries("rt_slots", sizes.slots)
        .map_max_entries("rt_verdict", sizes.slots)
        .map_max_entries("rt_dirty", sizes.slots.div_ceil(64));
    for (shard, name) in RINGS.iter().enumerate() {
        loader.map_max_entries(name, if shard < sizes.shards { sizes.ring_bytes } else { sizes.page });
    }
    if rung == Rung::Syscall {
        loader.map_max_entries("rt_conns", sizes.connections);
    }
    filters.write(&mut loader);
    loader.load(rung.object()).map_err(StepError::load)
}

/// The filters as the words that the programs declare (`bpf/filter.h`).
struct FilterConstants<'a> {
    filters: &'a Filters,
    names: [u64; 2 * MAX_ENTRIES],
}

impl<'a> FilterConstants<'a> {
    fn of(filters: &'a Filters) -> Self {
        let mut names = [0; 2 * MAX_ENTRIES];
        let halves = filters.names.entries.iter().flat_map(|name| {
            let word = u128::from_ne_bytes(*name).to_ne_bytes();
            let (low, high) = word.split_at(8);
            [low, high].map(|half| half.try_into().map_or(0, u64::from_ne_bytes))
        });
        for (to, half) in names.iter_mut().zip(halves) {
            *to = half;
        }
        Self { filters, names }
    }

    fn write<'b>(&'b self, loader: &mut EbpfLoader<'b>) {
        let Filters { cgroups, pid_namespaces, pids, names, ports } = self.filters;
        loader
            .override_global("rt_cgroup_n", &cgroups.count, true)
            .override_global("rt_cgroup_deny", &cgroups.deny, true)
            .override_global("rt_cgroup_list", &cgroups.entries, true)
            .override_global("rt_pidns_n", &pid_namespaces.count, true)
            .override_global("rt_pidns_deny", &pid_namespaces.deny, true)
            .override_global("rt_pidns_list", &pid_namespaces.entries, true)
            .override_global("rt_pid_n", &pids.count, true)
            .override_global("rt_pid_deny", &pids.deny, true)
            .override_global("rt_pid_list", &pids.entries, true)
            .override_global("rt_comm_n", &names.count, true)
            .override_global("rt_comm_deny", &names.deny, true)
            .override_global("rt_comm_list", &self.names, true)
            .override_global("rt_port_n", &ports.count, true)
            .override_global("rt_port_deny", &ports.deny, true)
            .override_global("rt_port_list", &ports.entries, true);
    }
}

/// Waits until every program that was running when this was called is over: they run in RCU sections, and membarrier(2) with
/// `MEMBARRIER_CMD_GLOBAL` waits for those (kernel/sched/membarrier.c calls `synchronize_rcu`). Where it is refused, a time that
/// is long for a program.
fn wait_for_running() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointer is passed.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Descriptor of a map, of our own.
fn map_fd(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, StepError> {
    let data = match ebpf.map(name) {
        Some(Map::RingBuf(data) | Map::Array(data)) => data,
        _ => return Err(StepError::Missing { what: name }),
    };
    data.fd().as_fd().try_clone_to_owned().map_err(|source| StepError::Descriptor { source })
}

/// Inode number of the agent's own pid namespace; the first one where /proc does not say.
fn own_pid_namespace() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/ns/pid")
        .ok()
        .and_then(|meta| u32::try_from(meta.ino()).ok())
        .unwrap_or(INIT_PID_NAMESPACE)
}

/// Kernels before 5.11 charge maps to `RLIMIT_MEMLOCK`. A refusal shows when the maps are made.
fn lift_memlock() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}
