//! The doctor on this machine: as it is run, without privileges, and without type information.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

#[path = "live/skip.rs"]
mod skip;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use redtap_kernel::features::{Availability, Capability, Finding, Report, Step};

/// Set for the copy of this test that runs in another environment.
const ELSEWHERE: &str = "REDTAP_TEST_ELSEWHERE";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says why a test does not run; in CI that is a failure.
fn skip(why: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
    skip::note(why);
}

/// Runs `prints_the_report` of a copy of this test binary, which anybody may execute, behind `wrapper`.
fn elsewhere(name: &str, wrapper: &[&str]) -> Output {
    let place = std::env::temp_dir().join(format!("redtap-{name}-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let copy: PathBuf = place.join("doctor");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let (program, arguments) = wrapper.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .arg(&copy)
        .args(["--exact", "prints_the_report", "--nocapture"])
        .env(ELSEWHERE, "1")
        .current_dir("/")
        .output();
    fs::remove_dir_all(&place).unwrap();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn prints_the_report() {
    let report = Report::gather();
    let text = report.render();
    println!("{text}");
    for step in Step::ALL {
        assert!(text.contains(&format!("\n  {:26}  {}\n", step.name(), report.availability(step))), "{step:?}");
    }
    assert_eq!(text.ends_with("`redtap replay` will\n"), !report.can_run());
    assert_eq!(report.availability(Step::Replay), Availability::Yes);
}

#[test]
fn what_the_files_say_agrees_with_the_kernels_answers() {
    let report = Report::gather();
    let uname = Command::new("uname").arg("-r").output().unwrap();
    assert_eq!(report.kernel.release, String::from_utf8(uname.stdout).unwrap().trim());
    assert!(report.kernel.version > (2, 6), "{:?}", report.kernel);
    assert_eq!(report.btf == Finding::Yes, fs::metadata("/sys/kernel/btf/vmlinux").is_ok());
    if report.ring_buffer.is_yes() {
        let allowed = report.privileges.has(Capability::Bpf) || report.privileges.has(Capability::SysAdmin);
        assert!(allowed, "a ring buffer was created without CAP_BPF: {:?}", report.privileges);
    }
    // The kernel's rule: a raw tracepoint program loads wherever a typed one does.
    if report.socket_tracepoints.iter().any(|(_, finding)| finding.is_yes()) {
        assert!(report.raw_tracepoint.is_yes());
    }
}

#[test]
fn gathering_leaves_nothing_behind() {
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let _ = Report::gather();
    let before = count();
    for _ in 0..3 {
        let _ = Report::gather();
    }
    // Other tests of this binary run beside this one, so not exactly: three leaks of eight descriptors would show.
    assert!(count() < before + 12);
}

#[test]
fn without_privileges_it_names_the_missing_capabilities() {
    if std::env::var_os(ELSEWHERE).is_some() {
        return;
    }
    if !is_root() {
        return skip("needs root to become somebody else");
    }
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"];
    let text = text(&elsewhere("nobody", &nobody));
    let no = "no: no ring buffer map: CAP_BPF and CAP_PERFMON missing: run as root, or with --cap-add BPF,PERFMON";
    assert!(text.contains(&format!("\n  {:26}  {no}\n", "socket")), "{text}");
    assert!(text.contains(&format!("\n  {:26}  {no}\n", "syscall")), "{text}");
    assert!(text.contains("`redtap run` will not work here; `redtap replay` will\n"), "{text}");
}

#[test]
fn without_type_information_it_says_so() {
    if !is_root() || !Report::gather().ring_buffer.is_yes() || fs::metadata("/sys/kernel/btf").is_err() {
        return skip("needs root, eBPF and a kernel with BTF to hide");
    }
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    let text = text(&elsewhere("btf", &["unshare", "--mount", "sh", "-c", hide, "sh"]));
    assert!(text.contains("no: no type information (/sys/kernel/btf/vmlinux: No such file"), "{text}");
    assert!(text.contains("`redtap run` will not work here"), "{text}");
}

#[test]
fn in_a_user_namespace_it_says_that_capabilities_do_not_count() {
    if !is_root() {
        return skip("needs root to be sure of a user namespace");
    }
    let output = elsewhere("userns", &["unshare", "--user", "--map-root-user"]);
    if String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        return skip("no user namespaces here");
    }
    let text = text(&output);
    assert!(text.contains("capabilities of a user namespace do not count"), "{text}");
    assert!(text.contains("`redtap run` will not work here"), "{text}");
}
