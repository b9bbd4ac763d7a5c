//! What is replayed: a file or standard input, compressed or not, and which format it is.
//!
//! The first bytes decide, never the name. What is *followed* does not end where it ends now: a read there would block.
//!
//! Absent: any look behind the first bytes.

use crossbeam_channel::{Receiver, TryRecvError};
use flate2::read::MultiGzDecoder;
use redtap_captures::file::is_capture;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Begins a gzip stream (RFC 1952, section 2.3.1), with the one method there is.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
const RECORDING: [u8; 8] = *b"redtapev";

/// The name that stands for standard input.
pub const STDIN: &str = "-";
/// Bytes of a followed pipe that are read at a time, and how many such blocks wait.
const BLOCK: usize = 64 * 1024;
const BLOCKS: usize = 16;

/// Bytes to be replayed.
pub type Bytes = Box<dyn Read + Send>;

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Events, as [`crate::recording`] writes them.
    Recording,
    /// Packets ([`redtap_captures`]).
    Capture,
}

/// Why something cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is nothing that is known.
    #[error("neither a packet capture (pcap, pcapng) nor a recording: it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
}

/// Opens `path`; `-` is standard input. Its size, if it is a file.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> io::Result<(Bytes, Option<u64>)> {
    if path == Path::new(STDIN) {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
    Ok((Box::new(file), size))
}

/// The same, but more is waited for: at the end of a file until `stop` is set, of a pipe until its writer is gone.
///
/// # Errors
/// When it cannot be opened, or there is no thread to wait in.
pub fn follow(path: &Path, stop: Arc<AtomicBool>) -> io::Result<Bytes> {
    let (bytes, size) = open(path)?;
    Ok(if size.is_some() { Box::new(Growing { bytes, stop }) } else { Box::new(Piped::start(bytes, stop)?) })
}

/// Unpacks `bytes` if they are compressed, and says what they are.
///
/// # Errors
/// When they cannot be read, or are neither.
pub fn sniff(bytes: Bytes) -> Result<(Bytes, Format), InputError> {
    let (mut first, mut bytes) = peek(bytes)?;
    if first.starts_with(&GZIP) {
        (first, bytes) = peek(Box::new(MultiGzDecoder::new(BufReader::new(bytes))))?;
    }
    match first.as_slice() {
        first if first == RECORDING => Ok((bytes, Format::Recording)),
        first if is_capture(first) => Ok((bytes, Format::Capture)),
        [] => Err(InputError::Empty),
        _ => Err(InputError::Unknown(first)),
    }
}

/// The first bytes, and all of them.
fn peek(mut bytes: Bytes) -> io::Result<(Vec<u8>, Bytes)> {
    let mut first = [0; RECORDING.len()];
    let mut filled = 0;
    while let Some(rest) = first.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match bytes.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Its writer has only just begun.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(crate::drain::POLL * 5),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    let first = first.get(..filled).unwrap_or_default().to_vec();
    Ok((first.clone(), Box::new(Cursor::new(first).chain(bytes))))
}

/// A file that others still write.
struct Growing {
    bytes: Bytes,
    stop: Arc<AtomicBool>,
}

impl Read for Growing {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        // Asked first: what is written before the stop is still read.
        let over = self.stop.load(Ordering::Acquire);
        match self.bytes.read(place) {
            Ok(0) if !over && !place.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    }
}

/// A pipe, read by a thread of its own, because a read from it waits.
struct Piped {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Cursor<Vec<u8>>,
    stop: Arc<AtomicBool>,
}

impl Piped {
    fn start(mut bytes: Bytes, stop: Arc<AtomicBool>) -> io::Result<Self> {
        let (sender, blocks) = crossbeam_channel::bounded(BLOCKS);
        // It ends with the pipe, with the process, or when nobody takes what it reads.
        std::thread::Builder::new().name("redtap-input".to_owned()).spawn(move || {
            loop {
                let mut block = vec![0; BLOCK];
                let read = bytes.read(&mut block);
                let over = !matches!(read, Ok(1..));
                block.truncate(*read.as_ref().unwrap_or(&0));
                if sender.send(read.map(|_| block)).is_err() || over {
                    break;
                }
            }
        })?;
        Ok(Self { blocks, block: Cursor::default(), stop })
    }
}

impl Read for Piped {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(place)?;
            if read > 0 || place.is_empty() {
                return Ok(read);
            }
            match self.blocks.try_recv() {
                Ok(block) => self.block = Cursor::new(block?),
                Err(TryRecvError::Empty) if !self.stop.load(Ordering::Acquire) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(_) => return Ok(0),
            }
        }
    }
}
