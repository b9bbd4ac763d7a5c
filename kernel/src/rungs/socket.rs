//! Rung `socket`: three BTF tracepoints, whatever system call was used.

use super::Hook;

#[cfg(target_arch = "x86_64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/socket.x86_64.o");
#[cfg(target_arch = "aarch64")]
pub(crate) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../prebuilt/socket.aarch64.o");

pub(crate) const HOOKS: [Hook; 3] = [
    Hook { program: "rt_sock_state", tracepoint: "inet_sock_set_state" },
    Hook { program: "rt_sock_send", tracepoint: "sock_send_length" },
    Hook { program: "rt_sock_recv", tracepoint: "sock_recv_length" },
];
