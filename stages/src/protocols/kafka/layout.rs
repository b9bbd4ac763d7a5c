//! Reads a request or response by its layout ([`super::apis`]), in whatever pieces it comes.
//!
//! Nothing is waited for: a number cut in two is kept here, what is of no interest is skipped by its length whether it was seen
//! or not. Absent: what the fields mean, and where the message ends; who calls hands in no byte behind it.

use crate::protocols::wire::Cursor;
use smallvec::SmallVec;

/// Arrays in arrays; the deepest known layout has four.
const MAX_DEPTH: usize = 5;
/// Bytes kept of a string; the longest topic name has 249.
pub(super) const MAX_TEXT: usize = 256;
/// Longest number, bytes: a UUID.
const MAX_NUMBER: usize = 16;
/// Longest unsigned varint (KIP-482), bytes.
const MAX_VARINT: usize = 5;
/// Stands for the client id, which is in no layout.
const CLIENT_ID: u8 = b'c';

/// What a walk came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    ClientId,
    Error(i16),
    Topic,
    TopicId([u8; 16]),
    Resource(i8),
    Acks(i16),
    MaxWait(i32),
    Epoch(i32),
    LearntName,
    LearntId([u8; 16]),
}

/// How far a walk got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// To a field of interest; texts are in [`Walk::text`].
    To(Field),
    /// To the end of the input.
    OutOfInput,
    /// To the end of the layout.
    Done,
    /// To something that cannot be.
    Broken,
}

/// The place in a message. One serves all messages of a direction, one after the other.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// What is left of the layout is behind `at`.
    layout: &'static [u8],
    at: usize,
    flexible: bool,
    doing: Doing,
    frames: SmallVec<[Frame; MAX_DEPTH]>,
    /// Tagged fields still to be skipped.
    tags: u32,
    /// Elements still to be read of an array of what is no structure, and of what.
    each: (u32, u8),
    /// At the end of a structure whose tagged fields were read.
    closing: bool,
    number: [u8; MAX_NUMBER],
    filled: usize,
    text: SmallVec<[u8; MAX_TEXT]>,
}

/// An array of structures that is being read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// Where its element begins in the layout.
    element: usize,
    /// Elements behind the present one.
    left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Doing {
    /// The next letter.
    Next,
    /// The length of the client id, which is never compact.
    ClientId,
    /// The number that this letter means.
    Number(u8),
    /// The length before what this letter means.
    Length(u8),
    /// A text.
    Text(u8, u64),
    Skip(u64),
    /// The number of tagged fields.
    Tags,
    /// The number of a tagged field, and its size.
    Tag,
    TagSize,
    /// Is a structure null?
    Null,
    #[default]
    Broken,
}

impl Walk {
    /// Through the body of a request and, before it, what is left of its header: client id, tagged fields.
    pub(super) fn request(&mut self, layout: &'static str, client_id: bool, flexible: bool) {
        self.start(layout, flexible, if client_id { Doing::ClientId } else { Doing::Next });
    }

    /// Through the body of a response and, before it, the tagged fields of its header.
    pub(super) fn response(&mut self, layout: &'static str, flexible: bool, tagged_header: bool) {
        self.start(layout, flexible, if tagged_header { Doing::Tags } else { Doing::Next });
    }

    /// Nowhere.
    pub(super) fn stop(&mut self) {
        self.doing = Doing::Broken;
    }

    fn start(&mut self, layout: &'static str, flexible: bool, doing: Doing) {
        (self.layout, self.at) = (layout.as_bytes(), 0);
        (self.flexible, self.doing) = (flexible, doing);
        (self.tags, self.each, self.closing, self.filled) = (0, (0, 0), false, 0);
        self.frames.clear();
        self.text.clear();
    }

    /// The text that was come upon last, or its beginning.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// So many bytes moved unseen: if they were more than what was to be skipped, the place is lost.
    pub(super) fn pass(&mut self, unseen: u64) {
        self.doing = match self.doing {
            Doing::Skip(left) if unseen <= left => Doing::Skip(left - unseen),
            _ => Doing::Broken,
        };
    }

