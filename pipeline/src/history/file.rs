//! The history on disk: one file, written whole beside the old one and put in its place.
//!
//! Layout: [`MAGIC`], then numbers as in [`super::block`] and texts with their length before them: the series (metric by
//! name, service, namespace, labels; a number that is not in use has an empty metric), the fine steps, the coarse steps
//! (distance from the step before in steps, length, bytes); at the end CRC-32 of everything before it, little-endian.
//!
//! A file is believed only after every byte of it was looked at. Bounds: the history's memory, [`MAX_NAMES`] series,
//! texts of [`MAX_TEXT`].
//! Absent: compression (the steps are small already), other versions.

use super::block::{Block, BlockError, read as number, write as put};
use super::series::Named;
use super::{COARSE, COARSE_KEPT, FINE, FINE_KEPT};
use redtap_stages::metric::{Entry, TABLE};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// First bytes; the last of them is the version.
const MAGIC: &[u8; 16] = b"redtap history\n\x01";
/// Most series: those of the registry, and as many that are gone from it.
const MAX_NAMES: u64 = 2 * crate::registry::MAX_SERIES as u64;
/// What a file may have beyond the history's memory, bytes.
const SLACK: u64 = 4_096;
/// Longest text, bytes.
const MAX_TEXT: u64 = 4_096;

/// Why there is nothing from a file, or why it was not written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It begins with something else.
    #[error("{path} is no history of this version", path = path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
    },
    /// It is larger than `history.memory` allows.
    #[error("{path} has more than {most} bytes; raise history.memory to read it", path = path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Largest that is read.
        most: u64,
    },
    /// It is damaged.
    #[error("{path} is damaged: {damage}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        damage: Damage,
    },
}

/// What is wrong with a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It ends too early, or its checksum is another.
    #[error("cut, or its checksum is another")]
    Checksum,
    /// It ends within something, or goes on after its end.
    #[error("its parts are longer or shorter than they say")]
    Length,
    /// A text is too long or not text.
    #[error("a name is too long or not text")]
    Text,
    /// A metric or label that there is not.
    #[error("it names a metric or label that there is not")]
    Name,
    /// Steps in no order, or too many.
    #[error("its steps are in no order or too many")]
    Order,
    /// A step whose bytes are none.
    #[error("{0}")]
    Step(#[from] BlockError),
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// By number.
    pub(super) names: Vec<Option<Arc<Named>>>,
    /// Oldest first.
    pub(super) fine: Vec<Block>,
    /// Oldest first.
    pub(super) coarse: Vec<Block>,
}

/// Reads a file; `None`: there is none.
pub(super) fn read(path: &Path, memory: usize) -> Result<Option<Kept>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let most = u64::try_from(memory).unwrap_or(u64::MAX).saturating_add(SLACK);
    let mut bytes = Vec::new();
    match File::open(path) {
        // Not by its length: it may be a pipe or a device.
        Ok(file) => file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if bytes.len() as u64 > most {
        return Err(FileError::TooLarge { path: path.to_owned(), most });
    }
    if !bytes.starts_with(MAGIC) {
        return Err(FileError::Foreign { path: path.to_owned() });
    }
    parse(&bytes).map(Some).map_err(|damage| FileError::Damaged { path: path.to_owned(), damage })
}

/// Writes a file, readable by its owner alone.
pub(super) fn write(path: &Path, kept: &Kept) -> Result<(), FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let bytes = render(kept);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(io)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&beside, path).map_err(io)
}

fn render(kept: &Kept) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put(&mut bytes, kept.names.len() as u64);
    for named in &kept.names {
        match named {
            None => text(&mut bytes, ""),
            Some(named) => {
                text(&mut bytes, named.metric.entry().prometheus);
                text(&mut bytes, named.service());
                text(&mut bytes, named.namespace());
                put(&mut bytes, named.labels().count() as u64);
                for (name, value) in named.labels() {
                    text(&mut bytes, name);
                    text(&mut bytes, value);
                }
            }
        }
    }
    for (blocks, step) in [(&kept.fine, FINE), (&kept.coarse, COARSE)] {
        put(&mut bytes, blocks.len() as u64);
        let mut last = 0;
        for block in blocks {
            put(&mut bytes, u64::try_from(block.start / i64::from(step) - last).unwrap_or(0));
            last = block.start / i64::from(step);
            put(&mut bytes, block.bytes.len() as u64);
            bytes.extend_from_slice(&block.bytes);
        }
    }
    let sum = checksum(&bytes).to_le_bytes();
    bytes.extend_from_slice(&sum);
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

fn parse(bytes: &[u8]) -> Result<Kept, Damage> {
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or(Damage::Checksum)?;
    if checksum(body) != u32::from_le_bytes(*sum) {
        return Err(Damage::Checksum);
    }
    let mut rest = body.get(MAGIC.len()..).ok_or(Damage::Length)?;
    let names = parse_names(&mut rest)?;
    let fine = parse_steps(&mut rest, names.len(), FINE, FINE_KEPT)?;
    let coarse = parse_steps(&mut rest, names.len(), COARSE, COARSE_KEPT)?;
    if rest.is_empty() { Ok(Kept { names, fine, coarse }) } else { Err(Damage::Length) }
}

fn parse_names(rest: &mut &[u8]) -> Result<Vec<Option<Arc<Named>>>, Damage> {
    let count = number(rest)?;
    if count > MAX_NAMES {
        return Err(Damage::Name);
    }
    let mut names = Vec::new();
    for _ in 0..count {
        let metric = parse_text(rest)?;
        if metric.is_empty() {
            names.push(None);
            continue;
        }
        let entry = TABLE.iter().find(|entry| entry.prometheus == metric).ok_or(Damage::Name)?;
        let (service, namespace) = (parse_text(rest)?, parse_text(rest)?);
        let labels = parse_labels(rest, entry)?;
        names.push(Some(Arc::new(Named::new(entry.metric, service, namespace, &labels))));
    }
    Ok(names)
}

