//! Recordings: events in a file, exactly as they were in the ring.
//!
//! Layout, in the byte order of the machine that wrote it:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `redtapev` |
//! | 4 | byte order mark `0x01020304` |
//! | 2, 2 | version of this layout ([`FORMAT`]), version of the records ([`abi::VERSION`]) |
//! | 8 | nanoseconds to add to a time in the file to get nanoseconds since the Unix epoch (signed) |
//! | 8 | not used, zero |
//! | then, for each record: 4 | its length, at most [`MAX_RECORD`] |
//! | its length | the record: [`abi::EventHeader`] and payload |
//!
//! A recording holds payloads: it is as secret as the traffic. A file that ends in the middle of a record, or goes wrong
//! somewhere, is read up to there, and the error says where that was.
//!
//! Absent: compression, an index, and any change of a record between ring and file.

use crate::source::stream_time::{MAX_RECORD, Next, Records, StreamTime};
use crate::source::{Filled, Lease, Source};
use redtap_stages::abi;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::stage::Batch;
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

/// Version of the layout of the file.
pub const FORMAT: u16 = 1;
/// Bytes before the first record.
pub const FILE_HEADER: usize = 32;
const MAGIC: &[u8; 8] = b"redtapev";
const BYTE_ORDER: u32 = 0x0102_0304;

/// Why a recording could not be read (further).
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file begins with something else.
    #[error("not a recording: it does not begin with `redtapev`")]
    NotARecording,
    /// From a machine of the other byte order.
    #[error("recorded on a machine of another byte order")]
    ByteOrder,
    /// From another version of redtap.
    #[error(
        "the file has layout {format} and records of version {abi}; this redtap reads {FORMAT} and {}",
        abi::VERSION
    )]
    Version {
        /// Version of the layout in the file.
        format: u16,
        /// Version of the records in the file.
        abi: u16,
    },
    /// The file ends early.
    #[error("the file ends in the middle of a record that begins at byte {offset}")]
    Truncated {
        /// Where the record begins.
        offset: u64,
    },
    /// A length that no record has.
    #[error(
        "a record of {length} bytes at byte {offset}; none is shorter than {} or longer than {MAX_RECORD}",
        abi::HEADER_LEN
    )]
    Length {
        /// Where the record begins.
        offset: u64,
        /// Its length, as the file says.
        length: u32,
    },
    /// The file could not be read or written.
    #[error("at byte {offset}")]
    Io {
        /// Where.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct RecordingWriter<W> {
    file: W,
    offset: u64,
    records: u64,
}

