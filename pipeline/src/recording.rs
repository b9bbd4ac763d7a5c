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

use crate::source::StreamTime;
use crate::source::{Filled, Lease, Source};
use redtap_captures::records::{MAX_RECORD, Next, Records};
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
/// Bytes of a record's length.
const LENGTH: usize = 4;
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
    /// Where the next record begins.
    offset: u64,
    /// What was read of it: a file that grows may end in its middle for now.
    begun: Vec<u8>,
    wall_offset_ns: i64,
    failure: Arc<OnceLock<RecordingError>>,
}

impl<R: Read + Send + 'static> RecordingReader<R> {
    /// Reads the head of a recording. `file` should be buffered.
    ///
    /// # Errors
    /// When it is none, or not one for this redtap on this machine.
    pub fn new(file: R) -> Result<Self, RecordingError> {
        let mut reader = Self { file, offset: 0, begun: Vec::new(), wall_offset_ns: 0, failure: Arc::default() };
        if reader.read_head()?.is_some() || reader.begun.first_chunk() != Some(MAGIC) {
            return Err(RecordingError::NotARecording);
        }
        let head = std::mem::take(&mut reader.begun);
        reader.offset = head.len() as u64;
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

    /// Reads the head, waiting for it where the file may still grow.
    fn read_head(&mut self) -> Result<Option<Next>, RecordingError> {
        loop {
            match self.fill_up_to(FILE_HEADER) {
                Ok(Some(Next::Later)) => std::thread::sleep(crate::drain::POLL * 5),
                Err(RecordingError::Truncated { .. }) => return Err(RecordingError::NotARecording),
                other => return other,
            }
        }
    }

    /// Appends the next record to `memory`.
    fn read_record(&mut self, memory: &mut Vec<u8>) -> Result<Next, RecordingError> {
        let offset = self.offset;
        if let Some(none) = self.fill_up_to(LENGTH)? {
            return Ok(none);
        }
        let length = self.begun.first_chunk::<LENGTH>().copied().map_or(0, u32::from_ne_bytes);
        check_length(length, offset)?;
        if let Some(none) = self.fill_up_to(LENGTH + length as usize)? {
            return Ok(none);
        }
        memory.extend_from_slice(self.begun.get(LENGTH..).unwrap_or_default());
        self.offset += self.begun.len() as u64;
        self.begun.clear();
        Ok(Next::Record)
    }

    /// Reads until `size` bytes of the record are there; else says why they are not.
    fn fill_up_to(&mut self, size: usize) -> Result<Option<Next>, RecordingError> {
        while self.begun.len() < size {
            let had = self.begun.len();
            self.begun.resize(size, 0);
            let read = self.file.read(self.begun.get_mut(had..).unwrap_or_default());
            self.begun.truncate(had + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) if had == 0 => return Ok(Some(Next::End)),
                Ok(0) => return Err(RecordingError::Truncated { offset: self.offset }),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(Some(Next::Later)),
                    // A compressed stream that stops.
                    io::ErrorKind::UnexpectedEof => {
                        return Err(RecordingError::Truncated { offset: self.offset });
                    }
                    _ => return Err(RecordingError::Io { offset: self.offset + had as u64, source: error }),
                },
            }
        }
        Ok(None)
    }
}

impl<R: Read + Send + 'static> Records for RecordingReader<R> {
    fn next_record(&mut self, memory: &mut Vec<u8>) -> Next {
        if self.failure.get().is_some() {
            return Next::End;
        }
        match self.read_record(memory) {
            Ok(next) => next,
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
