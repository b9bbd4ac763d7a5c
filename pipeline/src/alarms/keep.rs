//! The state of alarms on disk: read once at the start, written anew when something changed.
//!
//! One JSON file, written beside its place and then moved there, readable by its owner alone. A file that is not ours, is
//! too large or does not read is said and left out, never an end of the agent; the next write replaces it.
//!
//! Bounds: [`MAX_FILE`]. Absent: anything of a request; windows (a rule sees again only what happens after the start).

use super::groups::Key;
use super::phase::Phase;
use super::{Alarm, Notice};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Of the format. Others are not read.
pub const VERSION: u32 = 1;
/// Largest file that is read, bytes.
pub const MAX_FILE: u64 = 16 << 20;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// [`VERSION`].
    pub version: u32,
    /// Pending and firing.
    pub alarms: Vec<KeptAlarm>,
    /// Over, newest first.
    pub history: Vec<Alarm>,
    /// What receivers were not told yet, by name, oldest first.
    pub untold: BTreeMap<String, Vec<Notice>>,
}

/// One alarm that is pending or firing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptAlarm {
    /// What it is about.
    pub key: Key,
    /// Where it stands.
    pub phase: Phase,
    /// How it was shown last.
    pub alarm: Alarm,
}

/// Why the state is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Of the file system.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a regular file, or too large.
    #[error("it is not a file of at most {MAX_FILE} bytes")]
    NotAFile,
    /// Not our JSON.
    #[error("it does not read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// Of another version.
    #[error("it is of version {0}, and this is {VERSION}")]
    Version(u32),
}

/// Reads it; `None` if there is no such file.
///
/// # Errors
/// It is there and cannot be used.
pub fn read(path: &Path) -> Result<Option<Kept>, KeepError> {
    // Not blocked by a pipe that lies there.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let about = file.metadata()?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(KeepError::NotAFile);
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    let version = serde_json::from_str::<serde_json::Value>(&text)?.get("version").and_then(serde_json::Value::as_u64);
    let version = version.and_then(|version| u32::try_from(version).ok()).unwrap_or(0);
    if version != VERSION {
        return Err(KeepError::Version(version));
    }
    Ok(Some(serde_json::from_str(&text)?))
}

/// Writes it; whoever reads sees the old or the new.
///
/// # Errors
/// Of the file system.
pub fn write(path: &Path, kept: &Kept) -> Result<(), KeepError> {
    let text = serde_json::to_vec(&Kept { version: VERSION, ..kept.clone() })?;
    let mut name = path.file_name().ok_or(KeepError::NotAFile)?.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What an end half way left there.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&text)?;
    file.sync_data()?;
    std::fs::rename(&beside, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::Unit;

    fn kept() -> Kept {
        let alarm = Alarm {
            name: "A".to_owned(),
            severity: "info".to_owned(),
            service: "shop".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            value: Some(0.5),
            unit: Some(Unit::Seconds),
            since_ms: 7,
            until_ms: None,
        };
        let phase = Phase::Firing { since_ms: 7, clear_since_ms: None };
        Kept {
            version: VERSION,
            alarms: vec![KeptAlarm { key: Key::capture(), phase, alarm: alarm.clone() }],
            history: vec![alarm.clone()],
            untold: BTreeMap::from([("webhook".to_owned(), vec![Notice { resolved: true, alarm }])]),
        }
    }

    #[test]
    fn reads_what_it_wrote_and_replaces_it_in_one_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alarms.json");
        assert!(read(&path).unwrap().is_none(), "nothing yet");
        write(&path, &Kept::default()).unwrap();
        write(&path, &kept()).unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), kept());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_says_no_units_is_read() {
        let text = serde_json::to_string(&kept()).unwrap();
        let without = text.replace(",\"unit\":\"seconds\"", "");
        assert_eq!(text.len() - without.len(), 3 * ",\"unit\":\"seconds\"".len());
        let read: Kept = serde_json::from_str(&without).unwrap();
        assert_eq!((read.history[0].value, read.history[0].unit), (Some(0.5), None));
    }

    #[test]
    fn what_is_hostile_is_an_error_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alarms.json");
        let whole = serde_json::to_string(&kept()).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert!(read(&path).is_err(), "cut at {end}");
        }
        for text in ["[]", "{\"version\":2}", "{\"version\":1,\"alarms\":7}", "\u{0}\u{0}", "{\"version\":1,\"x\":1}"] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text}");
        }
        std::fs::write(&path, "[".repeat(100_000)).unwrap();
        assert!(read(&path).is_err(), "nested without end");
        assert!(read(folder.path()).is_err(), "a folder");
    }
}
