//! Removes the cgroup when the demo has ended without doing so: waits for the end of a pipe that only the demo holds.

use super::super::cgroup;
use std::io::Read as _;
use std::path::Path;

/// Returns once the cgroup is gone, or cannot be removed.
pub(super) fn keep(cgroup: Option<&Path>) {
    // Nothing is ever written; the end comes with the last descriptor of the parent, also after SIGKILL.
    let _ = std::io::stdin().lock().read(&mut [0]);
    if let Some(cgroup) = cgroup {
        cgroup::clear(cgroup);
    }
}
