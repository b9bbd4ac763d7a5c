//! Which rung of the probe's ladder can run here, and if not, the first thing that is missing and what to do about it.
//!
//! Pure: takes what was found, gives answers. Absent: attempts, files, and the choice itself, which is the probe's.

use std::fmt;

use super::host::Capability;
use super::{Finding, Report};

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Tracepoints of socket operations; the default.
    Socket,
    /// Function exits, through trampolines.
    Fexit,
    /// Tracepoints of system calls.
    Syscall,
    /// Packets, without eBPF.
    Packet,
    /// A recording; no kernel at all.
    Replay,
}

impl Step {
    /// All rungs, the preferred one first.
    pub const ALL: [Self; 5] = [Self::Socket, Self::Fexit, Self::Syscall, Self::Packet, Self::Replay];

    /// As configured.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Fexit => "fexit",
            Self::Syscall => "syscall",
            Self::Packet => "packet",
            Self::Replay => "replay",
        }
    }
}

/// Whether a rung can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Yes,
    /// It cannot.
    No {
        /// What is missing, and what to do about it.
        reason: String,
    },
    /// This version of redtap does not have it.
    NotBuilt {
        /// Whether this machine would allow it.
        machine: String,
    },
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => write!(f, "yes"),
            Self::No { reason } => write!(f, "no: {reason}"),
            Self::NotBuilt { machine } => write!(f, "not built yet: {machine}"),
        }
    }
}

/// Whether `step` can run, given what was found.
pub(super) fn availability(step: Step, report: &Report) -> Availability {
    let first_missing = match step {
        Step::Socket => socket(report),
        Step::Syscall => syscall(report),
        Step::Fexit => {
            let machine = missing(report, "no BPF trampolines", &report.trampoline);
            let machine = machine.unwrap_or_else(|| "this machine would allow it".into());
            return Availability::NotBuilt { machine };
        }
        Step::Packet => {
            let allowed = report.privileges.has(Capability::NetRaw);
            let machine = if allowed { "this machine would allow it" } else { "CAP_NET_RAW is missing" };
            return Availability::NotBuilt { machine: machine.into() };
        }
        Step::Replay => None,
    };
    first_missing.map_or(Availability::Yes, |reason| Availability::No { reason })
}

/// What both eBPF rungs need; the first that is missing.
fn ebpf(report: &Report) -> Option<String> {
    let too_old = report.kernel.version < (5, 8);
    if too_old && report.kernel.version != (0, 0) {
        return Some(format!("kernel {} is older than 5.8", report.kernel.release));
    }
    missing(report, "no ring buffer map", &report.ring_buffer).or_else(|| btf(report))
}

fn btf(report: &Report) -> Option<String> {
    let Finding::No(why) = &report.btf else { return None };
    Some(format!("no type information ({why}): needs a kernel with CONFIG_DEBUG_INFO_BTF=y and /sys mounted"))
}

fn socket(report: &Report) -> Option<String> {
    ebpf(report).or_else(|| missing(report, "no per-socket storage", &report.socket_storage)).or_else(|| {
        report.socket_tracepoints.iter().find_map(|(name, finding)| match finding {
            Finding::Yes => None,
            Finding::No(_) => {
                Some(format!("tracepoint {name} is not in this kernel ({}): needs 6.3 or later", report.kernel.release))
            }
            Finding::Refused(_) => missing(report, &format!("tracepoint {name}"), finding),
        })
    })
}

fn syscall(report: &Report) -> Option<String> {
    ebpf(report).or_else(|| missing(report, "no tracepoint programs", &report.tracepoint)).or_else(|| {
        if report.places.tracefs.is_none() {
            // The probe mounts it for itself, in a mount namespace of its own, while it attaches.
            if report.places.tracefs_mountable && report.privileges.has(Capability::SysAdmin) {
                return None;
            }
            return Some(
                "the tracing file system is not mounted: mount -t tracefs tracefs /sys/kernel/tracing \
                 (in a container, mount the host's)"
                    .into(),
            );
        }
        if !report.places.syscall_tracepoints {
            return Some(
                "events/syscalls/sys_exit_read of the tracing file system cannot be read: run as root on a kernel with \
                 CONFIG_FTRACE_SYSCALLS=y"
                    .into(),
            );
        }
        None
    })
}

/// The reason behind `finding` with `what` before it; `None` if it was found.
fn missing(report: &Report, what: &str, finding: &Finding) -> Option<String> {
    report.words(finding).map(|why| format!("{what}: {why}"))
}
