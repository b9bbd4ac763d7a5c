//! The report as text for a terminal. Plain ASCII, one fact a line, no colour: it is pasted into bug reports.

use std::fmt::Write as _;
use std::path::Path;

use super::host::{Capability, Lockdown};
use super::ladder::Step;
use super::{Finding, Report};

/// Columns of a name.
const NAME: usize = 26;

impl Report {
    /// The whole report: the machine, the process, what loads, the ladder, and the verdict in the last line.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.machine(&mut text);
        self.process(&mut text);
        self.attempts(&mut text);
        heading(&mut text, "rungs");
        for step in Step::ALL {
            line(&mut text, step.name(), &self.availability(step).to_string());
        }
        heading(&mut text, "result");
        text.push_str(&match self.best() {
            Some(step) => format!("`redtap run` will work, on rung {}\n", step.name()),
            None => "`redtap run` will not work here; `redtap replay` will\n".into(),
        });
        text
    }

    fn machine(&self, text: &mut String) {
        heading(text, "machine");
        line(text, "kernel", &format!("{} {}", self.kernel.release, self.kernel.machine));
        let lockdown = match self.lockdown {
            Lockdown::Off => "none",
            Lockdown::Integrity => "integrity",
            Lockdown::Confidentiality => "confidentiality: programs that read kernel memory are refused",
            Lockdown::Unknown => "unknown (/sys/kernel/security/lockdown is not there)",
        };
        line(text, "lockdown", lockdown);
        for (name, value) in [
            ("unprivileged_bpf_disabled", self.settings.unprivileged_bpf_disabled),
            ("perf_event_paranoid", self.settings.perf_event_paranoid),
            ("bpf_stats_enabled", self.settings.bpf_stats_enabled),
            ("bpf_jit_enable", self.settings.bpf_jit_enable),
        ] {
            let value = value.map_or_else(|| "not readable".into(), |value| value.to_string());
            line(text, name, &format!("{value}{}", setting_note(name, &value)));
        }
        line(text, "cgroup v1", if self.places.cgroup_v1 { "mounted" } else { "not mounted" });
        line(text, "cgroup v2", &place(self.places.cgroup_v2.as_deref(), "not mounted: no filter by cgroup"));
        let absent = match self.places.tracefs_mountable {
            true => "not mounted, or not readable (root mounts it privately, for the moment of attaching)",
            false => "not mounted, or not readable",
        };
        line(text, "tracefs", &place(self.places.tracefs.as_deref(), absent));
    }

    fn process(&self, text: &mut String) {
        heading(text, "process");
        for capability in Capability::ALL {
            let value = match self.privileges.has(capability) {
                true => "yes".into(),
                false => format!("no: {}", capability.without()),
            };
            line(text, capability.name(), &value);
        }
        line(text, "seccomp filter", if self.privileges.seccomp { "yes" } else { "no" });
        let user = if self.privileges.namespaced { "own: its capabilities do not count for eBPF" } else { "initial" };
        line(text, "user namespace", user);
        let pid = match self.places.pid_namespace {
            Some(_) if self.places.initial_pid_namespace() => "initial".into(),
            Some(inode) => format!("{inode}: processes outside are seen without name and container"),
            None => "not readable".into(),
        };
        line(text, "pid namespace", &pid);
    }

    fn attempts(&self, text: &mut String) {
        heading(text, "what the kernel lets us do");
        let mut finding = |name: &str, finding: &Finding| {
            let value = self.words(finding).map_or_else(|| "yes".into(), |why| format!("no: {why}"));
            line(text, name, &value);
        };
        finding("BTF", &self.btf);
        finding("ring buffer", &self.ring_buffer);
        finding("socket storage", &self.socket_storage);
        finding("tracepoint", &self.tracepoint);
        finding("raw tracepoint", &self.raw_tracepoint);
        for (name, found) in &self.socket_tracepoints {
            finding(&format!("tp_btf {name}"), found);
        }
        finding("trampoline (fentry, fexit)", &self.trampoline);
        finding("kprobe", &self.kprobe);
    }
}

fn setting_note(name: &str, value: &str) -> &'static str {
    match (name, value) {
        ("bpf_stats_enabled", "0") => " (run time of the programs is not counted; sysctl kernel.bpf_stats_enabled=1)",
        ("bpf_jit_enable", "0") => {
            " (programs are interpreted, several times slower; sysctl net.core.bpf_jit_enable=1)"
        }
        _ => "",
    }
}

fn place(path: Option<&Path>, absent: &str) -> String {
    path.map_or_else(|| absent.into(), |path| path.display().to_string())
}

fn heading(text: &mut String, title: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(title);
    text.push('\n');
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "  {name:NAME$}  {value}");
}
