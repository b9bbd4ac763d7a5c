//! Which connections are watched, in words users write, turned into the lists that the kernel programs read.
//!
//! A kind of filter (cgroup, pid namespace, process, port) is a list of allow and deny entries. Any deny that matches
//! excludes; where a kind has allow entries, one of them must match. The agent's own sockets are always excluded, and
//! no entry changes that. Decided once a connection, in the kernel, before a byte of it is read.
//!
//! Absent: matching. It happens in `bpf/filter.h`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Most entries of each list (`RT_FILTERS`): cgroups, pid namespaces, process numbers, process names, ports.
pub const MAX_ENTRIES: usize = 16;
/// Bytes of a process name that the kernel keeps, without the NUL.
const NAME_BYTES: usize = 15;
/// `CGROUP2_SUPER_MAGIC`, include/uapi/linux/magic.h.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Whether an entry lets connections in or keeps them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Watch what matches, and of this kind nothing else.
    Allow,
    /// Do not watch what matches.
    Deny,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// A cgroup v2 id; matches the cgroup and all below it.
    Cgroup(u64),
    /// Inode number of a pid namespace; matches tasks whose own namespace it is.
    PidNamespace(u32),
    /// Process number, in the agent's pid namespace.
    Pid(u32),
    /// Name of the process or of the thread, NUL padded.
    Name([u8; 16]),
    /// Local or remote port.
    Port(u16),
}

/// Why an entry was refused.
#[derive(Debug, Error)]
pub enum FilterError {
    /// Not a cgroup v2 directory.
    #[error("cgroup {path}: not a cgroup v2 directory; give a path below a cgroup2 mount, or as in /proc/PID/cgroup")]
    NotACgroup {
        /// As it was written.
        path: PathBuf,
    },
    /// Not a pid namespace.
    #[error("pid namespace {text}: neither an inode number nor a readable /proc/PID/ns/pid")]
    NotANamespace {
        /// As it was written.
        text: Box<str>,
    },
    /// Not a process number or name.
    #[error("process {text:?}: empty or longer than 255 bytes")]
    NotAProcess {
        /// As it was written.
        text: Box<str>,
    },
    /// Not a port.
    #[error("port {text:?}: not a number from 1 to 65535")]
    NotAPort {
        /// As it was written.
        text: Box<str>,
    },
    /// The list has no room.
    #[error("more than {MAX_ENTRIES} {kind} filters")]
    TooMany {
        /// Which list.
        kind: &'static str,
    },
}

impl Filter {
    /// A cgroup by path: absolute, below a cgroup v2 mount, or relative to that mount as `/proc/PID/cgroup` shows it.
    ///
    /// # Errors
    /// [`FilterError::NotACgroup`].
    pub fn cgroup(text: &str) -> Result<Self, FilterError> {
        let path = Path::new(text);
        let below_mount = cgroup2_mount().map(|mount| mount.join(text.trim_start_matches('/')));
        [Some(path.to_path_buf()), below_mount]
            .into_iter()
            .flatten()
            .find_map(|candidate| cgroup_id(&candidate))
            .map(Self::Cgroup)
            .ok_or_else(|| FilterError::NotACgroup { path: path.to_path_buf() })
    }

    /// A pid namespace by inode number or by a path such as `/proc/1/ns/pid`.
    ///
    /// # Errors
    /// [`FilterError::NotANamespace`].
    pub fn pid_namespace(text: &str) -> Result<Self, FilterError> {
        let number = text.parse::<u32>().ok().filter(|inode| *inode != 0);
        let from_path = || std::fs::metadata(text).ok().and_then(|meta| u32::try_from(meta.ino()).ok());
        number
            .or_else(from_path)
            .map(Self::PidNamespace)
            .ok_or_else(|| FilterError::NotANamespace { text: text.into() })
    }

    /// A process by number, or by name (of the process or a thread; the kernel keeps 15 bytes of it).
    ///
    /// # Errors
    /// [`FilterError::NotAProcess`].
    pub fn process(text: &str) -> Result<Self, FilterError> {
        if let Some(pid) = text.parse::<u32>().ok().filter(|pid| *pid != 0) {
            return Ok(Self::Pid(pid));
        }
        if text.is_empty() || text.len() > 255 {
            return Err(FilterError::NotAProcess { text: text.into() });
        }
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(text.bytes().take(NAME_BYTES)) {
            *to = from;
        }
        Ok(Self::Name(name))
    }

    /// A port, local or remote.
    ///
    /// # Errors
    /// [`FilterError::NotAPort`].
    pub fn port(text: &str) -> Result<Self, FilterError> {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port != 0)
            .map(Self::Port)
            .ok_or_else(|| FilterError::NotAPort { text: text.into() })
    }
}

