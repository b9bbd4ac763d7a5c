//! A cgroup for the services of the demo, so that exactly they are watched.
//!
//! Life cycle: [`Cgroup::make`] -> services enter it by themselves -> dropped, it and what is left in it is gone. After a
//! SIGKILL of the demo its keeper does that ([`clear`]). Absent: controllers; nothing is limited.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How its name begins; the rest is the number of the process that made it.
const PREFIX: &str = "redtap-demo-";
/// How often, and how many times, a cgroup whose processes are ending is tried to be removed.
const TRIES: (Duration, u32) = (Duration::from_millis(10), 300);

/// A cgroup of this process's own.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one below the root of the hierarchy; none where there is no cgroup v2 that this process may change.
    pub(super) fn make() -> Option<Self> {
        let root = root(&std::fs::read_to_string("/proc/mounts").ok()?)?;
        let path = root.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        clear(&self.0);
    }
}

/// Ends what is in it and removes it. Does nothing to a directory that a demo did not make.
pub(super) fn clear(path: &Path) {
    if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX)) {
        return;
    }
    // Since 5.14; before, the services end because their parent does, and only the removal waits for it.
    let _ = std::fs::write(path.join("cgroup.kill"), "1");
    for _ in 0..TRIES.1 {
        if std::fs::remove_dir(path).is_ok() || !path.exists() {
            return;
        }
        std::thread::sleep(TRIES.0);
    }
}

/// Where cgroup v2 is mounted.
fn root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let folder = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(folder))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_second_hierarchy_beside_the_first() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(root(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(root("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }

    #[test]
    fn clears_nothing_that_is_not_the_demos() {
        let folder = tempfile::tempdir().unwrap();
        let (other, ours) = (folder.path().join("other"), folder.path().join("redtap-demo-1"));
        for path in [&other, &ours] {
            std::fs::create_dir(path).unwrap();
            clear(path);
        }
        assert!(other.exists());
        // A plain directory has no `cgroup.kill`, so that writing it makes a file that must not be here.
        assert!(ours.join("cgroup.kill").exists() || !ours.exists());
    }
}