fn parse_labels<'a>(rest: &mut &'a [u8], entry: &Entry) -> Result<Vec<(&'static str, &'a str)>, Damage> {
    let count = number(rest)?;
    if count > entry.labels.len() as u64 {
        return Err(Damage::Name);
    }
    let label = |rest: &mut &'a [u8]| {
        let name = parse_text(rest)?;
        let label = entry.labels.iter().find(|label| label.name == name).ok_or(Damage::Name)?;
        Ok((label.name, parse_text(rest)?))
    };
    (0..count).map(|_| label(rest)).collect()
}

fn parse_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Damage> {
    let length = number(rest)?;
    if length > MAX_TEXT {
        return Err(Damage::Text);
    }
    std::str::from_utf8(take(rest, length)?).map_err(|_| Damage::Text)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], Damage> {
    let length = usize::try_from(length).map_err(|_| Damage::Length)?;
    let (taken, after) = rest.split_at_checked(length).ok_or(Damage::Length)?;
    *rest = after;
    Ok(taken)
}

fn parse_steps(rest: &mut &[u8], names: usize, step: u32, kept: u32) -> Result<Vec<Block>, Damage> {
    let count = number(rest)?;
    if count > u64::from(kept / step) {
        return Err(Damage::Order);
    }
    let names = u32::try_from(names).map_err(|_| Damage::Name)?;
    let (mut blocks, mut at) = (Vec::new(), 0_i64);
    for _ in 0..count {
        let ahead = i64::try_from(number(rest)?).map_err(|_| Damage::Order)?;
        // The first is as far from the epoch as it says, but not beyond what a time can be.
        if ahead == 0 || ahead > i64::from(u32::MAX) {
            return Err(Damage::Order);
        }
        at = at.saturating_add(ahead);
        let length = number(rest)?;
        let start = at.checked_mul(i64::from(step)).ok_or(Damage::Order)?;
        let block = Block { start, bytes: take(rest, length)?.into() };
        block.check(names)?;
        blocks.push(block);
    }
    Ok(blocks)
}

impl Damage {
    /// All kinds, for tests.
    #[cfg(test)]
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        parse(bytes).err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use redtap_stages::metric::Metric;

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(body);
        let sum = checksum(&bytes).to_le_bytes();
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn kept() -> Kept {
        let named = Named::new(Metric::HttpServerRequestDuration, "shop", "prod", &[("http.route", "/a")]);
        let gain = [1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        Kept {
            names: vec![None, Some(Arc::new(named))],
            fine: vec![Block::of(1_700_000_000, [(1, gain)]), Block::of(1_700_000_010, [])],
            coarse: vec![Block::of(1_699_999_980, [(1, gain)])],
        }
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        assert!(read(&path, 1 << 20).unwrap().is_none());
        for _ in 0..2 {
            write(&path, &kept()).unwrap();
        }
        let back = read(&path, 1 << 20).unwrap().unwrap();
        assert_eq!((back.names, back.fine, back.coarse), (kept().names, kept().fine, kept().coarse));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let whole = render(&kept());
        assert_eq!(Damage::of(&whole), None);
        assert_eq!(Damage::of(&whole[..whole.len() - 1]), Some(Damage::Checksum));
        assert_eq!(Damage::of(&sealed(&[0, 0, 0])), None, "an empty history");
        assert_eq!(Damage::of(&sealed(&[0, 0, 0, 0])), Some(Damage::Length));
        assert_eq!(Damage::of(&sealed(&[0, 0])), Some(Damage::Step(BlockError::Number)));
        assert_eq!(Damage::of(&sealed(&[1, 1, b'x'])), Some(Damage::Name));
        assert_eq!(Damage::of(&sealed(&[1, 1, 0xff])), Some(Damage::Text));
        assert_eq!(Damage::of(&sealed(&[1, 0xff, 0xff, 0x7f])), Some(Damage::Text));
        assert_eq!(Damage::of(&sealed(&[0, 1, 0, 0, 0])), Some(Damage::Order));
        assert_eq!(Damage::of(&sealed(&[0, 1, 1, 3, 0, 1, 1, 0])), Some(Damage::Step(BlockError::Series)));
        assert_eq!(Damage::of(&sealed(&[0, 0xff, 0x7f])), Some(Damage::Order));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        std::fs::write(&path, "something else").unwrap();
        assert!(matches!(read(&path, 1 << 20), Err(FileError::Foreign { .. })));
        std::fs::write(&path, vec![0; 4_147]).unwrap();
        assert!(matches!(read(&path, 50), Err(FileError::TooLarge { most: 4_146, .. })));
        assert!(matches!(read(folder.path(), 50), Err(FileError::Io { .. })));
        assert!(matches!(read(Path::new("/dev/zero"), 50), Err(FileError::TooLarge { .. })), "no end");
    }

    proptest! {
        #[test]
        fn any_content_is_a_history_or_an_error(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Damage::of(&sealed(&body));
        }

        #[test]
        fn any_change_of_a_byte_is_found_or_harmless(at in any::<prop::sample::Index>(), by in 1..=255_u8) {
            let mut bytes = render(&kept());
            bytes.truncate(bytes.len() - 4);
            let at = at.index(bytes.len() - MAGIC.len()) + MAGIC.len();
            bytes[at] = bytes[at].wrapping_add(by);
            let _ = Damage::of(&sealed(&bytes[MAGIC.len()..]));
        }
    }
}
