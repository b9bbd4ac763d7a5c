//! The packets without type that open a connection ("Start-up", "Canceling Requests in Progress", "SSL Session Encryption",
//! "GSSAPI Session Encryption").

use crate::flow::message::Session;
use crate::text::Text;

/// `CancelRequest`.
pub(super) const CANCEL: u32 = 80_877_102;
/// `SSLRequest`.
pub(super) const SSL: u32 = 80_877_103;
/// `GSSENCRequest`.
pub(super) const GSSENC: u32 = 80_877_104;
/// Longest packet that the server takes (`MAX_STARTUP_PACKET_LENGTH`).
pub(super) const MAX_PACKET: u32 = 10_000;

/// Which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Startup,
    Cancel,
    Ssl,
    Gssenc,
}

impl Opening {
    /// By the code in it; `length` counts itself and the code.
    pub(super) fn of(code: u32, length: u32) -> Option<Self> {
        match code {
            SSL if length == 8 => Some(Self::Ssl),
            GSSENC if length == 8 => Some(Self::Gssenc),
            // 3.0: a key of four bytes; 3.2: of up to 256.
            CANCEL if (16..=268).contains(&length) => Some(Self::Cancel),
            // Major version 3; clients may ask for a minor one that does not exist yet.
            _ if code >> 16 == 3 && (9..=MAX_PACKET).contains(&length) => Some(Self::Startup),
            _ => None,
        }
    }
}

/// Who logs in, and to which database: pairs of name and value, each ended by a zero byte.
pub(super) fn session(parameters: &[u8]) -> Session {
    let mut session = Session::default();
    let mut words = parameters.split(|byte| *byte == 0);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            b"user" => session.user = Text::from_wire(value),
            b"database" => session.namespace = Text::from_wire(value),
            b"" => break,
            _ => {}
        }
    }
    if session.namespace.is_empty() {
        // "database: defaults to the user name".
        session.namespace = session.user.clone();
    }
    session
}
