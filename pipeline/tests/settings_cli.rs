//! The binary's command line: what it prints and how it ends, without any privilege.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};

fn redtap(dir: &tempfile::TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_redtap")).args(arguments).current_dir(dir.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn config_prints_what_holds_and_who_said_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("redtap.toml"), "[probe]\nshards = 2\n").unwrap();
    let output = redtap(&dir, &["config", "--ring-bytes", "64KiB", "--port", "!22"]);
    assert!(output.status.success());
    let shown = text(&output.stdout);
    for line in [
        "# Rings, each with a pipeline of its own: 1 to 8. (redtap.toml)\nshards = 2\n",
        "(--ring-bytes)\nring_bytes = \"64KiB\"\n",
        "(--port)\nport = [22]\n",
        "(default)\nlisten = \"127.0.0.1:9464\"\n",
    ] {
        assert!(shown.contains(line), "lacks {line}in\n{shown}");
    }
}

#[test]
fn says_everything_that_is_wrong_before_it_does_anything() {
    let dir = tempfile::tempdir().unwrap();
    let output = redtap(&dir, &["--rung", "fast", "--shards", "many"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "redtap: the configuration has 2 problems:\n  \
         probe.rung = \"fast\" (--rung): is not one of the words known here; write auto, socket, syscall\n  \
         probe.shards = \"many\" (--shards): is not a whole number; write a whole number from 1 to 8\n"
    );
}

#[test]
fn a_port_that_is_taken_is_found_before_anything_is_attached() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = redtap(&dir, &["run", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "each cause once: {said}");
    assert!(said.starts_with(&format!("redtap: cannot listen on {address}: Address already in use")), "{said}");
    assert!(said.ends_with("choose one with --listen ADDR or http.listen\n"), "{said}");
}

#[test]
fn replay_of_what_is_no_recording_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), "something else altogether, long enough for a head").unwrap();
    let output = redtap(&dir, &["replay", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "redtap: cannot replay x\n  because: neither a packet capture (pcap, pcapng) nor a recording: it begins with [73, 6f, 6d, 65, 74, 68, 69, 6e]\n"
    );
    let output = redtap(&dir, &["replay", "missing"]);
    assert_eq!(
        text(&output.stderr),
        "redtap: cannot read missing\n  because: No such file or directory (os error 2)\n"
    );
}

#[test]
fn completions_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    let output = redtap(&dir, &["completions", "bash"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("--ring-bytes"));
}
