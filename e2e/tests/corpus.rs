//! Captures that others took, and what must be found in them: the corpus beside the repository, where there is one, in all modes.
//!
//! Skipped where there is none. `check.py` of the corpus runs the binary and compares; here are only the bars.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use redtap_e2e::agent::binary;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Protocols held to the bar.
const PROTOCOLS: &[&str] = &["http", "dns", "redis"];
/// Part of the required rows that must be found, and of the found that must be right in each field.
const BAR: f64 = 0.995;
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
    for field in ["crashes", "timeouts", "bad_lines", "foreign", "negative_false_rows", "extra"] {
        assert_eq!(said[field], 0, "{field} in mode {mode}: {said:#}");
    }
}

#[test]
fn what_is_in_the_captures_is_found_and_right_in_every_mode() {
    let Some(corpus) = corpus() else { return };
    for mode in ["packets", "rechunk", "rechunk:77", "glue"] {
        let said = check(&corpus, PROTOCOLS, mode);
        is_clean(&said, mode);
        for protocol in PROTOCOLS {
            let score = &said["protocols"][protocol];
            let recall = number(&score["found"]) / number(&score["required"]);
            assert!(recall >= BAR, "{protocol} in mode {mode}: {recall}");
            for (field, share) in score["fields"].as_object().unwrap() {
                let (right, of) = (number(&share[0]), number(&share[1]));
                assert!(right >= of * BAR, "{field} of {protocol} in mode {mode}: {right} of {of}");
            }
        }
    }
}

#[test]
fn the_first_bytes_of_a_turn_are_enough_but_for_pipelines() {
    let Some(corpus) = corpus() else { return };
    let said = check(&corpus, PROTOCOLS, "head:512");
    is_clean(&said, "head:512");
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
