//! HPACK (RFC 7541): header blocks of one direction, decoded as their bytes come.
//!
//! A block may be cut anywhere: what is unfinished is one field, of which only what is of interest is kept (`names`), so a block
//! of any length needs no buffer. A decoder that joins late, or that missed something, knows the entries inserted since
//! (`table`); a field that refers to others is handed out as [`Name::Unseen`], or as [`Name::Unknown`] if only its name does, and
//! decoding goes on.
//!
//! Life cycle: [`Decoder::feed`] for each piece, [`Decoder::end`] where the block ends; [`Decoder::forget`] where a piece is
//! missing. Absent: encoding, the limits that the peer set (what the encoder says of them in its blocks is what holds).

mod huffman;
mod names;
mod table;
#[cfg(test)]
mod tests;

pub use names::Name;
pub use table::MAX_TABLE;

use super::Malformed;
use table::Table;

/// Takes the fields of a block.
pub trait Fields {
    /// One of them: `value` is what is kept of it (nothing for names without interest), `whole` if that is all.
    fn field(&mut self, name: Name, value: &[u8], whole: bool);
}

/// How the field being read is represented (RFC 7541, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Form {
    /// All of it is in a table.
    #[default]
    Indexed,
    /// It goes into the dynamic table.
    Inserted,
    /// It does not.
    Literal,
    /// No field: the table changes its size.
    Resize,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// The beginning of a representation.
    #[default]
    Field,
    /// In its integer: the index, or the new size.
    Index,
    /// The length of a string, with the bit that says how it is written.
    Length(Part),
    /// In that length.
    LengthRest(Part),
    /// In the string.
    Text(Part),
}

/// Which string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    Value,
}

/// An integer on its way (section 5.1).
#[derive(Debug, Clone, Copy, Default)]
struct Integer {
    value: u32,
    shift: u32,
}

/// Longest string and largest index or size that is believed: far beyond what a peer accepts.
const MAX_INTEGER: u32 = 1 << 28;

/// The string being read.
#[derive(Debug, Default)]
struct Text {
    /// Bytes of it on the wire still to come.
    left: u32,
    huffman: Option<huffman::Decoder>,
    /// What is kept of it.
    kept: Vec<u8>,
    /// Most that is.
    room: usize,
    /// Its length so far.
    len: u32,
}

/// The decoder of one direction. Bounded: the table ([`MAX_TABLE`]), and one string of at most [`crate::limits::MAX_TARGET`].
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    at: At,
    form: Form,
    integer: Integer,
    name: Name,
    name_len: u32,
    text: Text,
}

const fn malformed<T>(field: &'static str, kind: &'static str) -> Result<T, Malformed> {
    Err(Malformed { field, kind })
}

impl Decoder {
    /// The connection begins here: the table is empty, and that is known.
    pub fn begin(&mut self) {
        self.table.begin();
        self.reset();
    }

    /// Something was missed: nothing is known of the table.
    pub fn forget(&mut self) {
        self.table.forget();
        self.reset();
    }

    /// The peer accepts a table of that size (SETTINGS_HEADER_TABLE_SIZE).
    pub fn allow(&mut self, size: u32) {
        self.table.allow(size);
    }

    /// A block ends: true if not in the middle of a field.
    pub fn end(&mut self) -> bool {
        let between = self.at == At::Field;
        self.reset();
        between
    }

    fn reset(&mut self) {
        self.at = At::Field;
    }

