//! A message of RFC 1035 section 4, as far as it was captured.

use super::MAX_HOPS;
use crate::flow::message::Addresses;
use crate::limits::MAX_ANSWERS;
use crate::protocols::Malformed;
use crate::protocols::wire::Cursor;
use crate::text::Text;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the header (4.1.1).
pub(super) const HEADER: usize = 12;
/// Longest name, on the wire (3.1).
const MAX_NAME: usize = 255;
/// Type of the pseudo-record of EDNS (RFC 6891 6.1.1).
const OPT: u16 = 41;

/// Values of OPCODE.
pub(super) mod opcode {
    pub(crate) const QUERY: u8 = 0;
    pub(crate) const NOTIFY: u8 = 4;
    pub(crate) const UPDATE: u8 = 5;
}

/// Header (4.1.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) questions: u16,
    pub(super) answers: u16,
    pub(super) authorities: u16,
    pub(super) additional: u16,
}

impl Header {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Option<Self> {
        Some(Self {
            id: cursor.u16()?,
            flags: cursor.u16()?,
            questions: cursor.u16()?,
            answers: cursor.u16()?,
            authorities: cursor.u16()?,
            additional: cursor.u16()?,
        })
    }

    pub(super) fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(super) fn opcode(&self) -> u8 {
        let [high, _] = self.flags.to_be_bytes();
        high >> 3 & 0x0f
    }

    pub(super) fn rcode(&self) -> u16 {
        self.flags & 0x0f
    }
}

/// Question (4.1.2).
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// In lower case, parted by points, without the last; the root is ".".
    pub(super) name: Text,
    /// QTYPE.
    pub(super) kind: u16,
    /// QCLASS.
    pub(super) class: u16,
    /// Of name (in lower case) and type; the same everywhere and always.
    pub(super) hash: u64,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) id: u16,
    pub(super) response: bool,
    pub(super) opcode: u8,
    /// The first question.
    pub(super) question: Option<Question>,
    /// With the upper bits out of OPT, if that was there.
    pub(super) rcode: u16,
    /// A and AAAA records of the answer section.
    pub(super) addresses: Addresses,
    /// Everything that the header promises was there.
    pub(super) complete: bool,
}

/// Why a message could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It ends before the end of its question.
    Short,
    /// It is none.
    Bad(Malformed),
}

fn bad(field: &'static str, kind: &'static str) -> Failure {
    Failure::Bad(Malformed { field, kind })
}

/// Reads a message, or its beginning.
pub(super) fn read(message: &[u8]) -> Result<Parsed, Failure> {
    let mut cursor = Cursor::new(message);
    let header = Header::read(&mut cursor).ok_or(Failure::Short)?;
    let opcode = header.opcode();
    if !matches!(opcode, opcode::QUERY | opcode::NOTIFY | opcode::UPDATE) {
        return Err(bad("opcode", "neither QUERY nor NOTIFY nor UPDATE"));
    }
    if header.questions == 0 && !header.is_response() {
        return Err(bad("question count", "a question without a question"));
    }
    let mut question = None;
    for _ in 0..header.questions {
        let read = read_question(message, &mut cursor)?;
        question.get_or_insert(read);
    }
    let mut parsed = Parsed {
        id: header.id,
        response: header.is_response(),
        opcode,
        question,
        rcode: header.rcode(),
        addresses: Addresses::new(),
        complete: false,
    };
    parsed.complete = read_records(&mut cursor, &header, &mut parsed).is_some();
    Ok(parsed)
}

/// A question at the cursor.
pub(super) fn read_question<'a>(message: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Question, Failure> {
    let mut name = Name::new();
    name.read(message, cursor)?;
    let kind = cursor.u16().ok_or(Failure::Short)?;
    let class = cursor.u16().ok_or(Failure::Short)?;
    Ok(Question { name: name.text(), kind, class, hash: name.hash(kind) })
}

