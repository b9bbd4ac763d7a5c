//! Packets out of a capture file: pcap (microseconds, nanoseconds, either byte order, the modified format) and pcapng (any
//! number of sections and interfaces).
//!
//! The file is read as a stream, one packet at a time, so that it may be a pipe or still grow. What is wrong with it is
//! said with the offset of the block that is wrong; packets before that were given.
//!
//! **Bound:** [`MAX_BLOCK`]. Absent: what is in a packet (that is [`super::link`]), and seeking.

use pcap_parser::nom::IResult;
use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::{LegacyPcapBlock, PcapError, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified};
use redtap_stages::time::Nanos;
use std::io::{self, Read};

/// Largest block of a file, header and all; a larger one is taken for damage.
pub const MAX_BLOCK: usize = 16 * 1024 * 1024;
/// Interfaces remembered of a pcapng section; packets of further ones are of an unknown link type.
pub const MAX_INTERFACES: usize = 1_024;
/// Bytes asked for at a time.
const READ: usize = 64 * 1024;

/// Magic numbers of pcap as they lie in the file (pcap-savefile(5), draft-ietf-opsawg-pcap section 4).
const MICROS_LE: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
const MICROS_BE: [u8; 4] = [0xa1, 0xb2, 0xc3, 0xd4];
const NANOS_LE: [u8; 4] = [0x4d, 0x3c, 0xb2, 0xa1];
const NANOS_BE: [u8; 4] = [0xa1, 0xb2, 0x3c, 0x4d];
/// Kuznetzov's format: a packet header of 24 bytes.
const MODIFIED_LE: [u8; 4] = [0x34, 0xcd, 0xb2, 0xa1];
/// Type of a section header block, the same in either byte order (draft-ietf-opsawg-pcapng section 4.1).
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The byte order mark of a section as a little-endian writer leaves it.
const ORDER_LE: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
const ORDER_BE: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
const PCAP_HEADER: usize = 24;

/// True if a file that begins with `first` says that it is a capture.
#[must_use]
pub fn is_capture(first: &[u8]) -> bool {
    let known = [MICROS_LE, MICROS_BE, NANOS_LE, NANOS_BE, MODIFIED_LE, SECTION];
    first.first_chunk().is_some_and(|magic| known.contains(magic))
}

/// Why a capture could not be read (further).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file begins with something else.
    #[error("not a packet capture: it begins with neither a pcap nor a pcapng header")]
    NotACapture,
    /// The file ends early.
    #[error("the file ends in the middle of a block that begins at byte {offset}")]
    Truncated {
        /// Where the block begins.
        offset: u64,
    },
    /// A block that no writer writes.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the block begins.
        offset: u64,
        /// What is wrong with it.
        what: Damage,
    },
    /// The file could not be read.
    #[error("cannot be read at byte {offset}")]
    Io {
        /// How far it could be read.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// No block has this length.
    #[error("a block of {0} bytes")]
    Length(u64),
    /// Its two lengths differ, or its fields do not fit into it.
    #[error("a block whose fields do not fit together")]
    Fields,
    /// A section with a byte order mark that is none.
    #[error("a section of no known byte order")]
    ByteOrder,
}

/// One packet, as captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured, since the Unix epoch.
    pub at: Nanos,
    /// Link type (`LINKTYPE_*`) of its interface; `None` if the file does not say.
    pub link: Option<u16>,
    /// The captured bytes.
    pub bytes: &'a [u8],
}

/// What reading on gave.
#[derive(Debug)]
pub enum Next<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// Nothing now: the file may still grow.
    Later,
    /// The end of the file.
    End,
}

/// A capture, read from `R`. A read that would block means that the file may still grow.
pub struct PacketFile<R> {
    file: R,
    /// What was read ahead; `window[begin..]` is not used yet.
    window: Vec<u8>,
    begin: usize,
    /// Where `window[begin]` lies in the file.
    offset: u64,
    ended: bool,
    format: Format,
}

/// How to read the next block.
enum Format {
    /// Nothing was read yet.
    Unknown,
    Legacy(Legacy),
    Sections(Section),
}

type ParseFrame = fn(&[u8]) -> IResult<&[u8], LegacyPcapBlock<'_>, PcapError<&[u8]>>;

#[derive(Clone, Copy)]
struct Legacy {
    frame: ParseFrame,
    big_endian: bool,
    /// Bytes of a packet's header.
    header: usize,
    /// Nanoseconds in a unit of the fraction.
    unit: u64,
    link: u16,
}

#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    /// Units of time in a second.
    resolution: u64,
    offset: i64,
}

/// How far the window reaches.
enum Reach {
    Enough,
    Later,
    End,
}