    /// The next bytes of a block.
    pub fn feed(&mut self, mut bytes: &[u8], fields: &mut dyn Fields) -> Result<(), Malformed> {
        loop {
            if let At::Text(part) = self.at {
                let take = usize::try_from(self.text.left).unwrap_or(usize::MAX).min(bytes.len());
                let Some((text, rest)) = bytes.split_at_checked(take) else { return Ok(()) };
                bytes = rest;
                self.text.push(text)?;
                if self.text.left > 0 {
                    return Ok(());
                }
                self.text_ended(part, fields)?;
                continue;
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            match self.at {
                At::Field => self.begin_field(byte, fields)?,
                At::Index => {
                    if self.integer.more(byte)? {
                        self.indexed(fields)?;
                    }
                }
                At::Length(part) => {
                    self.text.huffman = (byte & 0x80 != 0).then(huffman::Decoder::default);
                    self.at = At::LengthRest(part);
                    if self.integer.begin(byte, 7) {
                        self.begin_text(part);
                    }
                }
                At::LengthRest(part) => {
                    if self.integer.more(byte)? {
                        self.begin_text(part);
                    }
                }
                At::Text(_) => {}
            }
        }
    }

    /// The first byte of a representation (section 6).
    fn begin_field(&mut self, byte: u8, fields: &mut dyn Fields) -> Result<(), Malformed> {
        let (form, prefix) = match byte {
            0x80.. => (Form::Indexed, 7),
            0x40..=0x7f => (Form::Inserted, 6),
            0x20..=0x3f => (Form::Resize, 5),
            // Without indexing, and never indexed.
            _ => (Form::Literal, 4),
        };
        self.form = form;
        self.at = At::Index;
        if self.integer.begin(byte, prefix) { self.indexed(fields) } else { Ok(()) }
    }

    /// The integer of a representation is read.
    fn indexed(&mut self, fields: &mut dyn Fields) -> Result<(), Malformed> {
        let index = self.integer.value;
        match (self.form, index) {
            (Form::Resize, size) => {
                self.table.resize(size);
                self.at = At::Field;
            }
            (Form::Indexed, 0) => return malformed("index", "is zero"),
            (Form::Indexed, index) => {
                self.at = At::Field;
                self.known_field(index, fields);
            }
            (Form::Inserted | Form::Literal, 0) => self.at = At::Length(Part::Name),
            (Form::Inserted | Form::Literal, index) => {
                (self.name, self.name_len) = match names::fixed(index) {
                    Some((name, len, _)) => (name, len),
                    None => self.dynamic(index).map_or((Name::Unknown, 0), |entry| (entry.name, entry.name_len)),
                };
                self.at = At::Length(Part::Value);
            }
        }
        Ok(())
    }

    fn dynamic(&self, index: u32) -> Option<table::Entry> {
        self.table.entry(index.checked_sub(names::STATIC + 1)?)
    }

    /// A field that a table holds.
    fn known_field(&mut self, index: u32, fields: &mut dyn Fields) {
        if let Some((name, _, value)) = names::fixed(index) {
            fields.field(name, value, true);
            return;
        }
        let Some(entry) = self.dynamic(index) else {
            fields.field(Name::Unseen, &[], false);
            return;
        };
        self.text.kept.clear();
        self.text.kept.extend(self.table.value(entry));
        fields.field(entry.name, &self.text.kept, entry.is_whole());
    }

    fn begin_text(&mut self, part: Part) {
        let room = match part {
            Part::Name => Name::LONGEST,
            Part::Value => self.name.kept(),
        };
        let text = &mut self.text;
        text.left = self.integer.value;
        text.kept.clear();
        (text.len, text.room) = (0, room);
        if part == Part::Value && room == 0 && self.form == Form::Literal {
            // Neither its content nor its length is asked for.
            text.huffman = None;
        }
        self.at = At::Text(part);
    }

    fn text_ended(&mut self, part: Part, fields: &mut dyn Fields) -> Result<(), Malformed> {
        let Self { text, table, .. } = self;
        if text.huffman.take().is_some_and(|huffman| huffman.end().is_err()) {
            return malformed("string", "is padded with something else than ones");
        }
        match part {
            Part::Name => {
                self.name = Name::of(&text.kept, text.len);
                self.name_len = text.len;
                self.at = At::Length(Part::Value);
            }
            Part::Value => {
                let whole = text.kept.len() as u64 == u64::from(text.len);
                if self.form == Form::Inserted {
                    table.insert(self.name, self.name_len, &text.kept, text.len);
                }
                fields.field(self.name, &text.kept, whole && self.name != Name::Unknown);
                self.at = At::Field;
            }
        }
        Ok(())
    }
}

impl Integer {
    /// From the byte with the prefix of `bits`; true if that was all.
    fn begin(&mut self, byte: u8, bits: u32) -> bool {
        let most = (1_u32 << bits) - 1;
        self.value = u32::from(byte) & most;
        self.shift = 0;
        self.value < most
    }

    /// From a byte behind the prefix; true if it was the last.
    fn more(&mut self, byte: u8) -> Result<bool, Malformed> {
        let add =
            u32::from(byte & 0x7f).checked_shl(self.shift).filter(|add| add >> self.shift == u32::from(byte & 0x7f));
        let Some(value) = add.and_then(|add| self.value.checked_add(add)).filter(|value| *value <= MAX_INTEGER) else {
            return malformed("integer", "is too large");
        };
        self.value = value;
        self.shift += 7;
        if self.shift > 35 {
            return malformed("integer", "is longer than needed");
        }
        Ok(byte & 0x80 == 0)
    }
}

impl Text {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.left -= u32::try_from(bytes.len()).unwrap_or(self.left).min(self.left);
        let Self { kept, room, len, .. } = self;
        let Some(huffman) = &mut self.huffman else {
            let fits = bytes.len().min(room.saturating_sub(kept.len()));
            kept.extend_from_slice(bytes.get(..fits).unwrap_or(&[]));
            *len = len.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            return Ok(());
        };
        let decoded = huffman.bytes(bytes, |symbol| {
            if kept.len() < *room {
                kept.push(symbol);
            }
            *len = len.saturating_add(1);
        });
        if decoded.is_err() {
            return malformed("string", "is not in the Huffman code");
        }
        Ok(())
    }
}
