//! `redtap replay` as its users run it: formats, modes, standard input, files that are damaged or still grow.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests a panic is a failure")]

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// `captures/tests/data/captures/record.py` says what it holds.
const MIXED: &[u8] = include_bytes!("../../captures/tests/data/captures/mixed.pcap");
const COOKED: &[u8] = include_bytes!("../../captures/tests/data/captures/cooked.pcap");
const RECORDING: &[u8] = include_bytes!("data/mixed.redtapev");

/// What curl, redis-cli, dig and the sockets of the script asked, and what they were told.
const ROWS: [&str; 28] = [
    "http GET /hello ok 200",
    "http GET /gone error 410",
    "http GET /large ok 200",
    "http GET /away ok 302",
    "http POST /fail?q=1 error 500",
    "http HEAD /large ok 200",
    "http GET /hello ok 200",
    "http GET /gone error 410",
    "http GET /hello ok 200",
    "http GET /none error 404",
    "redis SET key ok ",
    "redis GET key ok ",
    "redis INCR key error ERR",
    "redis LPUSH list ok ",
    "redis LRANGE list ok ",
    "redis GET key0 ok ",
    "redis GET key1 ok ",
    "redis GET key2 ok ",
    "redis GET key3 ok ",
    "redis GET key4 ok ",
    "redis GET key5 ok ",
    "redis GET key6 ok ",
    "redis GET key7 ok ",
    "redis PING  ok ",
    "dns A one.test ok ",
    "dns AAAA one.test error NXDOMAIN",
    "dns A none.test error NXDOMAIN",
    "dns A one.test ok ",
];

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redtap"));
    command.arg("replay").args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn replay(folder: &Path, arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    said(&command(folder, arguments).output().unwrap())
}

fn said(output: &Output) -> (Option<i32>, Vec<String>, String) {
    let rows = String::from_utf8(output.stdout.clone()).unwrap().lines().map(row).collect();
    (output.status.code(), rows, String::from_utf8(output.stderr.clone()).unwrap())
}

