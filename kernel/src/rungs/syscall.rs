//! Rung `syscall`: exits of the socket system calls, entry of close, and the TCP state tracepoint.
//!
//! Absent: entry probes for what moves data. The arguments are still in the task's registers at exit.

use aya::Ebpf;
use aya::programs::{RawTracePoint, TracePoint};

use crate::probe::StepError;

#[cfg(target_arch = "x86_64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/syscall.x86_64.o");
#[cfg(target_arch = "aarch64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/syscall.aarch64.o");

/// Program, tracepoint of the `syscalls` group.
const HOOKS: [(&str, &str); 16] = [
    ("rt_accept", "sys_exit_accept"),
    ("rt_accept4", "sys_exit_accept4"),
    ("rt_connect", "sys_exit_connect"),
    ("rt_close_fd", "sys_enter_close"),
    ("rt_read", "sys_exit_read"),
    ("rt_readv", "sys_exit_readv"),
    ("rt_recvfrom", "sys_exit_recvfrom"),
    ("rt_recvmsg", "sys_exit_recvmsg"),
    ("rt_recvmmsg", "sys_exit_recvmmsg"),
    ("rt_write", "sys_exit_write"),
    ("rt_writev", "sys_exit_writev"),
    ("rt_sendto", "sys_exit_sendto"),
    ("rt_sendmsg", "sys_exit_sendmsg"),
    ("rt_sendmmsg", "sys_exit_sendmmsg"),
    ("rt_sendfile", "sys_exit_sendfile64"),
    ("rt_splice", "sys_exit_splice"),
];
/// A raw tracepoint, so that a state change in softirq is seen even while a system call's program runs on that
/// processor (kernel/trace/bpf_trace.c `trace_call_bpf` skips a nested run, raw tracepoints do not go through it).
const STATE: (&str, &str) = ("rt_sock_state", "inet_sock_set_state");

pub(crate) fn attach(ebpf: &mut Ebpf) -> Result<(), StepError> {
    let (name, tracepoint) = STATE;
    let program = ebpf.program_mut(name).ok_or(StepError::Missing { what: name })?;
    let program: &mut RawTracePoint = program.try_into().map_err(|source| StepError::program(name, source))?;
    program.load().map_err(|source| StepError::program(name, source))?;
    program.attach(tracepoint).map_err(|source| StepError::program(name, source))?;
    for (name, _) in HOOKS {
        call_program(ebpf, name)?.load().map_err(|source| StepError::program(name, source))?;
    }
    super::tracefs::with_tracefs(|| {
        for (name, tracepoint) in HOOKS {
            call_program(ebpf, name)?
                .attach("syscalls", tracepoint)
                .map_err(|source| StepError::program(name, source))?;
        }
        Ok(())
    })
}

fn call_program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut TracePoint, StepError> {
    let program = ebpf.program_mut(name).ok_or(StepError::Missing { what: name })?;
    program.try_into().map_err(|source| StepError::program(name, source))
}
