//! What is replayed: a file or standard input, compressed or not, and which format it is.
//!
//! The first bytes decide, never the name. A file that is *followed* does not end: a read at its end would block, until
//! [`Follow::stop`].
//!
//! Absent: any look behind the first bytes.

use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Begins a gzip stream (RFC 1952, section 2.3.1), with the one method there is.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
const RECORDING: [u8; 8] = *b"redtapev";

/// Bytes to be replayed.
pub type Bytes = Box<dyn Read + Send>;

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Events, as [`crate::recording`] writes them.
    Recording,
    /// Something else; a packet capture, if it is anything.
    Capture,
}

/// Ends the following of a file.
#[derive(Debug, Clone, Default)]
pub struct Follow(Arc<AtomicBool>);

impl Follow {
    /// What there is when its end is reached next is all there is.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Opens `path`; `-` is standard input.
///
/// # Errors
/// When it cannot be opened.
pub fn open(path: &Path) -> io::Result<(Bytes, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path)?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|data| data.len());
    Ok((Box::new(file), size))
}

/// `bytes`, at whose end more is waited for as long as `follow` says.
#[must_use]
pub fn followed(bytes: Bytes, follow: Follow) -> Bytes {
    Box::new(Growing { bytes, follow })
}

/// Unpacks `bytes` if they are compressed, and says what they are.
///
/// # Errors
/// When they cannot be read.
pub fn sniff(bytes: Bytes) -> io::Result<(Bytes, Format)> {
    let (first, mut bytes) = peek(bytes)?;
    let mut first = first;
    if first.starts_with(&GZIP) {
        (first, bytes) = peek(Box::new(MultiGzDecoder::new(BufReader::new(bytes))))?;
    }
    Ok((bytes, if first == RECORDING { Format::Recording } else { Format::Capture }))
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
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(crate::drain::QUIET_POLL),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    let first = first.get(..filled).unwrap_or_default().to_vec();
    Ok((first.clone(), Box::new(Cursor::new(first).chain(bytes))))
}

struct Growing {
    bytes: Bytes,
    follow: Follow,
}

impl Read for Growing {
    fn read(&mut self, place: &mut [u8]) -> io::Result<usize> {
        // Asked first: what is written before the stop is still read.
        let over = self.follow.0.load(Ordering::Acquire);
        match self.bytes.read(place) {
            Ok(0) if !over && !place.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    }
}