/// Inode number of `path` if it lies in a cgroup v2 hierarchy.
fn cgroup_id(path: &Path) -> Option<u64> {
    let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_dir)?;
    let fs = rustix::fs::statfs(path).ok()?;
    (fs.f_type == CGROUP2_MAGIC).then(|| meta.ino())
}

/// Where cgroup v2 is mounted. proc(5): mount point is the second field of /proc/self/mounts, type the third.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}

/// A list as the programs read it: entries in use, and a bit for each that excludes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List<T> {
    pub(crate) count: u32,
    pub(crate) deny: u32,
    pub(crate) entries: [T; MAX_ENTRIES],
}

impl<T: Copy + Default> Default for List<T> {
    fn default() -> Self {
        Self { count: 0, deny: 0, entries: [T::default(); MAX_ENTRIES] }
    }
}

impl<T> List<T> {
    fn push(&mut self, verb: Verb, entry: T, kind: &'static str) -> Result<(), FilterError> {
        let place = usize::try_from(self.count).ok().and_then(|at| self.entries.get_mut(at));
        *place.ok_or(FilterError::TooMany { kind })? = entry;
        if verb == Verb::Deny {
            self.deny |= 1 << self.count;
        }
        self.count += 1;
        Ok(())
    }
}

/// All entries. Empty: everything but the agent is watched.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    pub(crate) cgroups: List<u64>,
    pub(crate) pid_namespaces: List<u32>,
    pub(crate) pids: List<u32>,
    pub(crate) names: List<[u8; 16]>,
    pub(crate) ports: List<u32>,
}

impl Filters {
    /// Adds an entry.
    ///
    /// # Errors
    /// [`FilterError::TooMany`] beyond [`MAX_ENTRIES`] of its list.
    pub fn push(&mut self, verb: Verb, filter: Filter) -> Result<(), FilterError> {
        match filter {
            Filter::Cgroup(id) => self.cgroups.push(verb, id, "cgroup"),
            Filter::PidNamespace(inode) => self.pid_namespaces.push(verb, inode, "pid namespace"),
            Filter::Pid(pid) => self.pids.push(verb, pid, "process number"),
            Filter::Name(name) => self.names.push(verb, name, "process name"),
            Filter::Port(port) => self.ports.push(verb, u32::from(port), "port"),
        }
    }

    /// The same, for building in one expression.
    ///
    /// # Errors
    /// As [`Filters::push`].
    pub fn with(mut self, verb: Verb, filter: Filter) -> Result<Self, FilterError> {
        self.push(verb, filter)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_a_number_or_the_first_fifteen_bytes_of_a_name() {
        assert_eq!(Filter::process("4711").unwrap(), Filter::Pid(4711));
        assert_eq!(Filter::process("a-name-longer-than-that").unwrap(), Filter::Name(*b"a-name-longer-t\0"));
        assert!(matches!(Filter::process(""), Err(FilterError::NotAProcess { .. })));
    }

    #[test]
    fn a_port_is_from_1_to_65535() {
        assert_eq!(Filter::port("65535").unwrap(), Filter::Port(65535));
        for bad in ["0", "65536", "-1", "http", ""] {
            assert!(matches!(Filter::port(bad), Err(FilterError::NotAPort { .. })), "{bad}");
        }
    }

    #[test]
    fn a_pid_namespace_is_a_number_or_a_path() {
        let own = u32::try_from(std::fs::metadata("/proc/self/ns/pid").unwrap().ino()).unwrap();
        assert_eq!(Filter::pid_namespace("/proc/self/ns/pid").unwrap(), Filter::PidNamespace(own));
        assert_eq!(Filter::pid_namespace(&own.to_string()).unwrap(), Filter::PidNamespace(own));
        assert!(Filter::pid_namespace("/proc/self/ns/none").is_err());
    }

    #[test]
    fn a_directory_outside_cgroup_v2_is_not_a_cgroup() {
        assert!(matches!(Filter::cgroup("/usr"), Err(FilterError::NotACgroup { .. })));
    }

    #[test]
    fn the_seventeenth_entry_is_refused_and_deny_is_a_bit() {
        let mut filters = Filters::default();
        for port in 1..=16 {
            let verb = if port == 3 { Verb::Deny } else { Verb::Allow };
            filters.push(verb, Filter::Port(port)).unwrap();
        }
        assert_eq!((filters.ports.count, filters.ports.deny), (16, 0b100));
        assert!(matches!(filters.push(Verb::Deny, Filter::Port(17)), Err(FilterError::TooMany { kind: "port" })));
    }
}
