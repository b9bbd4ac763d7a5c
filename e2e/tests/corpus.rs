//! Captures that others took, and what must be found in them: the corpus beside the repository, where there is one, in all modes.
//!
//! Skipped where there is none. `check.py` of the corpus runs the binary and compares; here are only the bars.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use redtap_e2e::agent::binary;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of captures whose protocols are held to the bar.
const FOLDERS: &[&str] = &["http", "http2", "mysql", "postgresql", "redis", "kafka", "dns"];
/// Part of the required rows that must be found, and of the found that must be right in each field.
const BAR: f64 = 0.995;
/// Records beyond what is expected, each for a reason. By an upgrade to HTTP/2 a request gets two answers: 101 in HTTP/1, and on
/// stream 1 (RFC 7540, section 3.2) what it asked for; the second is a row that is not expected.
const BEYOND: &[(&str, u64)] = &[("pcap/http2/suricata-http2-keywords2.pcap", 1)];
/// Durations that are compared with another request's: a row that leaves everything but its duration open is matched with the
/// first record that is left.
const COMPARED_WITH_ANOTHER: &[(&str, f64)] = &[("postgresql", 1.0)];
/// Captures of pipelines: of a turn that holds many requests, the first 512 bytes do not say what the others were.
const PIPELINES: &[&str] = &["pcap/http/suricata-http-protocol-nodup.pcap", "pcap/redis/zeek-bulk-loading.pcap"];

fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus").canonicalize().ok();
    let found = folder.filter(|folder| folder.join("check.py").exists());
    if found.is_none() {
        eprintln!("SKIP: there is no corpus beside the repository");
    }
    found
}

/// What `check.py` says of the captures of `protocols` in `mode`.
fn check(corpus: &Path, protocols: &[&str], mode: &str) -> Value {
    let mut command = Command::new("python3");
    command.arg(corpus.join("check.py")).args(["--json", "--mode", mode, "--redtap"]).arg(binary());
    for protocol in protocols {
        command.args(["--protocol", protocol]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn is_clean(said: &Value, mode: &str) {
    for field in ["crashes", "timeouts", "bad_lines", "foreign", "negative_false_rows"] {
        assert_eq!(said[field], 0, "{field} in mode {mode}: {said:#}");
    }
    for file in said["per_file"].as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let beyond = BEYOND.iter().find(|(beyond, _)| *beyond == name).map_or(0, |(_, rows)| *rows);
        assert_eq!(file["extra"], beyond, "{name} in mode {mode}: {file:#}");
    }
}

/// The fields of what was found are right.
fn is_right(said: &Value, mode: &str) {
    for (protocol, score) in said["protocols"].as_object().unwrap() {
        for (field, share) in score["fields"].as_object().unwrap() {
            let (right, of) = (number(&share[0]), number(&share[1]));
            let another = COMPARED_WITH_ANOTHER.iter().find(|(name, _)| *name == protocol && field == "latency");
            let right = right + another.map_or(0.0, |(_, rows)| *rows);
            assert!(right >= of * BAR, "{field} of {protocol} in mode {mode}: {right} of {of}");
        }
    }
}

#[test]
fn what_is_in_the_captures_is_found_and_right_in_every_mode() {
    let Some(corpus) = corpus() else { return };
    for mode in ["packets", "rechunk", "rechunk:77", "glue"] {
        let said = check(&corpus, FOLDERS, mode);
        is_clean(&said, mode);
        is_right(&said, mode);
        for (protocol, score) in said["protocols"].as_object().unwrap() {
            let recall = number(&score["found"]) / number(&score["required"]);
            assert!(recall >= BAR, "{protocol} in mode {mode}: {recall}");
        }
    }
}

#[test]
fn the_first_bytes_of_a_turn_are_enough_but_for_pipelines() {
    let Some(corpus) = corpus() else { return };
    let said = check(&corpus, FOLDERS, "head:512");
    is_clean(&said, "head:512");
    for field in ["method", "status"] {
        for (protocol, score) in said["protocols"].as_object().unwrap() {
            let share = &score["fields"][field];
            let (right, of) = (number(&share[0]), number(&share[1]));
            assert!(right >= of * 0.99, "{field} of {protocol}: {right} of {of}");
        }
    }
    let files = said["per_file"].as_array().unwrap().iter();
    let missing: Vec<&str> =
        files.filter(|file| file["missing"] != 0).map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(missing, PIPELINES);
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let Some(corpus) = corpus() else { return };
    for mode in ["packets", "rechunk", "glue", "head:512"] {
        is_clean(&check(&corpus, &["negative"], mode), mode);
    }
}
