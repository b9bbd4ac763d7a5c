//! What loads on this machine, for this process, and why not: the answers behind `redtap doctor`.
//!
//! [`Report::gather`] reads a few files and asks the kernel by trying, in some tens of milliseconds. It needs no
//! privileges, never fails and never panics: what cannot be found out is an answer too. Absent: choosing and loading a
//! rung (the probe does), changing any setting, mounting anything.

mod attempt;
mod host;
mod ladder;
mod refusal;
mod render;

use aya::Btf;
use aya_obj::btf::BtfKind;
use std::os::fd::{BorrowedFd, OwnedFd};

pub use host::{Capability, Kernel, Lockdown, Places, Privileges, Settings};
pub use ladder::{Availability, Step};
pub use refusal::Refusal;

use attempt::Kind;

/// Where the kernel shows its type information.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Tracepoints of the socket rung. Of each, the BTF has a typedef `btf_trace_NAME`.
const SOCKET_TRACEPOINTS: [&str; 3] = ["sock_send_length", "sock_recv_length", "inet_sock_set_state"];
/// A function that the kernel has for tests of trampolines (`net/bpf/test_run.c`); nothing calls it.
const TRAMPOLINE_TARGET: &str = "bpf_fentry_test1";

/// Loads an empty program and puts it as a filter before a socket, which from then on receives nothing. What the kernel tells of
/// the program (`/proc/self/fdinfo`) is what measuring alone costs (`kernel.bpf_stats_enabled`). It goes with the socket and
/// the descriptor.
///
/// # Errors
/// When the kernel refuses the program or the filter.
pub fn drop_all(socket: BorrowedFd<'_>) -> Result<OwnedFd, Refusal> {
    attempt::filter(socket)
}

/// Whether the kernel has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It has.
    Yes,
    /// It has not, and it did not come to an attempt.
    No(String),
    /// It was asked and refused.
    Refused(Refusal),
}

impl Finding {
    /// Whether it is there.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }
}

impl<T> From<Result<T, Refusal>> for Finding {
    fn from(tried: Result<T, Refusal>) -> Self {
        tried.map_or_else(Self::Refused, |_| Self::Yes)
    }
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The running kernel.
    pub kernel: Kernel,
    /// Kernel lockdown.
    pub lockdown: Lockdown,
    /// What this process may do.
    pub privileges: Privileges,
    /// Kernel settings.
    pub settings: Settings,
    /// Mounts and namespaces.
    pub places: Places,
    /// Type information of the kernel.
    pub btf: Finding,
    /// Ring buffer map.
    pub ring_buffer: Finding,
    /// Per-socket storage map.
    pub socket_storage: Finding,
    /// Programs on plain tracepoints.
    pub tracepoint: Finding,
    /// Programs on raw tracepoints.
    pub raw_tracepoint: Finding,
    /// Programs on typed tracepoints, for each that the socket rung uses.
    pub socket_tracepoints: [(&'static str, Finding); 3],
    /// Programs on function entry and exit.
    pub trampoline: Finding,
    /// kprobes.
    pub kprobe: Finding,
}

impl Report {
    /// Finds out.
    #[must_use]
    pub fn gather() -> Self {
        let places = Places::look();
        let btf = type_information();
        let id = |name: &str, kind| match &btf {
            Ok(btf) => btf.id_by_type_name_kind(name, kind).map_err(|_| format!("{name} is not in its BTF")),
            Err(why) => Err(why.clone()),
        };
        let socket_tracepoints = SOCKET_TRACEPOINTS.map(|name| {
            let finding = match id(&format!("btf_trace_{name}"), BtfKind::Typedef) {
                Ok(id) => attempt::program(Kind::BtfTracepoint(id)).into(),
                Err(why) => Finding::No(why),
            };
            (name, finding)
        });
        let trampoline = match id(TRAMPOLINE_TARGET, BtfKind::Func) {
            Ok(id) => attempt::trampoline(id).into(),
            Err(why) => Finding::No(why),
        };
        let kprobe = if places.kprobes {
            Finding::Yes
        } else {
            Finding::No("the kernel was built without CONFIG_KPROBES".into())
        };
        Self {
            kernel: Kernel::running(),
            lockdown: Lockdown::current(),
            privileges: Privileges::own(),
            settings: Settings::current(),
            places,
            btf: btf.as_ref().map_or_else(|why| Finding::No(why.clone()), |_| Finding::Yes),
            ring_buffer: attempt::ring_buffer().into(),
            socket_storage: attempt::socket_storage().into(),
            tracepoint: attempt::program(Kind::Tracepoint).into(),
            raw_tracepoint: attempt::program(Kind::RawTracepoint).into(),
            socket_tracepoints,
            trampoline,
            kprobe,
        }
    }

    /// Whether `step` can run here.
    #[must_use]
    pub fn availability(&self, step: Step) -> Availability {
        ladder::availability(step, self)
    }

    /// Whether `redtap run` will find a rung to stand on.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.best().is_some()
    }

    /// The preferred rung that watches live traffic here.
    #[must_use]
    pub fn best(&self) -> Option<Step> {
        let live = [Step::Socket, Step::Fexit, Step::Syscall, Step::Packet];
        live.into_iter().find(|step| self.availability(*step) == Availability::Yes)
    }

    /// Why something is not there; `None` if it is.
    fn words(&self, finding: &Finding) -> Option<String> {
        match finding {
            Finding::Yes => None,
            Finding::No(why) => Some(why.clone()),
            Finding::Refused(refusal) => Some(refusal.explain(&self.privileges, self.lockdown)),
        }
    }
}

/// The kernel's own BTF, or why there is none.
fn type_information() -> Result<Btf, String> {
    // Opened first: the reader's error does not say that the file is not there.
    if let Err(error) = std::fs::File::open(BTF) {
        return Err(format!("{BTF}: {error}"));
    }
    Btf::from_sys_fs().map_err(|error| error.to_string())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
