//! The rungs of the ladder that are built: which object each loads and where its programs attach.
//!
//! A rung attaches wholly or not at all: its programs live in an [`aya::Ebpf`], and dropping that detaches them.

pub(crate) mod socket;
mod step;
pub(crate) mod syscall;
mod tracefs;

pub use self::step::StepError;

use std::fmt;

use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};

/// A way to see socket operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// One hook a socket operation (kernel 6.3, BTF).
    Socket,
    /// Exits of the socket system calls (kernel 5.12, BTF).
    Syscall,
}

impl Rung {
    /// All that are built, best first.
    pub const LADDER: [Self; 2] = [Self::Socket, Self::Syscall];

    /// As in configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Syscall => "syscall",
        }
    }

    /// The object, built for this processor by `cargo xtask bpf`.
    pub(crate) fn object(self) -> &'static [u8] {
        match self {
            Self::Socket => socket::OBJECT,
            Self::Syscall => syscall::OBJECT,
        }
    }

    /// State changes first: a connection that begins while the rest attaches then has a role.
    fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Socket => &socket::HOOKS,
            Self::Syscall => &syscall::HOOKS,
        }
    }

    /// Loads and attaches every program of the rung. All load before the first attaches.
    pub(crate) fn attach(self, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), StepError> {
        for Hook { program, tracepoint } in self.hooks() {
            let loaded = named(ebpf, program)?.load(tracepoint, btf);
            loaded.map_err(|source| StepError::program(program, source))?;
        }
        for Hook { program, .. } in self.hooks() {
            named(ebpf, program)?.attach().map_err(|source| StepError::program(program, source))?;
        }
        match self {
            Self::Socket => Ok(()),
            Self::Syscall => syscall::attach_close(ebpf),
        }
    }
}

/// A program of the object and the BTF tracepoint it runs at.
pub(crate) struct Hook {
    program: &'static str,
    tracepoint: &'static str,
}

fn named<'a>(ebpf: &'a mut Ebpf, program: &'static str) -> Result<&'a mut BtfTracePoint, StepError> {
    let found = ebpf.program_mut(program).ok_or(StepError::Missing { what: program })?;
    found.try_into().map_err(|source| StepError::program(program, source))
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
