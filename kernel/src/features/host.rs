//! What files say of the machine and of this process: no attempt, no guess, and an answer even where a file is missing.

use std::fs;
use std::path::{Path, PathBuf};

/// Inode of the initial pid namespace: `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Inode of the initial user namespace: `PROC_USER_INIT_INO` of the same file.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// Places where the tracing file system is mounted, in the order of preference.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` has it.
    pub release: String,
    /// Major and minor number; zeros if the release does not begin with them.
    pub version: (u32, u32),
    /// As `uname -m` has it.
    pub machine: String,
}

/// Kernel lockdown, from `/sys/kernel/security/lockdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lockdown {
    /// Not in force.
    Off,
    /// The kernel cannot be changed; reading it is allowed.
    Integrity,
    /// Reading kernel memory is refused too.
    Confidentiality,
    /// The file is not there: no such module, or securityfs is not mounted.
    Unknown,
}

/// A capability that some part of redtap uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Loading programs and creating maps.
    Bpf,
    /// Programs that trace and read kernel memory.
    Perfmon,
    /// Stands for the two above, alone on kernels before 5.8.
    SysAdmin,
    /// Environment and descriptors of other users' processes.
    SysPtrace,
    /// The packet rung.
    NetRaw,
    /// Raising the limit of locked memory, on kernels before 5.11.
    SysResource,
}

impl Capability {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Bpf, Self::Perfmon, Self::SysAdmin, Self::SysPtrace, Self::NetRaw, Self::SysResource];

    /// Number, as in `include/uapi/linux/capability.h`.
    #[must_use]
    pub fn bit(self) -> u32 {
        match self {
            Self::NetRaw => 13,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::SysResource => 24,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    /// As users write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }

    /// What does not work without it.
    #[must_use]
    pub fn without(self) -> &'static str {
        match self {
            Self::Bpf => "no eBPF rung, unless CAP_SYS_ADMIN is there",
            Self::Perfmon => "no eBPF rung, unless CAP_SYS_ADMIN is there",
            Self::SysAdmin => "fine where CAP_BPF and CAP_PERFMON are there; no eBPF rung on kernels before 5.8",
            Self::SysPtrace => "services of other users are named by process name only",
            Self::NetRaw => "no packet rung",
            Self::SysResource => "on kernels before 5.11 set `ulimit -l unlimited`",
        }
    }
}

/// What this process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// A seccomp filter is in force.
    pub seccomp: bool,
    /// In a user namespace other than the initial one, where capabilities do not count for bpf(2).
    pub namespaced: bool,
}

impl Privileges {
    /// Whether `capability` is effective.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.effective >> capability.bit() & 1 == 1
    }
}

/// Kernel settings; `None` where the file is not there or not readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i64>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i64>,
    /// `kernel.bpf_stats_enabled`: whether the kernel counts the run time of programs.
    pub bpf_stats_enabled: Option<i64>,
    /// `net.core.bpf_jit_enable`.
    pub bpf_jit_enable: Option<i64>,
}

/// Mounts and namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// A cgroup v1 hierarchy is mounted.
    pub cgroup_v1: bool,
    /// Where cgroup v2 is mounted.
    pub cgroup_v2: Option<PathBuf>,
    /// Where the tracing file system is mounted and readable.
    pub tracefs: Option<PathBuf>,
    /// Not mounted, but the kernel has it and there is a place: who may mount can have it for the moment of attaching.
    pub tracefs_mountable: bool,
    /// The mounted tracing file system has the system calls' tracepoints.
    pub syscall_tracepoints: bool,
    /// Inode of the pid namespace; `None` if it cannot be read.
    pub pid_namespace: Option<u64>,
    /// kprobes can be created.
    pub kprobes: bool,
}

impl Places {
    /// Whether the pid namespace is the machine's own; in another one, only its processes are seen by number.
    #[must_use]
    pub fn initial_pid_namespace(&self) -> bool {
        self.pid_namespace == Some(INITIAL_PID_NAMESPACE)
    }