fn row(line: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    let words =
        ["protocol", "method", "target", "status", "code"].map(|field| value[field].as_str().unwrap().to_owned());
    words.join(" ")
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn every_mode_finds_the_same_requests_in_every_link_type() {
    let folder = folder(&[("mixed.pcap", MIXED), ("cooked.pcap", COOKED)]);
    for file in ["mixed.pcap", "cooked.pcap"] {
        for mode in ["packets", "rechunk", "rechunk:7", "glue"] {
            let (code, rows, err) = replay(folder.path(), &[file, "--records", "-", "--mode", mode]);
            assert_eq!((code, &rows[..]), (Some(0), &ROWS.map(str::to_owned)[..]), "{file} {mode}: {err}");
        }
    }
}

#[test]
fn heads_keep_protocol_method_and_status() {
    let folder = folder(&[("mixed.pcap", MIXED)]);
    let (code, rows, err) = replay(folder.path(), &["mixed.pcap", "--records", "-", "--mode", "head:512"]);
    assert_eq!((code, &rows[..]), (Some(0), &ROWS.map(str::to_owned)[..]), "{err}");
    for mode in ["heads", "head", "head:x", "packets:1", "rechunk:"] {
        let (code, _, err) = replay(folder.path(), &["mixed.pcap", "--mode", mode]);
        assert_eq!(code, Some(2), "{mode}");
        assert!(err.contains(&format!("\"{mode}\" is no mode: packets, rechunk")), "{err}");
    }
}

#[test]
fn reads_what_is_compressed_and_what_comes_through_a_pipe() {
    let (packed, recording) = (gzip(MIXED), gzip(RECORDING));
    let folder = folder(&[("packed", &packed), ("recording.gz", &recording), ("recording", RECORDING)]);
    let (code, rows, err) = replay(folder.path(), &["packed", "--records", "-"]);
    assert_eq!((code, rows.len()), (Some(0), ROWS.len()), "{err}");
    let plain = replay(folder.path(), &["recording", "--records", "-"]);
    assert_eq!(replay(folder.path(), &["recording.gz", "--records", "-"]), plain);
    assert!(plain.0 == Some(0) && plain.1.len() > 20);
    for bytes in [MIXED, &packed] {
        let mut child = command(folder.path(), &["-", "--records", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || {
            // In pieces, so that one read does not give all.
            for piece in bytes.chunks(1_000) {
                pipe.write_all(piece).unwrap();
            }
        });
        let (code, rows, _) = said(&child.wait_with_output().unwrap());
        writer.join().unwrap();
        assert_eq!((code, &rows[..]), (Some(0), &ROWS.map(str::to_owned)[..]));
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place_and_what_came_before_is_kept() {
    // The last packet but some, in the middle.
    let (mut at, mut begins) = (24, Vec::new());
    while let Some(length) = MIXED.get(at + 8..).and_then(|rest| rest.first_chunk::<4>()) {
        begins.push(at);
        at += 16 + u32::from_le_bytes(*length) as usize;
    }
    let middle = begins[begins.len() / 2];
    let mut damaged = MIXED.to_vec();
    damaged[middle + 8..middle + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let packed = gzip(MIXED);
    let folder = folder(&[
        ("damaged", &damaged),
        ("cut", &MIXED[..middle + 30]),
        ("cut.gz", &packed[..packed.len() - 300]),
        ("other", b"#!/bin/sh\nexit\n"),
        ("empty", b""),
    ]);
    let (code, rows, err) = replay(folder.path(), &["damaged", "--records", "-"]);
    assert_eq!(code, Some(1));
    assert!(err.contains(&format!("damaged could only be read up to here: damaged at byte {middle}:")), "{err}");
    assert!(!rows.is_empty() && rows.len() < ROWS.len(), "{rows:?}");
    assert_eq!(rows[..8], ROWS[..8]);

    // Everyday life: the tool was ended.
    let (code, kept, err) = replay(folder.path(), &["cut", "--records", "-"]);
    assert_eq!((code, kept), (Some(0), rows), "{err}");
    assert!(
        err.contains(&format!("cut: the file ends in the middle of a block that begins at byte {middle}")),
        "{err}"
    );
    let (code, kept, err) = replay(folder.path(), &["cut.gz", "--records", "-"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("the file ends in the middle of a block") && kept.len() > 8, "{err}");

    for (name, words) in [
        ("other", "neither a packet capture (pcap, pcapng) nor a recording: it begins with [23, 21, 2f,"),
        ("empty", "it is empty"),
    ] {
        let (code, rows, err) = replay(folder.path(), &[name, "--records", "-"]);
        assert_eq!((code, rows.len()), (Some(1), 0));
        assert!(err.contains(&format!("cannot replay {name}")) && err.contains(words), "{err}");
    }
    let (code, _, err) = replay(folder.path(), &["absent", "--records", "-"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("cannot read absent"), "{err}");
}

#[test]
fn an_answer_whose_request_the_capture_lost_is_listed_only_when_asked_for() {
    let length = |at: usize| 16 + u32::from_le_bytes(*MIXED[at + 8..].first_chunk().unwrap()) as usize;
    let mut at = 24;
    while !MIXED[at..at + length(at)].windows(10).any(|window| window == b"GET /hello") {
        at += length(at);
    }
    let without = [&MIXED[..at], &MIXED[at + length(at)..]].concat();
    let folder = folder(&[("without", &without)]);
    let (code, rows, err) = replay(folder.path(), &["without", "--records", "-"]);
    assert_eq!((code, &rows[..]), (Some(0), &ROWS.map(str::to_owned)[1..]), "{err}");
    assert!(err.contains("1 exchanges whose request is not in the file are not listed; --unasked lists them"), "{err}");
    assert!(err.contains("1 gaps in streams"), "{err}");
    let (code, rows, err) = replay(folder.path(), &["without", "--records", "-", "--unasked"]);
    let (all, unknown) = (ROWS.len(), "http   ok 200");
    assert_eq!((code, rows.len(), rows[0].as_str()), (Some(0), all, unknown), "{err}");
}

/// Captures and recordings, packed or not, out of a pipe that pauses anywhere.
#[test]
fn a_pipe_is_followed_until_its_writer_is_gone() {
    let folder = folder(&[]);
    let (packed, rows) = (gzip(MIXED), ROWS.len());
    let all =
        replay(folder.path(), &[concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mixed.redtapev"), "--records", "-"]);
    for (bytes, rows) in [(MIXED, rows), (&packed, rows), (RECORDING, all.1.len())] {
        let mut child = command(folder.path(), &["-", "--follow", "--records", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        for piece in [&bytes[..5], &bytes[5..1_001], &bytes[1_001..2_500], &bytes[2_500..]] {
            pipe.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
        drop(pipe);
        let (code, found, err) = said(&child.wait_with_output().unwrap());
        assert_eq!((code, found.len()), (Some(0), rows), "{err}");
    }
}

#[test]
fn a_file_that_grows_is_followed_until_the_end_is_asked_for() {
    let folder = folder(&[("growing", &MIXED[..5_000])]);
    let path = folder.path().join("growing");
    let mut child = command(folder.path(), &["growing", "--follow", "--records", "-"])
        .stdout(Stdio::piped())
        .stderr(File::create(folder.path().join("err")).unwrap())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // Whatever goes wrong: nobody waits for ever.
    let (done, watched) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if watched.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| row(&line.unwrap()));
    assert_eq!(lines.next().as_deref(), Some(ROWS[0]), "before the file is whole");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&MIXED[5_000..]).unwrap();
    let rows: Vec<String> = lines.by_ref().take(ROWS.len() - 1).collect();
    let mut want = ROWS[1..].to_vec();
    want.sort_unstable();
    let mut found = rows.clone();
    found.sort_unstable();
    assert_eq!(found, want);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(lines.next(), None);
    let status = child.wait().unwrap();
    drop(done);
    watchdog.join().unwrap();
    assert!(status.success(), "{}", std::fs::read_to_string(folder.path().join("err")).unwrap());
}
