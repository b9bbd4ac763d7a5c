//! The proving ground: real servers and clients in a cgroup of their own, the real binary beside them, and the servers' own
//! counts to hold its numbers against.
//!
//! A test makes a [`sandbox::Sandbox`], starts servers from [`servers`] in it, starts the [`agent::Agent`] confined to it,
//! runs clients with [`sandbox::Sandbox::run`], and compares [`prometheus::Metrics`] with what the servers say.
//!
//! **Invariant:** nothing outside the sandbox's cgroup is watched, every port is on loopback, and only processes of the
//! sandbox are ended.

pub mod agent;
pub mod certificates;
pub mod cli;
pub mod clients;
pub mod prometheus;
pub mod sandbox;
pub mod servers;
pub mod stopwatch;

/// True if a live test can run here, for which it needs `needs`; otherwise says why on stderr and in `REDTAP_SKIPS`, and fails
/// where `CI=true`.
///
/// # Panics
/// In CI, where a skip is a failure.
#[must_use]
pub fn can_run(needs: &[&str]) -> bool {
    can_run_with(needs, &[])
}

/// The same for a test that also needs what is built from `e2e/clients/`.
///
/// # Panics
/// In CI, where a skip is a failure.
#[must_use]
pub fn can_run_with(needs: &[&str], kits: &[clients::Kit]) -> bool {
    let mut missing: Vec<String> =
        needs.iter().filter(|program| sandbox::find(program).is_none()).map(|program| (*program).to_owned()).collect();
    missing.extend(kits.iter().filter(|kit| !kit.is_ready()).map(|kit| format!("{kit:?} (`cargo xtask install`)")));
    if !rustix::process::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    if sandbox::cgroup_root().is_none() {
        missing.push("cgroup v2".to_owned());
    }
    if missing.is_empty() {
        return true;
    }
    let reason = format!("needs {}", missing.join(", "));
    assert!(std::env::var_os("CI").is_none(), "a live test cannot run in CI: {reason}");
    eprintln!("SKIP: {reason}");
    if let Some(log) = std::env::var_os("REDTAP_SKIPS") {
        use std::io::Write;
        if let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(log) {
            drop(writeln!(file, "{reason}"));
        }
    }
    false
}