/// The three sections of records (4.1.3). `None` where they end too early.
fn read_records(cursor: &mut Cursor<'_>, header: &Header, parsed: &mut Parsed) -> Option<()> {
    let others = u32::from(header.authorities) + u32::from(header.additional);
    for index in 0..u32::from(header.answers) + others {
        skip_name(cursor)?;
        let kind = cursor.u16()?;
        let class = cursor.u16()?;
        let ttl = cursor.u32()?;
        let len = usize::from(cursor.u16()?);
        let data = cursor.take(len)?;
        if kind == OPT {
            // RFC 6891 6.1.3: the upper eight bits of the response code.
            let [upper, ..] = ttl.to_be_bytes();
            parsed.rcode |= u16::from(upper) << 4;
        }
        if index < u32::from(header.answers) && class == 1 && parsed.addresses.len() < MAX_ANSWERS {
            parsed.addresses.extend(address(kind, data));
        }
    }
    Some(())
}

fn address(kind: u16, data: &[u8]) -> Option<IpAddr> {
    match kind {
        1 => <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        28 => <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}

/// Passes over a name: labels up to the root or a pointer.
fn skip_name(cursor: &mut Cursor<'_>) -> Option<()> {
    for _ in 0..MAX_NAME {
        let len = cursor.u8()?;
        match len {
            0 => return Some(()),
            0xc0.. => return cursor.u8().map(|_| ()),
            _ => cursor.take(usize::from(len))?,
        };
    }
    None
}

/// A name, in lower case, as labels each behind its length.
struct Name {
    wire: [u8; MAX_NAME],
    len: usize,
}

impl Name {
    fn new() -> Self {
        Self { wire: [0; MAX_NAME], len: 0 }
    }

    /// Reads it at the cursor; follows pointers (4.1.4), each of which must lead back.
    fn read<'a>(&mut self, message: &'a [u8], cursor: &mut Cursor<'a>) -> Result<(), Failure> {
        let mut elsewhere: Option<Cursor<'a>> = None;
        let mut lowest = cursor.consumed();
        let mut hops = 0;
        loop {
            let here = elsewhere.as_mut().unwrap_or(cursor);
            let len = here.u8().ok_or(Failure::Short)?;
            match len {
                0 => return Ok(()),
                1..=63 => {
                    let label = here.take(usize::from(len)).ok_or(Failure::Short)?;
                    self.push(len, label)?;
                }
                0xc0.. => {
                    let low = here.u8().ok_or(Failure::Short)?;
                    let target = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                    hops += 1;
                    if target >= lowest || hops > MAX_HOPS {
                        return Err(bad("name", "a pointer that does not lead back"));
                    }
                    lowest = target;
                    elsewhere = Some(Cursor::new(message.get(target..).ok_or(Failure::Short)?));
                }
                _ => return Err(bad("label", "neither a length nor a pointer")),
            }
        }
    }

    fn push(&mut self, len: u8, label: &[u8]) -> Result<(), Failure> {
        // One byte is left for the root.
        let end = self.len + 1 + label.len();
        let room = self.wire.get_mut(self.len..end).filter(|_| end < MAX_NAME);
        let Some((first, rest)) = room.and_then(|room| room.split_first_mut()) else {
            return Err(bad("name", "longer than 255 bytes"));
        };
        *first = len;
        for (to, from) in rest.iter_mut().zip(label) {
            *to = from.to_ascii_lowercase();
        }
        self.len = end;
        Ok(())
    }

    fn wire(&self) -> &[u8] {
        self.wire.get(..self.len).unwrap_or(&[])
    }

    /// With points. A point inside of a label is not told from one between labels.
    fn text(&self) -> Text {
        if self.len == 0 {
            return Text::from(".");
        }
        let mut name = [0; MAX_NAME];
        let mut cursor = Cursor::new(self.wire());
        let mut end = 0;
        while let Some(label) = cursor.u8().and_then(|len| cursor.take(usize::from(len))) {
            if end > 0
                && let Some(point) = name.get_mut(end)
            {
                *point = b'.';
                end += 1;
            }
            if let Some(room) = name.get_mut(end..end + label.len()) {
                room.copy_from_slice(label);
                end += label.len();
            }
        }
        Text::from_wire(name.get(..end).unwrap_or(&[]))
    }

    /// FNV-1a (64 bits) over the labels and the type.
    fn hash(&self, kind: u16) -> u64 {
        let bytes = self.wire().iter().copied().chain(kind.to_be_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}