    pub(super) fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let (cgroup_v1, cgroup_v2) = cgroups(&mounts);
        let tracefs = TRACEFS.iter().map(Path::new).find(|place| place.join("events").is_dir());
        let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let known = kinds.lines().any(|line| line.split_whitespace().last() == Some("tracefs"));
        let read_exit = "events/syscalls/sys_exit_read/id";
        Self {
            cgroup_v1,
            cgroup_v2,
            tracefs: tracefs.map(Path::to_path_buf),
            tracefs_mountable: tracefs.is_none() && known && TRACEFS.iter().any(|place| Path::new(place).is_dir()),
            syscall_tracepoints: tracefs.is_some_and(|place| fs::read(place.join(read_exit)).is_ok()),
            pid_namespace: namespace("pid"),
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe/type").exists(),
        }
    }
}

impl Kernel {
    pub(super) fn running() -> Self {
        let name = rustix::system::uname();
        let release = name.release().to_string_lossy().into_owned();
        Self { version: version(&release), release, machine: name.machine().to_string_lossy().into_owned() }
    }
}

impl Lockdown {
    pub(super) fn current() -> Self {
        fs::read_to_string("/sys/kernel/security/lockdown").map_or(Self::Unknown, |text| lockdown(&text))
    }
}

impl Privileges {
    pub(super) fn own() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            effective: field(&status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0),
            seccomp: field(&status, "Seccomp:").is_some_and(|mode| mode != "0"),
            namespaced: namespace("user").is_some_and(|inode| inode != INITIAL_USER_NAMESPACE),
        }
    }
}

impl Settings {
    pub(super) fn current() -> Self {
        Self {
            unprivileged_bpf_disabled: setting("kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: setting("kernel/perf_event_paranoid"),
            bpf_stats_enabled: setting("kernel/bpf_stats_enabled"),
            bpf_jit_enable: setting("net/core/bpf_jit_enable"),
        }
    }
}

fn setting(name: &str) -> Option<i64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// Inode of a namespace of this process.
fn namespace(name: &str) -> Option<u64> {
    let link = fs::read_link(Path::new("/proc/self/ns").join(name)).ok()?;
    let text = link.to_str()?;
    text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

/// The first word of the line of a `/proc/PID/status` that begins with `name`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn lockdown(text: &str) -> Lockdown {
    match text.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        Some(("none", _)) => Lockdown::Off,
        Some(("integrity", _)) => Lockdown::Integrity,
        Some(("confidentiality", _)) => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

/// Whether cgroup v1 is mounted, and where v2 is.
fn cgroups(mounts: &str) -> (bool, Option<PathBuf>) {
    let mounted = |kind: &'static str| {
        mounts.lines().filter_map(move |line| {
            let mut words = line.split(' ').skip(1);
            let place = words.next()?;
            (words.next()? == kind).then_some(place)
        })
    };
    (mounted("cgroup").next().is_some(), mounted("cgroup2").next().map(PathBuf::from))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_releases_as_distributions_write_them() {
        assert_eq!(version("6.18.44"), (6, 18));
        assert_eq!(version("5.15.0-91-generic"), (5, 15));
        assert_eq!(version("6.12-rc1"), (6, 12));
        assert_eq!(version(""), (0, 0));
        assert_eq!(version("linux"), (0, 0));
    }

    #[test]
    fn reads_the_bracketed_lockdown_mode() {
        assert_eq!(lockdown("[none] integrity confidentiality\n"), Lockdown::Off);
        assert_eq!(lockdown("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(lockdown("none integrity [confidentiality]\n"), Lockdown::Confidentiality);
        assert_eq!(lockdown("none integrity"), Lockdown::Unknown);
    }

    #[test]
    fn tells_cgroup_mounts_apart() {
        let both = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroups(both), (true, Some(PathBuf::from("/sys/fs/cgroup/unified"))));
        assert_eq!(cgroups("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"), (false, Some(PathBuf::from("/sys/fs/cgroup"))));
        assert_eq!(cgroups("tmpfs /cgroup tmpfs rw 0 0\nshort"), (false, None));
    }

    #[test]
    fn reads_a_field_of_a_status_file() {
        let status = "Name:\tx\nCapEff:\t000001fffeffffff\nSeccomp:\t2\n";
        assert_eq!(field(status, "CapEff:"), Some("000001fffeffffff"));
        assert_eq!(field(status, "CapBnd:"), None);
        let privileges = Privileges { effective: 0x1ff_feff_ffff, seccomp: true, namespaced: false };
        assert!(privileges.has(Capability::Bpf));
        assert!(!privileges.has(Capability::SysResource));
    }
}
