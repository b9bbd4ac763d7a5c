//! The rungs of the ladder that are built: which object each loads and where its programs attach.
//!
//! A rung attaches wholly or not at all: its programs live in an [`aya::Ebpf`], and dropping that detaches them.

pub(crate) mod socket;
pub(crate) mod syscall;
mod tracefs;

use std::fmt;

use aya::{Btf, Ebpf};

use crate::probe::StepError;

/// A way to see socket operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// One hook a socket operation (kernel 6.3, BTF).
    Socket,
    /// Exits of the socket system calls (kernel 5.15, BTF).
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

    /// Loads and attaches every program of the rung.
    pub(crate) fn attach(self, ebpf: &mut Ebpf, btf: &Btf) -> Result<(), StepError> {
        match self {
            Self::Socket => socket::attach(ebpf, btf),
            Self::Syscall => syscall::attach(ebpf),
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
