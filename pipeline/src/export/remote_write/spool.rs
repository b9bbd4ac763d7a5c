//! Batches in files: append-only segments in one folder, and how far they have been delivered.
//!
//! A segment is named after the number of its first batch (`0000000000000001.seg`), begins with [`MAGIC`] and holds
//! records: length, CRC-32, number, samples, shard, shards (little endian; the CRC is of all that follows it), then the batch.
//! `position` holds the number below which all is done and, as bits, what is done of the 256 from there; it is written
//! anew, beside the old one, and renamed. Files are written without `fsync`: what the kernel has survives the end of the
//! process, not that of the machine.
//!
//! What is there is bad input like any other: a record whose sum is wrong ends the reading of its file and counts as
//! unreadable, a last record that is cut short is the mark of a sudden end and ignored, other files are left alone.
//!
//! Bounds: a segment [`Spool::segment_most`] bytes, a record [`MAX_RECORD`]. Absent: which batch is next
//! ([`super::queue`]), counting.

use super::collect::Batch;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"RTSPOOL1";
/// Most bytes of one batch.
pub(super) const MAX_RECORD: usize = 32 << 20;
/// Numbers after the first that is not done, of which it is known whether they are.
pub(super) const WINDOW: u64 = 256;
/// Before the batch.
const HEAD: usize = 24;

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    /// Another agent keeps its own there.
    #[error("another agent uses it")]
    Taken,
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A batch on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the first batch of its segment.
    pub(super) segment: u64,
    /// Of the record.
    offset: u64,
}

/// What a record says of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: u64,
    pub(super) samples: u32,
    pub(super) shard: u16,
    /// How many shards there were.
    pub(super) of: u16,
    /// Length of the batch, bytes.
    pub(super) length: u32,
}

/// The folder, locked for this agent.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    /// Bytes of each segment.
    segments: BTreeMap<u64, u64>,
    writing: Option<(u64, File)>,
    segment_most: u64,
    _lock: File,
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is not delivered yet, in order.
    pub(super) batches: Vec<(Head, Place)>,
    /// The number of the next batch.
    pub(super) next: u64,
    /// Files that could not be read to their end.
    pub(super) unreadable: u64,
}