impl<W: Write> RecordingWriter<W> {
    /// Begins a recording; `wall_offset_ns` is [`crate::clock::wall_offset_ns`]. `file` should be buffered.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(file: W, wall_offset_ns: i64) -> Result<Self, RecordingError> {
        let mut head = Vec::with_capacity(FILE_HEADER);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&BYTE_ORDER.to_ne_bytes());
        head.extend_from_slice(&FORMAT.to_ne_bytes());
        head.extend_from_slice(&u16::from(abi::VERSION).to_ne_bytes());
        head.extend_from_slice(&wall_offset_ns.to_ne_bytes());
        head.resize(FILE_HEADER, 0);
        let mut writer = Self { file, offset: 0, records: 0 };
        writer.put(&head)?;
        Ok(writer)
    }

    /// Appends one record, header and payload.
    ///
    /// # Errors
    /// When its length is no record's, or the file cannot be written.
    pub fn write(&mut self, record: &[u8]) -> Result<(), RecordingError> {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        check_length(length, self.offset)?;
        self.put(&length.to_ne_bytes())?;
        self.put(record)?;
        self.records += 1;
        Ok(())
    }

    /// Appends what `source` gives, until it ends or `stop` says so; then what had happened until then.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn copy(&mut self, source: &mut dyn Source, mut stop: impl FnMut() -> bool) -> Result<(), RecordingError> {
        let mut batch = EventBatch::<Lease>::default();
        loop {
            if stop() {
                source.stop();
            }
            match source.fill(&mut batch) {
                Filled::Records(_) => {
                    let memory = batch.memory.as_ref().map(AsRef::as_ref).unwrap_or_default();
                    for span in &batch.records {
                        self.write(span.of(memory))?;
                    }
                }
                Filled::Time(_) => {}
                Filled::Nothing(_) => source.wait(crate::drain::POLL),
                Filled::End(_) => return Ok(()),
            }
            batch.recycle();
        }
    }

    /// Records written so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<W, RecordingError> {
        let offset = self.offset;
        self.file.flush().map_err(|source| RecordingError::Io { offset, source })?;
        Ok(self.file)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        let offset = self.offset;
        self.file.write_all(bytes).map_err(|source| RecordingError::Io { offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// Reads a recording.
#[derive(Debug)]
pub struct RecordingReader<R> {
    file: R,
    offset: u64,
    wall_offset_ns: i64,
    failure: Arc<OnceLock<RecordingError>>,
}

impl<R: Read + Send + 'static> RecordingReader<R> {
    /// Reads the head of a recording. `file` should be buffered.
    ///
    /// # Errors
    /// When it is none, or not one for this redtap on this machine.
    pub fn new(file: R) -> Result<Self, RecordingError> {
        let mut reader = Self { file, offset: 0, wall_offset_ns: 0, failure: Arc::default() };
        let mut head = [0; FILE_HEADER];
        let read = reader.read_up_to(&mut head)?;
        if head.first_chunk() != Some(MAGIC) || read < FILE_HEADER {
            return Err(RecordingError::NotARecording);
        }
        let mut rest = head.as_slice().split_at(MAGIC.len()).1;
        if take(&mut rest).map(u32::from_ne_bytes) != Some(BYTE_ORDER) {
            return Err(RecordingError::ByteOrder);
        }
        let format = take(&mut rest).map_or(0, u16::from_ne_bytes);
        let abi = take(&mut rest).map_or(0, u16::from_ne_bytes);
        if format != FORMAT || abi != u16::from(abi::VERSION) {
            return Err(RecordingError::Version { format, abi });
        }
        reader.wall_offset_ns = take(&mut rest).map_or(0, i64::from_ne_bytes);
        Ok(reader)
    }

    /// Nanoseconds to add to a time in the recording to get nanoseconds since the Unix epoch.
    #[must_use]
    pub fn wall_offset_ns(&self) -> i64 {
        self.wall_offset_ns
    }

    /// Why reading ended before the end of the file; empty if it did not, or has not yet. Outlives the reader.
    #[must_use]
    pub fn failure(&self) -> Arc<OnceLock<RecordingError>> {
        Arc::clone(&self.failure)
    }

    /// The recording as a source, in its own time.
    #[must_use]
    pub fn into_source(self) -> StreamTime<Self> {
        StreamTime::new(self)
    }

    /// Appends the next record to `memory`; `None` at the end of the file.
    fn read_record(&mut self, memory: &mut Vec<u8>) -> Result<Option<()>, RecordingError> {
        let offset = self.offset;
        let mut length = [0; 4];
        match self.read_up_to(&mut length)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(RecordingError::Truncated { offset }),
        }
        let length = u32::from_ne_bytes(length);
        check_length(length, offset)?;
        let start = memory.len();
        memory.resize(start + length as usize, 0);
        let place = memory.get_mut(start..).unwrap_or_default();
        if self.read_up_to(place)? < length as usize {
            memory.truncate(start);
            return Err(RecordingError::Truncated { offset });
        }
        Ok(Some(()))
    }

    /// Fills `place` as far as the file goes.
    fn read_up_to(&mut self, place: &mut [u8]) -> Result<usize, RecordingError> {
        let mut filled = 0;
        while let Some(rest) = place.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read(rest) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RecordingError::Io { offset: self.offset, source }),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

impl<R: Read + Send + 'static> Records for RecordingReader<R> {
    fn next_record(&mut self, memory: &mut Vec<u8>) -> Next {
        if self.failure.get().is_some() {
            return Next::End;
        }
        match self.read_record(memory) {
            Ok(Some(())) => Next::Record,
            Ok(None) => Next::End,
            Err(error) => {
                drop(self.failure.set(error));
                Next::End
            }
        }
    }
}

fn check_length(length: u32, offset: u64) -> Result<(), RecordingError> {
    if (abi::HEADER_LEN..=MAX_RECORD).contains(&(length as usize)) {
        Ok(())
    } else {
        Err(RecordingError::Length { offset, length })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}
