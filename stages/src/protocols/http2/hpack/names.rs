//! Header names: which are of interest, and the static table (RFC 7541, appendix A).
//!
//! Of a name only its kind is kept, and its length, which the size of the dynamic table depends on. Absent: all other names.

use crate::protocols::trace;

/// A header name, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Name {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:status`.
    Status,
    /// `content-type`.
    ContentType,
    /// `grpc-status`.
    GrpcStatus,
    /// Another that gRPC defines for answers and nobody else uses (PROTOCOL-HTTP2.md).
    Grpc,
    /// One that carries a trace context.
    Trace(trace::Header),
    /// Another pseudo-header (RFC 9113, section 8.3).
    Pseudo,
    /// Any other.
    Other,
    /// It is in an entry of the dynamic table that was not seen; the value is another one, and came since.
    #[default]
    Unknown,
    /// All of the field is in such an entry.
    Unseen,
}

impl Name {
    /// Longest name that is told from others, bytes.
    pub(super) const LONGEST: usize = 23;

    /// By its text, of which `text` is the beginning and `len` the whole length.
    pub(super) fn of(text: &[u8], len: u32) -> Self {
        match text {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":status" => Self::Status,
            b"content-type" => Self::ContentType,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-status-details-bin" if len == 23 => Self::Grpc,
            // Not all that begins so: gateways between HTTP and gRPC make `grpc-metadata-...` of what one end said to the other.
            b"grpc-message" | b"grpc-encoding" | b"grpc-accept-encoding" => Self::Grpc,
            [b':', ..] => Self::Pseudo,
            _ => trace::Header::of(text).map_or(Self::Other, Self::Trace),
        }
    }

    /// Most bytes kept of a value; none: it is of no interest.
    pub(super) fn kept(self) -> usize {
        match self {
            Self::Path => crate::limits::MAX_TARGET,
            Self::Method | Self::ContentType => crate::limits::MAX_TOKEN,
            Self::Status => 3,
            Self::GrpcStatus => 10,
            Self::Trace(header) => header.kept(),
            Self::Grpc | Self::Pseudo | Self::Other | Self::Unknown | Self::Unseen => 0,
        }
    }
}

/// Entries of the static table; the dynamic one begins behind it.
pub(super) const STATIC: u32 = 61;

/// An entry of the static table: name, length of the name, value where that matters (or would be kept).
pub(super) fn fixed(index: u32) -> Option<(Name, u32, &'static [u8])> {
    let at = usize::try_from(index).ok()?.checked_sub(1)?;
    NAMES.get(at).map(|(name, len, value)| (*name, *len, value.as_bytes()))
}

/// Kind and length of each name, and its value if that is of interest.
const NAMES: [(Name, u32, &str); STATIC as usize] = {
    use Name::{ContentType, Method, Other, Path, Pseudo, Status};
    [
        (Pseudo, 10, ""),
        (Method, 7, "GET"),
        (Method, 7, "POST"),
        (Path, 5, "/"),
        (Path, 5, "/index.html"),
        (Pseudo, 7, ""),
        (Pseudo, 7, ""),
        (Status, 7, "200"),
        (Status, 7, "204"),
        (Status, 7, "206"),
        (Status, 7, "304"),
        (Status, 7, "400"),
        (Status, 7, "404"),
        (Status, 7, "500"),
        (Other, 14, ""), // accept-charset
        (Other, 15, ""), // accept-encoding
        (Other, 15, ""), // accept-language
        (Other, 13, ""), // accept-ranges
        (Other, 6, ""),  // accept
        (Other, 27, ""), // access-control-allow-origin
        (Other, 3, ""),  // age
        (Other, 5, ""),  // allow
        (Other, 13, ""), // authorization
        (Other, 13, ""), // cache-control
        (Other, 19, ""), // content-disposition
        (Other, 16, ""), // content-encoding
        (Other, 16, ""), // content-language
        (Other, 14, ""), // content-length
        (Other, 16, ""), // content-location
        (Other, 13, ""), // content-range
        (ContentType, 12, ""),
        (Other, 6, ""),  // cookie
        (Other, 4, ""),  // date
        (Other, 4, ""),  // etag
        (Other, 6, ""),  // expect
        (Other, 7, ""),  // expires
        (Other, 4, ""),  // from
        (Other, 4, ""),  // host
        (Other, 8, ""),  // if-match
        (Other, 17, ""), // if-modified-since
        (Other, 13, ""), // if-none-match
        (Other, 8, ""),  // if-range
        (Other, 19, ""), // if-unmodified-since
        (Other, 13, ""), // last-modified
        (Other, 4, ""),  // link
        (Other, 8, ""),  // location
        (Other, 12, ""), // max-forwards
        (Other, 18, ""), // proxy-authenticate
        (Other, 19, ""), // proxy-authorization
        (Other, 5, ""),  // range
        (Other, 7, ""),  // referer
        (Other, 7, ""),  // refresh
        (Other, 11, ""), // retry-after
        (Other, 6, ""),  // server
        (Other, 10, ""), // set-cookie
        (Other, 25, ""), // strict-transport-security
        (Other, 17, ""), // transfer-encoding
        (Other, 10, ""), // user-agent
        (Other, 4, ""),  // vary
        (Other, 3, ""),  // via
        (Other, 16, ""), // www-authenticate
    ]
};
