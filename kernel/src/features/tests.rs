//! The ladder on machines that are not this one. This one is asked in `tests/features.rs`.

use super::*;

/// A current kernel, everything allowed.
fn good() -> Report {
    Report {
        kernel: Kernel { release: "6.12.1".into(), version: (6, 12), machine: "x86_64".into() },
        lockdown: Lockdown::Off,
        privileges: Privileges { effective: u64::MAX, seccomp: false, namespaced: false },
        settings: Settings {
            unprivileged_bpf_disabled: Some(2),
            perf_event_paranoid: None,
            bpf_stats_enabled: Some(0),
            bpf_jit_enable: Some(1),
        },
        places: Places {
            cgroup_v1: false,
            cgroup_v2: Some("/sys/fs/cgroup".into()),
            tracefs: Some("/sys/kernel/tracing".into()),
            tracefs_mountable: false,
            syscall_tracepoints: true,
            pid_namespace: Some(0xEFFF_FFFC),
            kprobes: true,
        },
        btf: Finding::Yes,
        ring_buffer: Finding::Yes,
        socket_storage: Finding::Yes,
        tracepoint: Finding::Yes,
        raw_tracepoint: Finding::Yes,
        socket_tracepoints: SOCKET_TRACEPOINTS.map(|name| (name, Finding::Yes)),
        trampoline: Finding::Yes,
        kprobe: Finding::Yes,
    }
}

fn no() -> Finding {
    Finding::No("it is not there".into())
}

fn refused(errno: i32) -> Finding {
    Finding::Refused(Refusal { errno, log: String::new() })
}

fn reason(report: &Report, step: Step) -> String {
    match report.availability(step) {
        Availability::No { reason } => reason,
        other => panic!("{step:?}: {other:?}"),
    }
}

#[test]
fn stands_on_the_socket_rung_where_everything_is_there() {
    let report = good();
    assert_eq!(report.best(), Some(Step::Socket));
    assert!(report.render().ends_with("`redtap run` will work, on rung socket\n"));
}

#[test]
fn an_older_kernel_without_the_socket_tracepoints_stands_on_system_calls() {
    let mut report = good();
    report.kernel = Kernel { release: "6.1.0-18-amd64".into(), version: (6, 1), machine: "x86_64".into() };
    report.socket_tracepoints[0].1 = no();
    assert_eq!(
        reason(&report, Step::Socket),
        "tracepoint sock_send_length is not in this kernel (6.1.0-18-amd64): needs 6.3 or later"
    );
    assert_eq!(report.best(), Some(Step::Syscall));
}

#[test]
fn without_btf_no_rung_but_replay() {
    let mut report = good();
    report.btf = no();
    for step in [Step::Socket, Step::Syscall] {
        assert!(reason(&report, step).contains("CONFIG_DEBUG_INFO_BTF"), "{step:?}");
    }
    assert!(!report.can_run());
    assert_eq!(report.availability(Step::Replay), Availability::Yes);
    assert!(report.render().ends_with("`redtap run` will not work here; `redtap replay` will\n"));
}

#[test]
fn a_kernel_before_ring_buffers_is_called_too_old() {
    let mut report = good();
    report.kernel = Kernel { release: "5.4.0".into(), version: (5, 4), machine: "aarch64".into() };
    report.ring_buffer = refused(22);
    assert_eq!(reason(&report, Step::Syscall), "kernel 5.4.0 is older than 5.8");
}

#[test]
fn system_calls_need_the_tracing_file_system_and_say_how_to_mount_it() {
    let mut report = good();
    report.places.tracefs = None;
    assert!(reason(&report, Step::Syscall).contains("mount -t tracefs"));
    // Who may mount it need not.
    report.places.tracefs_mountable = true;
    assert_eq!(report.availability(Step::Syscall), Availability::Yes);
    report.privileges.effective = 1 << 38 | 1 << 39;
    assert!(reason(&report, Step::Syscall).contains("mount -t tracefs"));
    report.places = good().places;
    report.places.syscall_tracepoints = false;
    assert!(reason(&report, Step::Syscall).contains("CONFIG_FTRACE_SYSCALLS"));
}

#[test]
fn a_refused_program_says_what_was_refused_and_why() {
    let mut report = good();
    report.socket_tracepoints[1].1 = refused(1);
    assert_eq!(
        reason(&report, Step::Socket),
        "tracepoint sock_recv_length: refused by the kernel or a security module"
    );
    report.privileges.effective = 0;
    report.ring_buffer = refused(1);
    assert!(reason(&report, Step::Socket).contains("CAP_BPF and CAP_PERFMON missing"));
}

#[test]
fn rungs_that_are_not_built_say_whether_the_machine_would_allow_them() {
    let mut report = good();
    report.trampoline = refused(1);
    let text = report.availability(Step::Fexit).to_string();
    assert!(text.starts_with("not built yet: no BPF trampolines"), "{text}");
    report.privileges.effective = 0;
    assert_eq!(report.availability(Step::Packet).to_string(), "not built yet: CAP_NET_RAW is missing");
}