impl Spool {
    /// Opens or makes the folder and reads what it holds. `most` is the bound of all segments, bytes.
    ///
    /// # Errors
    /// The folder cannot be made, read or locked.
    pub(super) fn open(folder: &Path, most: usize) -> Result<(Self, Found), SpoolError> {
        std::fs::create_dir_all(folder)?;
        let lock = private().write(true).truncate(false).open(folder.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(SpoolError::Taken),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let segment_most = (most as u64 / 16).clamp(64 << 10, 8 << 20);
        let folder = folder.to_path_buf();
        let mut spool = Self { folder, segments: BTreeMap::new(), writing: None, segment_most, _lock: lock };
        let found = spool.read_all()?;
        Ok((spool, found))
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Bytes that one more batch takes, at most.
    pub(super) const fn cost(length: usize) -> u64 {
        (length + HEAD + MAGIC.len()) as u64
    }

    /// The oldest segment but for the one that is written to, which is closed if it is the only one.
    pub(super) fn oldest(&mut self) -> Option<u64> {
        let (&first, _) = self.segments.first_key_value()?;
        if self.writing.as_ref().is_some_and(|(writing, _)| *writing == first) {
            self.writing = None;
        }
        Some(first)
    }

    /// True if nothing will be added to it.
    pub(super) fn is_closed(&self, segment: u64) -> bool {
        self.writing.as_ref().is_none_or(|(writing, _)| *writing != segment)
    }

    /// Removes a segment.
    pub(super) fn remove(&mut self, segment: u64) {
        self.segments.remove(&segment);
        // One that is gone already is as good; one that stays is read again by the next agent.
        let _ = std::fs::remove_file(self.path(segment));
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// As writing does; then no part of the record counts.
    pub(super) fn append(&mut self, number: u64, of: u16, batch: &Batch) -> io::Result<Place> {
        let length = u32::try_from(batch.packed.len()).map_err(io::Error::other)?;
        let head = Head { number, samples: batch.samples, shard: batch.shard, of, length };
        let record = record(&head, &batch.packed);
        let full = |spool: &Self, segment: &u64| {
            let bytes = spool.segments.get(segment).copied().unwrap_or(0);
            bytes > MAGIC.len() as u64 && bytes + record.len() as u64 > spool.segment_most
        };
        if self.writing.as_ref().is_none_or(|(segment, _)| full(self, segment)) {
            self.writing = None;
            let mut file = private().write(true).truncate(true).open(self.path(number))?;
            file.write_all(MAGIC)?;
            self.segments.insert(number, MAGIC.len() as u64);
            self.writing = Some((number, file));
        }
        let Some((segment, file)) = &mut self.writing else { return Err(io::Error::other("no segment")) };
        let bytes = self.segments.entry(*segment).or_insert(0);
        let place = Place { segment: *segment, offset: *bytes };
        match file.write_all(&record) {
            Ok(()) => {
                *bytes += record.len() as u64;
                Ok(place)
            }
            Err(error) => {
                // What was written of it would be a torn record in the middle: cut it off, or write no more here.
                let cut = file.set_len(place.offset).and_then(|()| file.seek(SeekFrom::Start(place.offset)));
                if cut.is_err() {
                    self.writing = None;
                }
                Err(error)
            }
        }
    }

    /// Reads a batch; none if it is no longer what was written.
    ///
    /// # Errors
    /// It cannot be read now, which says nothing of what is there.
    pub(super) fn read(&self, place: Place) -> io::Result<Option<Bytes>> {
        let mut file = match File::open(self.path(place.segment)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(place.offset))?;
        match next_record(&mut file) {
            Read::Record(_, packed) => Ok(Some(packed)),
            Read::End | Read::Torn | Read::Wrong => Ok(None),
            Read::Failed(error) => Err(error),
        }
    }

    /// Writes down that all below `base` is done, and so is what `done` says of the [`WINDOW`] from there.
    ///
    /// # Errors
    /// As writing does; then the old position stays.
    pub(super) fn settle(&self, base: u64, done: impl Fn(u64) -> bool) -> io::Result<()> {
        let mut bits = [0_u8; WINDOW as usize / 8];
        for (at, byte) in (0_u64..).zip(&mut bits) {
            for bit in 0..8 {
                *byte |= u8::from(done(base + at * 8 + bit)) << bit;
            }
        }
        let mut content = [&base.to_le_bytes()[..], &bits].concat();
        content.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
        let beside = self.folder.join("position.new");
        private().write(true).truncate(true).open(&beside)?.write_all(&content)?;
        std::fs::rename(beside, self.folder.join("position"))
    }

    /// Number below which all is done, and the bits of what follows; all zero if nobody wrote it down.
    fn position(&self) -> (u64, Vec<u8>) {
        let read = || {
            let content = std::fs::read(self.folder.join("position")).ok()?;
            let (said, sum) = content.split_at_checked(content.len().checked_sub(4)?)?;
            let (base, bits) = said.split_first_chunk::<8>()?;
            let right = sum == crc32fast::hash(said).to_le_bytes() && bits.len() == WINDOW as usize / 8;
            right.then(|| (u64::from_le_bytes(*base), bits.to_vec()))
        };
        read().unwrap_or_default()
    }

    fn read_all(&mut self) -> io::Result<Found> {
        let (base, bits) = self.position();
        // Not one of those either that are done although others before them are not: their segments may be gone already.
        let mut found = Found { next: base.max(1).max(base.saturating_add(above(&bits))), ..Found::default() };
        let mut names: Vec<u64> = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().and_then(number_of) else { continue };
            // The name is not used again, whatever it is of.
            found.next = found.next.max(number.saturating_add(1));
            if entry.file_type()?.is_file() {
                names.push(number);
            }
        }
        names.sort_unstable();
        for segment in names {
            let before = found.batches.len();
            let whole = self.read_segment(segment, base, &bits, &mut found);
            found.unreadable += u64::from(!matches!(whole, Ok(true)));
            if found.batches.len() == before {
                // One that cannot be read now stays for the next start.
                if whole.is_ok() {
                    let _ = std::fs::remove_file(self.path(segment));
                }
            } else {
                self.segments.insert(segment, std::fs::metadata(self.path(segment))?.len());
            }
        }
        Ok(found)
    }

    /// False if there is more in it than could be understood.
    fn read_segment(&self, segment: u64, base: u64, bits: &[u8], found: &mut Found) -> io::Result<bool> {
        let mut file = BufReader::new(File::open(self.path(segment))?);
        let mut magic = [0; MAGIC.len()];
        match file.read_exact(&mut magic) {
            Ok(()) => {}
            // It ended when it had just been made.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(true),
            Err(error) => return Err(error),
        }
        if &magic != MAGIC {
            return Ok(false);
        }
        let mut offset = MAGIC.len() as u64;
        loop {
            match next_record(&mut file) {
                Read::End | Read::Torn => return Ok(true),
                Read::Wrong => return Ok(false),
                Read::Failed(error) => return Err(error),
                Read::Record(head, packed) => {
                    // A number that goes back is of another file.
                    if head.number < segment || found.batches.last().is_some_and(|(last, _)| last.number >= head.number)
                    {
                        return Ok(false);
                    }
                    found.next = found.next.max(head.number.saturating_add(1));
                    if !is_done(head.number, base, bits) {
                        found.batches.push((head, Place { segment, offset }));
                    }
                    offset += (HEAD + packed.len()) as u64;
                }
            }
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment:016x}.seg"))
    }
}

/// So many numbers from the base on, up to the last that is done.
fn above(bits: &[u8]) -> u64 {
    let done = (0_u64..).zip(bits).filter(|(_, byte)| **byte != 0).last();
    done.map_or(0, |(at, byte)| at * 8 + u64::from(8 - byte.leading_zeros()))
}

fn is_done(number: u64, base: u64, bits: &[u8]) -> bool {
    let Some(after) = number.checked_sub(base) else { return true };
    let byte = usize::try_from(after / 8).ok().and_then(|at| bits.get(at));
    byte.is_some_and(|byte| byte >> (after % 8) & 1 == 1)
}

/// Files that only the agent's user can read: there are names of services and endpoints in them.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn record(head: &Head, packed: &[u8]) -> Vec<u8> {
    let mut summed = Vec::with_capacity(HEAD + packed.len());
    summed.extend_from_slice(&head.length.to_le_bytes());
    summed.extend_from_slice(&[0; 4]);
    summed.extend_from_slice(&head.number.to_le_bytes());
    summed.extend_from_slice(&head.samples.to_le_bytes());
    summed.extend_from_slice(&head.shard.to_le_bytes());
    summed.extend_from_slice(&head.of.to_le_bytes());
    summed.extend_from_slice(packed);
    let sum = crc32fast::hash(summed.get(8..).unwrap_or_default());
    if let Some(place) = summed.get_mut(4..8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    summed
}

enum Read {
    Record(Head, Bytes),
    /// The file ends here.
    End,
    /// The file ends within the record.
    Torn,
    /// It is no record.
    Wrong,
    /// It cannot be read now.
    Failed(io::Error),
}

fn next_record(file: &mut impl io::Read) -> Read {
    let mut head = [0_u8; HEAD];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) if filled == 0 => return Read::End,
            Ok(0) => return Read::Torn,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Read::Failed(error),
        }
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3, n0, n1, n2, n3, n4, n5, n6, n7, s0, s1, s2, s3, h0, h1, o0, o1] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if length as usize > MAX_RECORD {
        return Read::Wrong;
    }
    let mut packed = Vec::new();
    match file.take(u64::from(length)).read_to_end(&mut packed) {
        Ok(read) if read < length as usize => return Read::Torn,
        Ok(_) => {}
        Err(error) => return Read::Failed(error),
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.get(8..).unwrap_or_default());
    hasher.update(&packed);
    if hasher.finalize() != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Read::Wrong;
    }
    let head = Head {
        number: u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
        samples: u32::from_le_bytes([s0, s1, s2, s3]),
        shard: u16::from_le_bytes([h0, h1]),
        of: u16::from_le_bytes([o0, o1]),
        length,
    };
    Read::Record(head, packed.into())
}
