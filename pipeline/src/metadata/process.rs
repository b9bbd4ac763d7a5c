//! Reads what `/proc/PID` tells of a process.

use super::container;
use super::read;
use super::service::{Evidence, VARIABLES};
use std::collections::BTreeMap;
use std::path::Path;

/// Arguments that are kept.
const MAX_ARGUMENTS: usize = 64;
/// Bytes of an argument or variable that are kept.
const MAX_WORD: usize = 1_024;

/// A file as text; what is not UTF-8 is replaced.
pub(super) fn read_text(path: &Path) -> Option<String> {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Start time in clock ticks since boot: field 22 of `stat`. The name in field 2 may hold anything, parentheses too, so
/// that fields are counted from the last one. A zombie counts as gone: there is nothing left to look at.
pub(super) fn start(proc: &Path, pid: u32) -> Option<u64> {
    let text = read_text(&proc.join(pid.to_string()).join("stat"))?;
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes there are.
pub(super) fn all(proc: &Path) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// All that names the service of a process. What cannot be read is left empty.
pub(super) fn evidence(proc: &Path, pid: u32) -> Evidence {
    let folder = proc.join(pid.to_string());
    let words = |file: &str| read(&folder.join(file)).unwrap_or_default();
    let executable = std::fs::read_link(folder.join("exe")).ok();
    let executable = executable.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let executable = executable.unwrap_or_default();
    Evidence {
        arguments: arguments(&words("cmdline")),
        executable: executable.strip_suffix(" (deleted)").unwrap_or(&executable).to_owned(),
        comm: read_text(&folder.join("comm")).unwrap_or_default().trim_end_matches('\n').to_owned(),
        environment: environment(&words("environ")),
        container: container::parse(&read_text(&folder.join("cgroup")).unwrap_or_default()),
        container_name: String::new(),
    }
}

/// A process that sets its title overwrites its arguments: one text, padded with NULs or spaces.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let bytes = bytes.get(..end).unwrap_or(&[]);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|&byte| byte == 0).take(MAX_ARGUMENTS).map(word).collect()
}

fn environment(bytes: &[u8]) -> BTreeMap<String, String> {
    let pairs = bytes.split(|&byte| byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let name = VARIABLES.iter().find(|name| pair.get(..at) == Some(name.as_bytes()))?;
        Some(((*name).to_owned(), word(pair.get(at + 1..)?)))
    });
    pairs.collect()
}

fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..MAX_WORD).unwrap_or(bytes)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_arguments_and_keeps_empty_ones_inside() {
        assert_eq!(arguments(b"a\0\0b\0"), ["a", "", "b"]);
        assert_eq!(arguments(b"nginx: worker process\0\0\0\0"), ["nginx: worker process"]);
        assert!(arguments(b"").is_empty());
        assert!(arguments(b"\0\0").is_empty());
        assert_eq!(arguments(&b"x\0".repeat(1_000)).len(), MAX_ARGUMENTS);
    }

    #[test]
    fn keeps_no_variable_but_those_that_name_services() {
        let found = environment(b"SECRET=x\0POD_NAME=a=b\0XPOD_NAME=c\0novalue\0HOSTNAME=\0");
        let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(found, [("HOSTNAME", ""), ("POD_NAME", "a=b")]);
    }
}
