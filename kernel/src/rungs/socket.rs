//! Rung `socket`: three BTF tracepoints, whatever system call was used.

use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};

use crate::probe::StepError;

#[cfg(target_arch = "x86_64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/socket.x86_64.o");
#[cfg(target_arch = "aarch64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/socket.aarch64.o");

/// Program, tracepoint. State first: a connection that begins while the rest attaches then has a role.
const HOOKS: [(&str, &str); 3] = [
    ("rt_sock_state", "inet_sock_set_state"),
    ("rt_sock_send", "sock_send_length"),
    ("rt_sock_recv", "sock_recv_length"),
];

pub(crate) fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), StepError> {
    for (name, tracepoint) in HOOKS {
        let program = ebpf.program_mut(name).ok_or(StepError::Missing { what: name })?;
        let program: &mut BtfTracePoint = program.try_into().map_err(|source| StepError::program(name, source))?;
        program.load(tracepoint, btf).map_err(|source| StepError::program(name, source))?;
    }
    for (name, _) in HOOKS {
        let program = ebpf.program_mut(name).ok_or(StepError::Missing { what: name })?;
        let program: &mut BtfTracePoint = program.try_into().map_err(|source| StepError::program(name, source))?;
        program.attach().map_err(|source| StepError::program(name, source))?;
    }
    Ok(())
}
