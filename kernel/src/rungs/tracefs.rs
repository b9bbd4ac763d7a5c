//! The directory that names tracepoints, for the moment of attaching.
//!
//! Where nobody mounted tracefs it is mounted in a mount namespace of one short-lived thread: attaching reads the
//! numbers of the tracepoints there, nothing of it is seen by other processes, and nothing is left behind.

use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::step::StepError;

const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Runs `attach` where the tracepoints of system calls can be named.
pub(super) fn with_tracefs(attach: impl FnOnce() -> Result<(), StepError> + Send) -> Result<(), StepError> {
    if PLACES.iter().any(|place| Path::new(place).join("events/syscalls").exists()) {
        return attach();
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            mount_privately().map_err(|source| StepError::NoTracefs { source })?;
            attach()
        });
        thread.join().unwrap_or(Err(StepError::Missing { what: "the attaching thread" }))
    })
}

fn mount_privately() -> std::io::Result<()> {
    // SAFETY: only the mount namespace (and with it the working directory and umask) of this thread is made its own;
    // the descriptor table stays shared, which is what the function's precondition is about.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let [place, _] = PLACES;
    mount("tracefs", place, "tracefs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    Ok(())
}