    /// Nothing more will be found.
    pub(super) fn is_over(&self) -> bool {
        self.doing == Doing::Broken
    }

    /// On to the next field of interest.
    pub(super) fn on(&mut self, input: &mut Cursor<'_>) -> Walked {
        loop {
            let step = match self.doing {
                Doing::Next => self.next(),
                Doing::Broken => return Walked::Broken,
                Doing::Skip(left) => self.skip(left, input),
                Doing::Text(letter, left) => self.collect(letter, left, input),
                Doing::ClientId => self.gather(2, input).map(|()| self.client_id()),
                Doing::Number(letter) => self.gather(size_of_number(letter), input).map(|()| self.field(letter)),
                Doing::Null => self.gather(1, input).map(|()| self.null()),
                Doing::Length(letter) => self.length(letter, input),
                Doing::Tags => self.varint(input).map(|tags| {
                    self.doing = Doing::Next;
                    self.tags = tags;
                    None
                }),
                Doing::Tag => self.varint(input).map(|_| {
                    self.doing = Doing::TagSize;
                    None
                }),
                Doing::TagSize => self.varint(input).map(|size| {
                    self.doing = Doing::Skip(u64::from(size));
                    None
                }),
            };
            match step {
                None if self.doing == Doing::Broken => return Walked::Broken,
                None => return Walked::OutOfInput,
                Some(None) => {}
                Some(Some(walked)) => return walked,
            }
        }
    }

    /// Begins what the next letter says.
    fn next(&mut self) -> Option<Option<Walked>> {
        if self.tags > 0 {
            self.tags -= 1;
            self.doing = Doing::Tag;
            return Some(None);
        }
        if self.each.0 > 0 {
            self.each.0 -= 1;
            self.doing = begin(self.each.1);
            return Some(None);
        }
        let Some(letter) = self.layout.get(self.at).copied() else { return Some(Some(Walked::Done)) };
        match letter {
            b']' | b'}' if self.flexible && !self.closing => {
                self.closing = true;
                self.doing = Doing::Tags;
                return Some(None);
            }
            b']' => self.element_ends(),
            b'0'..=b'9' => self.doing = Doing::Skip(self.digits()),
            b'?' => {
                self.at += 1;
                self.doing = Doing::Null;
            }
            b'{' | b'}' | b',' => self.at += 1,
            letter => {
                self.at += 1;
                self.doing = begin(letter);
            }
        }
        self.closing = false;
        Some(None)
    }

