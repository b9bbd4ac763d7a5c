//! Why a step of attaching a rung failed, in words that say what to do.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;

/// One step of attaching that failed.
#[derive(Debug, Error)]
pub enum StepError {
    /// The kernel, or a security module, said no without a word of the verifier.
    #[error(
        "{step}: refused by the kernel or a security module ({source}); run as root or with CAP_BPF and CAP_PERFMON, and check lockdown and the container's seccomp profile"
    )]
    Denied {
        /// Program or step.
        step: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The verifier refused a program.
    #[error("{program}: the kernel's verifier refused the program ({source}); please report this log:\n{log}")]
    Verifier {
        /// Which program.
        program: &'static str,
        /// The refusal.
        #[source]
        source: io::Error,
        /// What the verifier wrote.
        log: Box<str>,
    },
    /// Something else about a program: a tracepoint that this kernel does not have, for one.
    #[error("{program}: {source}; this kernel may lack the hook")]
    Program {
        /// Which program.
        program: &'static str,
        /// What went wrong.
        #[source]
        source: Box<ProgramError>,
    },
    /// The object could not be loaded: types that do not relocate, maps that cannot be made.
    #[error("loading the programs: {source}")]
    Load {
        /// What went wrong.
        #[source]
        source: Box<EbpfError>,
    },
    /// Tracepoints cannot be named.
    #[error(
        "tracefs is not mounted and could not be mounted for the moment ({source}): mount -t tracefs tracefs /sys/kernel/tracing"
    )]
    NoTracefs {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// A map is not what the programs declare.
    #[error("{source}")]
    Map {
        /// What went wrong.
        #[source]
        source: MapError,
    },
    /// A program or map that the object should hold.
    #[error("{what}: not in the object; it was not built from this source")]
    Missing {
        /// Its name.
        what: &'static str,
    },
    /// A descriptor could not be had.
    #[error("no descriptor left ({source}): raise the limit of open files")]
    Descriptor {
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl StepError {
    /// Sorts what came of loading or attaching a program.
    pub(crate) fn program(program: &'static str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                if log.trim().is_empty() {
                    return Self::refused(program, io_error);
                }
                Self::Verifier { program, source: io_error, log: log.into() }
            }
            ProgramError::SyscallError(error) if is_denial(&error.io_error) => {
                Self::Denied { step: program, source: error.io_error }
            }
            other => Self::Program { program, source: Box::new(other) },
        }
    }

    /// Sorts what came of loading the object.
    pub(crate) fn load(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(MapError::CreateError { io_error, .. }) if is_denial(&io_error) => {
                Self::Denied { step: "making maps", source: io_error }
            }
            other => Self::Load { source: Box::new(other) },
        }
    }

    fn refused(program: &'static str, io_error: io::Error) -> Self {
        if is_denial(&io_error) {
            Self::Denied { step: program, source: io_error }
        } else {
            Self::Verifier { program, source: io_error, log: "(empty)".into() }
        }
    }
}

fn is_denial(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}
