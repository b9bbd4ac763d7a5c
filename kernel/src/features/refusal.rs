//! Why the kernel said no, in words that a user can act on.

use std::fmt;

use rustix::io::Errno;

use super::host::{Capability, Lockdown, Privileges};

/// Longest piece of a verifier log that is shown, bytes.
const MAX_LOG: usize = 200;

/// What bpf(2) answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error number.
    pub errno: i32,
    /// The last line that the verifier wrote, shortened; empty if it wrote nothing.
    pub log: String,
}

impl Refusal {
    pub(super) fn silent(errno: Errno) -> Self {
        Self { errno: errno.raw_os_error(), log: String::new() }
    }

    pub(super) fn logged(errno: Errno, log: &[u8]) -> Self {
        let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        // The last line is a count of instructions; the one before says what is wrong.
        let line = text.lines().rfind(|line| !line.is_empty() && !line.starts_with("processed "));
        let log = line.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MAX_LOG).collect();
        Self { errno: errno.raw_os_error(), log }
    }

    /// What happened and what to do about it, given what is known of the process and the machine.
    #[must_use]
    pub fn explain(&self, privileges: &Privileges, lockdown: Lockdown) -> String {
        let denied = matches!(Errno::from_raw_os_error(self.errno), Errno::PERM | Errno::ACCESS);
        if denied && self.log.is_empty() {
            return denial(privileges, lockdown);
        }
        if !self.log.is_empty() {
            return format!("the verifier refused it: {}", self.log);
        }
        match Errno::from_raw_os_error(self.errno) {
            Errno::INVAL => "this kernel does not know it".into(),
            Errno::NOSYS => "the kernel was built without bpf(2), or a seccomp profile hides it".into(),
            Errno::NOMEM => "not enough locked memory: raise the limit (ulimit -l unlimited)".into(),
            Errno::BUSY => "the place is taken by another tracer".into(),
            // ENOTSUPP, which is not EOPNOTSUPP and is not meant to reach user space, but does.
            errno if errno.raw_os_error() == 524 => "not supported on this architecture".into(),
            errno => format!("{}", std::io::Error::from(errno)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = std::io::Error::from_raw_os_error(self.errno);
        if self.log.is_empty() { write!(f, "{error}") } else { write!(f, "{error}: {}", self.log) }
    }
}

/// EPERM or EACCES without a word from the verifier.
fn denial(privileges: &Privileges, lockdown: Lockdown) -> String {
    let missing = privileges.missing_for_bpf();
    if !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
        return format!("{} missing: run as root, or with --cap-add BPF,PERFMON", names.join(" and "));
    }
    if privileges.namespaced {
        return "capabilities of a user namespace do not count: run in the initial user namespace".into();
    }
    if privileges.seccomp {
        return "refused, perhaps by this container's seccomp profile: allow bpf(2) and perf_event_open(2)".into();
    }
    match lockdown {
        Lockdown::Confidentiality => "refused: kernel lockdown is at `confidentiality`, `integrity` would do".into(),
        _ => "refused by the kernel or a security module".into(),
    }
}

impl Privileges {
    /// What of CAP_BPF and CAP_PERFMON is not there; CAP_SYS_ADMIN stands for both.
    #[must_use]
    pub fn missing_for_bpf(&self) -> Vec<Capability> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::Perfmon].into_iter().filter(|capability| !self.has(*capability)).collect()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const NOBODY: Privileges = Privileges { effective: 0, seccomp: false, namespaced: false };
    const ROOT: Privileges = Privileges { effective: u64::MAX, seccomp: false, namespaced: false };

    fn explain(errno: Errno, log: &[u8], privileges: Privileges, lockdown: Lockdown) -> String {
        Refusal::logged(errno, log).explain(&privileges, lockdown)
    }

    #[test]
    fn a_denial_names_what_is_missing_first() {
        let text = explain(Errno::PERM, b"", NOBODY, Lockdown::Off);
        assert_eq!(text, "CAP_BPF and CAP_PERFMON missing: run as root, or with --cap-add BPF,PERFMON");
        let perfmon = Privileges { effective: 1 << 38, ..NOBODY };
        assert!(explain(Errno::PERM, b"", perfmon, Lockdown::Off).starts_with("CAP_BPF missing"));
    }

    #[test]
    fn a_denial_of_root_is_laid_at_the_likeliest_door() {
        let seccomp = Privileges { seccomp: true, ..ROOT };
        assert!(explain(Errno::PERM, b"", seccomp, Lockdown::Off).contains("seccomp"));
        let namespaced = Privileges { namespaced: true, ..ROOT };
        assert!(explain(Errno::PERM, b"", namespaced, Lockdown::Off).contains("user namespace"));
        assert!(explain(Errno::PERM, b"", ROOT, Lockdown::Confidentiality).contains("lockdown"));
        let plain = explain(Errno::PERM, b"\0garbage", ROOT, Lockdown::Unknown);
        assert_eq!(plain, "refused by the kernel or a security module");
    }

    #[test]
    fn the_verifiers_words_are_kept_without_its_statistics() {
        let log = b"0: R1=ctx()\nR0 !read_ok\x1b[2J\nprocessed 1 insns (limit 1000000)\n\0rest";
        let refusal = Refusal::logged(Errno::ACCESS, log);
        assert_eq!(refusal.log, "R0 !read_ok[2J");
        assert_eq!(refusal.explain(&ROOT, Lockdown::Off), "the verifier refused it: R0 !read_ok[2J");
    }

    #[test]
    fn every_number_has_words() {
        for number in 1..=600 {
            let refusal = Refusal { errno: number, log: String::new() };
            assert!(!refusal.explain(&ROOT, Lockdown::Off).is_empty(), "{number}");
            assert!(!refusal.to_string().is_empty(), "{number}");
        }
    }
}
