//! What is kept of a header block.

use super::hpack::{self, Name};
use crate::protocols::grpc::Flavor;
use crate::protocols::trace;
use crate::text::{Text, Token};

/// The fields of interest of one block.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    pub(super) method: Token,
    pub(super) path: Text,
    pub(super) status: Option<u16>,
    /// The content type is known; and which gRPC it says.
    pub(super) content_type: Option<Option<Flavor>>,
    pub(super) grpc_status: Option<u32>,
    /// A field that only gRPC has is among them.
    pub(super) grpc: bool,
    /// Of which trace a request is part.
    pub(super) trace: trace::Found,
    /// Some fields refer to what was not seen, or were missing.
    pub(super) unknown: bool,
    /// Of those, some said what was not said before: their value came with them, or after what was not seen.
    pub(super) news: bool,
    /// The first field is known, and no pseudo-header: those come first (RFC 9113, section 8.3), and trailers have none.
    pub(super) trailers: bool,
    /// A field was read.
    pub(super) any: bool,
}

impl Block {
    /// Some of it was missing.
    pub(super) fn tear(&mut self) {
        (self.unknown, self.news) = (true, true);
    }
}

impl hpack::Fields for Block {
    fn field(&mut self, name: Name, value: &[u8], whole: bool) {
        let first = !std::mem::replace(&mut self.any, true);
        match name {
            Name::Unknown => self.tear(),
            Name::Unseen => self.unknown = true,
            Name::Method | Name::Path | Name::Status | Name::Pseudo => {}
            Name::ContentType | Name::GrpcStatus | Name::Grpc | Name::Trace(_) | Name::Other => self.trailers |= first,
        }
        match name {
            Name::Method => self.method = Token::from_wire(value),
            Name::Path => self.path = Text::from_wire(value),
            Name::Status => self.status = number(value).filter(|_| whole).and_then(|code| u16::try_from(code).ok()),
            Name::ContentType => self.content_type = Some(Flavor::of(value)),
            Name::GrpcStatus => (self.grpc, self.grpc_status) = (true, number(value).filter(|_| whole)),
            Name::Grpc => self.grpc = true,
            Name::Trace(header) => self.trace.field(header, value, whole),
            Name::Pseudo | Name::Other | Name::Unknown | Name::Unseen => {}
        }
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit.wrapping_sub(b'0')))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}
