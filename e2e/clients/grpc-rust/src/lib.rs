//! The shop on tonic without generated code: messages are bytes. See `../README.md`.

use bytes::{Buf, BufMut, Bytes};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

/// Where the methods are.
pub const SERVICE: &str = "/shop.v1.Shop/";

/// Hands messages on as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(message);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}

const NAMES: [(Code, &str); 7] = [
    (Code::Ok, "OK"),
    (Code::NotFound, "NOT_FOUND"),
    (Code::Internal, "INTERNAL"),
    (Code::Cancelled, "CANCELLED"),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
    (Code::Unimplemented, "UNIMPLEMENTED"),
    (Code::Unavailable, "UNAVAILABLE"),
];

/// A code's name in the specification.
pub fn name(code: Code) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == code).map_or("UNKNOWN", |(_, name)| name)
}

/// The code of a name.
pub fn code(name: &str) -> Code {
    NAMES.iter().find(|(_, known)| *known == name).map_or(Code::Unknown, |(code, _)| *code)
}