    /// The number in the layout.
    fn digits(&mut self) -> u64 {
        let mut number = 0_u64;
        while let Some(digit) = self.layout.get(self.at).filter(|letter| letter.is_ascii_digit()) {
            number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        number
    }

    fn element_ends(&mut self) {
        match self.frames.last_mut() {
            Some(frame) if frame.left > 0 => {
                frame.left -= 1;
                self.at = frame.element;
            }
            _ => {
                self.frames.pop();
                self.at += 1;
            }
        }
    }

    /// Behind the bracket that ends what `self.at` is inside of. A layout may end before it.
    fn behind_bracket(&mut self) {
        let mut depth = 1_u32;
        while let Some(letter) = self.layout.get(self.at) {
            self.at += 1;
            match letter {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn skip(&mut self, left: u64, input: &mut Cursor<'_>) -> Option<Option<Walked>> {
        let here = u64::try_from(input.rest().len()).unwrap_or(u64::MAX).min(left);
        input.take(usize::try_from(here).unwrap_or(0))?;
        if left > here {
            self.doing = Doing::Skip(left - here);
            return None;
        }
        self.doing = Doing::Next;
        Some(None)
    }

    fn collect(&mut self, letter: u8, left: u64, input: &mut Cursor<'_>) -> Option<Option<Walked>> {
        let here = u64::try_from(input.rest().len()).unwrap_or(u64::MAX).min(left);
        let bytes = input.take(usize::try_from(here).unwrap_or(0))?;
        let room = MAX_TEXT - self.text.len().min(MAX_TEXT);
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if left > here {
            self.doing = Doing::Text(letter, left - here);
            return None;
        }
        self.doing = if letter == CLIENT_ID && self.flexible { Doing::Tags } else { Doing::Next };
        Some(Some(Walked::To(match letter {
            CLIENT_ID => Field::ClientId,
            b't' => Field::LearntName,
            _ => Field::Topic,
        })))
    }

    /// The next `n` bytes, at most [`MAX_NUMBER`], into `self.number`. `None`: not all of them are there yet.
    fn gather(&mut self, n: usize, input: &mut Cursor<'_>) -> Option<()> {
        let here = n.saturating_sub(self.filled).min(input.rest().len());
        let bytes = input.take(here)?;
        for (to, from) in self.number.iter_mut().skip(self.filled).zip(bytes) {
            *to = *from;
        }
        self.filled += here;
        if self.filled < n {
            return None;
        }
        self.filled = 0;
        Some(())
    }

    fn varint(&mut self, input: &mut Cursor<'_>) -> Option<u32> {
        loop {
            let byte = input.u8()?;
            if let Some(place) = self.number.get_mut(self.filled) {
                *place = byte;
            }
            self.filled += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if self.filled >= MAX_VARINT {
                self.doing = Doing::Broken;
                return None;
            }
        }
        let bytes = self.number.iter().take(self.filled);
        let value = bytes.rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
        self.filled = 0;
        let value = u32::try_from(value).ok();
        if value.is_none() {
            self.doing = Doing::Broken;
        }
        value
    }

    fn client_id(&mut self) -> Option<Walked> {
        let len = i16::from_be_bytes(self.first());
        self.text.clear();
        self.doing = Doing::Text(CLIENT_ID, u64::try_from(len).unwrap_or(0));
        None
    }

    fn first<const N: usize>(&self) -> [u8; N] {
        self.number.first_chunk().copied().unwrap_or([0; N])
    }

    fn field(&mut self, letter: u8) -> Option<Walked> {
        self.doing = Doing::Next;
        Some(Walked::To(match letter {
            b'e' => Field::Error(i16::from_be_bytes(self.first())),
            b'a' => Field::Acks(i16::from_be_bytes(self.first())),
            b'w' => Field::MaxWait(i32::from_be_bytes(self.first())),
            b'o' => Field::Epoch(i32::from_be_bytes(self.first())),
            b'r' => Field::Resource(i8::from_be_bytes(self.first())),
            b'i' => Field::LearntId(self.number),
            _ => Field::TopicId(self.number),
        }))
    }

    fn null(&mut self) -> Option<Walked> {
        let [marker] = self.first();
        self.doing = Doing::Next;
        if i8::from_be_bytes([marker]) < 0 {
            // Over the bracket, which follows.
            self.at += 1;
            self.behind_bracket();
        }
        None
    }

    /// The length before a string, bytes or an array: compact ones are one more than it, and 0 for null (KIP-482).
    fn length(&mut self, letter: u8, input: &mut Cursor<'_>) -> Option<Option<Walked>> {
        let len = if self.flexible {
            i64::from(self.varint(input)?) - 1
        } else if matches!(letter, b'[' | b'*' | b'b') {
            self.gather(4, input)?;
            i64::from(i32::from_be_bytes(self.first()))
        } else {
            self.gather(2, input)?;
            i64::from(i16::from_be_bytes(self.first()))
        };
        if len < -1 {
            self.doing = Doing::Broken;
            return Some(Some(Walked::Broken));
        }
        let len = u64::try_from(len).unwrap_or(0);
        self.doing = Doing::Next;
        match letter {
            b'[' => self.array(len),
            b'*' => self.simple_array(len),
            b's' | b'b' => self.doing = Doing::Skip(len),
            _ => {
                self.text.clear();
                self.doing = Doing::Text(letter, len);
            }
        }
        Some(None)
    }

    fn array(&mut self, len: u64) {
        let Some(left) = u32::try_from(len).ok().and_then(|len| len.checked_sub(1)) else {
            self.behind_bracket();
            return;
        };
        if self.frames.len() >= MAX_DEPTH {
            self.doing = Doing::Broken;
            return;
        }
        self.frames.push(Frame { element: self.at, left });
    }

    fn simple_array(&mut self, len: u64) {
        match self.layout.get(self.at) {
            Some(letter) if letter.is_ascii_digit() => {
                self.doing = Doing::Skip(len.saturating_mul(self.digits()));
            }
            Some(letter) => {
                self.each = (u32::try_from(len).unwrap_or(u32::MAX), *letter);
                self.at += 1;
            }
            None => {}
        }
    }
}

/// How what `letter` means begins.
fn begin(letter: u8) -> Doing {
    match letter {
        b'e' | b'a' | b'w' | b'o' | b'r' | b'i' | b'U' => Doing::Number(letter),
        _ => Doing::Length(letter),
    }
}

fn size_of_number(letter: u8) -> usize {
    match letter {
        b'r' => 1,
        b'e' | b'a' => 2,
        b'w' | b'o' => 4,
        _ => MAX_NUMBER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a walk comes upon, byte by byte.
    fn walked(layout: &'static str, flexible: bool, bytes: &[u8]) -> Vec<Walked> {
        let mut walk = Walk::default();
        walk.response(layout, flexible, false);
        let mut out = Vec::new();
        for byte in bytes {
            let mut cursor = Cursor::new(std::slice::from_ref(byte));
            loop {
                match walk.on(&mut cursor) {
                    Walked::OutOfInput => break,
                    end @ (Walked::Done | Walked::Broken) => {
                        out.push(end);
                        return out;
                    }
                    field @ Walked::To(_) => out.push(field),
                }
            }
        }
        out
    }

    const ERROR: Walked = Walked::To(Field::Error(7));

    #[test]
    fn goes_over_what_is_null() {
        assert_eq!(walked("?{4[s]s}es", true, &[0xff, 0, 7, 0]), [ERROR, Walked::Done]);
        assert_eq!(walked("?{1s}es", true, &[1, 9, 0, 0, 0, 7, 0]), [ERROR, Walked::Done]);
        assert_eq!(walked("[s[4]]*s*4sbe1", true, &[0, 0, 0, 0, 0, 0, 7, 1]), [ERROR, Walked::Done]);
        let nulls = [[0xff; 4].as_slice(), &[0xff; 4], &[0xff; 2], &[0xff; 4], &[0, 7, 1]].concat();
        assert_eq!(walked("[s[4]]*ssbe1", false, &nulls), [ERROR, Walked::Done]);
    }

    #[test]
    fn reads_each_element_and_the_tagged_fields_behind_it() {
        let two = [3, 0, 7, 0, 0, 7, 1, 0, 1, 0xff, 0];
        assert_eq!(walked("[e]1", true, &two), [ERROR, ERROR, Walked::Done]);
        assert_eq!(walked("[e]1", false, &[0, 0, 0, 2, 0, 7, 0, 7, 1]), [ERROR, ERROR, Walked::Done]);
    }

    #[test]
    fn refuses_lengths_that_cannot_be() {
        assert_eq!(walked("se", false, &[0xff, 0xfe]), [Walked::Broken]);
        assert_eq!(walked("se", true, &[0xff, 0xff, 0xff, 0xff, 0xff]), [Walked::Broken], "a varint without an end");
        assert_eq!(walked("se", true, &[0xff, 0xff, 0xff, 0xff, 0x7f]), [Walked::Broken], "more than 32 bits");
        assert_eq!(walked("[[[[[[e]]]]]]", false, &[0, 0, 0, 1].repeat(6)), [Walked::Broken], "too deep");
    }

    #[test]
    fn keeps_its_place_only_where_it_skips() {
        let mut walk = Walk::default();
        walk.response("be", false, false);
        assert_eq!(walk.on(&mut Cursor::new(&[0, 0, 0, 9, 1])), Walked::OutOfInput);
        walk.pass(8);
        assert_eq!(walk.on(&mut Cursor::new(&[0, 7])), ERROR);
        walk.pass(1);
        assert!(walk.is_over());
    }
}