impl<R: Read> PacketFile<R> {
    /// A capture of which nothing was read yet.
    pub fn new(file: R) -> Self {
        Self { file, window: Vec::new(), begin: 0, offset: 0, ended: false, format: Format::Unknown }
    }

    /// Bytes of the file that were used.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next packet. Blocks that hold none are passed over.
    ///
    /// # Errors
    /// When the file is none, damaged or cut short; what was read until then stands.
    pub fn read(&mut self) -> Result<Next<'_>, CaptureError> {
        loop {
            let length = match &self.format {
                Format::Unknown => match self.begin()? {
                    Reach::Enough => continue,
                    Reach::Later => return Ok(Next::Later),
                    Reach::End => return Ok(Next::End),
                },
                Format::Legacy(legacy) => self.frame_length(*legacy)?,
                Format::Sections(section) => self.block_length(section.big_endian)?,
            };
            let Some(length) = length else {
                return Ok(if self.ended { Next::End } else { Next::Later });
            };
            match self.reach(length)? {
                Reach::Enough => {}
                Reach::Later => return Ok(Next::Later),
                Reach::End => return Err(CaptureError::Truncated { offset: self.offset }),
            }
            if self.holds_packet(length)? {
                return self.take(length).map(Next::Packet);
            }
        }
    }

    /// Reads the head of the file.
    fn begin(&mut self) -> Result<Reach, CaptureError> {
        match self.reach(PCAP_HEADER)? {
            Reach::Enough => {}
            Reach::Later => return Ok(Reach::Later),
            Reach::End if is_capture(self.ahead()) => return Err(CaptureError::Truncated { offset: 0 }),
            Reach::End => return Err(CaptureError::NotACapture),
        }
        let Some((header, _)) = self.ahead().split_first_chunk::<PCAP_HEADER>() else { return Ok(Reach::Later) };
        let [magic @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, l0, l1, l2, l3] = *header;
        let (frame, big_endian, size, unit): (ParseFrame, _, _, _) = match magic {
            MICROS_LE => (parse_pcap_frame, false, 16, 1_000),
            MICROS_BE => (parse_pcap_frame_be, true, 16, 1_000),
            NANOS_LE => (parse_pcap_frame, false, 16, 1),
            NANOS_BE => (parse_pcap_frame_be, true, 16, 1),
            MODIFIED_LE => (parse_pcap_frame_modified, false, 24, 1_000),
            SECTION => {
                self.format = Format::Sections(Section::default());
                return Ok(Reach::Enough);
            }
            _ => return Err(CaptureError::NotACapture),
        };
        // The upper half says how long the frame check sequence is.
        let link = if big_endian { u16::from_be_bytes([l2, l3]) } else { u16::from_le_bytes([l0, l1]) };
        self.format = Format::Legacy(Legacy { frame, big_endian, header: size, unit, link });
        self.advance(PCAP_HEADER);
        Ok(Reach::Enough)
    }

    /// Length of the packet that comes next, its header included; `None` where there is none (yet).
    fn frame_length(&mut self, legacy: Legacy) -> Result<Option<usize>, CaptureError> {
        if !self.head(legacy.header)? {
            return Ok(None);
        }
        let captured = self.word(8, legacy.big_endian);
        self.checked(u64::from(captured) + legacy.header as u64, legacy.header).map(Some)
    }

    /// Length of the block that comes next; `None` where there is none (yet).
    fn block_length(&mut self, big_endian: bool) -> Result<Option<usize>, CaptureError> {
        if !self.head(12)? {
            return Ok(None);
        }
        let mut big_endian = big_endian;
        if self.ahead().starts_with(&SECTION) {
            big_endian = match self.ahead().get(8..12) {
                Some(order) if order == ORDER_LE => false,
                Some(order) if order == ORDER_BE => true,
                _ => return Err(self.damaged(Damage::ByteOrder)),
            };
            // Interfaces are numbered anew in each section.
            self.format = Format::Sections(Section { big_endian, interfaces: Vec::new() });
        }
        let length = self.word(4, big_endian);
        if !length.is_multiple_of(4) {
            return Err(self.damaged(Damage::Length(length.into())));
        }
        self.checked(length.into(), 12).map(Some)
    }

    /// True if the fixed part of a block is there; an error if only some of it is, at the end of the file.
    fn head(&mut self, size: usize) -> Result<bool, CaptureError> {
        match self.reach(size)? {
            Reach::Enough => Ok(true),
            Reach::End if !self.ahead().is_empty() => Err(CaptureError::Truncated { offset: self.offset }),
            Reach::Later | Reach::End => Ok(false),
        }
    }

    fn checked(&self, length: u64, least: usize) -> Result<usize, CaptureError> {
        let fits = usize::try_from(length).ok().filter(|length| (least..=MAX_BLOCK).contains(length));
        fits.ok_or_else(|| self.damaged(Damage::Length(length)))
    }

    fn damaged(&self, what: Damage) -> CaptureError {
        CaptureError::Damaged { offset: self.offset, what }
    }

    /// Looks at the block that comes next: true if it holds a packet, else what it says is kept and it is passed over.
    fn holds_packet(&mut self, length: usize) -> Result<bool, CaptureError> {
        let block = self.window.get(self.begin..self.begin + length).unwrap_or_default();
        let Format::Sections(section) = &mut self.format else { return Ok(true) };
        let parse = if section.big_endian { parse_block_be } else { parse_block_le };
        match parse(block) {
            Ok((_, Block::EnhancedPacket(_) | Block::SimplePacket(_))) => return Ok(true),
            Ok((_, Block::InterfaceDescription(found))) => {
                if section.interfaces.len() < MAX_INTERFACES {
                    section.interfaces.push(Interface {
                        link: u16::try_from(found.linktype.0).unwrap_or(u16::MAX),
                        resolution: found.ts_resolution().unwrap_or(1_000_000).max(1),
                        offset: found.if_tsoffset,
                    });
                }
            }
            Ok(_) => {}
            Err(_) => return Err(self.damaged(Damage::Fields)),
        }
        self.advance(length);
        Ok(false)
    }

    /// The packet in the block that comes next.
    fn take(&mut self, length: usize) -> Result<Packet<'_>, CaptureError> {
        let damaged = self.damaged(Damage::Fields);
        let begin = self.begin;
        self.advance(length);
        let block = self.window.get(begin..begin + length).unwrap_or_default();
        match &self.format {
            Format::Legacy(legacy) => {
                let (_, frame) = (legacy.frame)(block).map_err(|_| damaged)?;
                let fraction = u64::from(frame.ts_usec).saturating_mul(legacy.unit);
                let at = Nanos::from_secs(frame.ts_sec.into()) + Nanos(fraction);
                Ok(Packet { at, link: Some(legacy.link), bytes: frame.data })
            }
            Format::Sections(section) => {
                let parse = if section.big_endian { parse_block_be } else { parse_block_le };
                match parse(block) {
                    Ok((_, Block::EnhancedPacket(found))) => {
                        let interface = section.interfaces.get(found.if_id as usize).copied();
                        let units = u64::from(found.ts_high) << 32 | u64::from(found.ts_low);
                        let bytes = found.data.get(..found.caplen as usize).unwrap_or(found.data);
                        Ok(Packet {
                            at: interface.map_or(Nanos(0), |interface| interface.time(units)),
                            link: interface.map(|interface| interface.link),
                            bytes,
                        })
                    }
                    Ok((_, Block::SimplePacket(found))) => {
                        let link = section.interfaces.first().map(|interface| interface.link);
                        // It has no time of its own.
                        let bytes = found.data.get(..found.origlen as usize).unwrap_or(found.data);
                        Ok(Packet { at: Nanos(0), link, bytes })
                    }
                    _ => Err(damaged),
                }
            }
            Format::Unknown => Err(damaged),
        }
    }

    fn ahead(&self) -> &[u8] {
        self.window.get(self.begin..).unwrap_or_default()
    }

    fn word(&self, at: usize, big_endian: bool) -> u32 {
        let bytes = self.ahead().get(at..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn advance(&mut self, length: usize) {
        self.begin += length;
        self.offset += length as u64;
    }

    /// Reads until `length` bytes are ahead.
    fn reach(&mut self, length: usize) -> Result<Reach, CaptureError> {
        if self.window.len() - self.begin >= length {
            return Ok(Reach::Enough);
        }
        self.window.drain(..self.begin);
        self.begin = 0;
        while self.window.len() < length {
            let had = self.window.len();
            self.window.resize(had + READ, 0);
            let read = self.file.read(self.window.get_mut(had..).unwrap_or_default());
            self.window.truncate(had + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.ended = true;
                    return Ok(Reach::End);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Reach::Later),
                // A compressed stream that stops.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Reach::End),
                Err(source) => {
                    return Err(CaptureError::Io { offset: self.offset + self.window.len() as u64, source });
                }
            }
        }
        Ok(Reach::Enough)
    }
}

impl Interface {
    /// `units` of its clock, since the Unix epoch.
    fn time(self, units: u64) -> Nanos {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(self.resolution);
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(i128::from(self.offset) * 1_000_000_000);
        Nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}
