//! Rung `syscall`: the exit of every system call, of which the program takes those that move a socket's bytes, the TCP
//! states, and the entry of close.
//!
//! Absent: entry probes for what moves data (the arguments are still in the task's registers at exit), and the tracepoints
//! of single system calls for it: programs on those are skipped while another task of that processor is inside bpf(2)
//! (kernel/trace/bpf_trace.c `trace_call_bpf`), so that some operations would go unseen.

use aya::Ebpf;
use aya::programs::TracePoint;

use super::step::StepError;
use super::{Hook, tracefs};

#[cfg(target_arch = "x86_64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/syscall.x86_64.o");
#[cfg(target_arch = "aarch64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/syscall.aarch64.o");

pub(crate) const HOOKS: [Hook; 2] = [
    Hook { program: "rt_sock_state", tracepoint: "inet_sock_set_state" },
    Hook { program: "rt_sys_exit", tracepoint: "sys_exit" },
];
const CLOSE: Hook = Hook { program: "rt_close_fd", tracepoint: "sys_enter_close" };

/// Loads and attaches the program that sees descriptors closed.
pub(crate) fn attach_close(ebpf: &mut Ebpf) -> Result<(), StepError> {
    let Hook { program: name, tracepoint } = CLOSE;
    let program = ebpf.program_mut(name).ok_or(StepError::Missing { what: name })?;
    let program: &mut TracePoint = program.try_into().map_err(|source| StepError::program(name, source))?;
    program.load().map_err(|source| StepError::program(name, source))?;
    tracefs::with_tracefs(|| {
        program.attach("syscalls", tracepoint).map(drop).map_err(|source| StepError::program(name, source))
    })
}
