//! What is before a message: its length, and of a request also API, version and correlation id.
//!
//! Protocol guide, "Request and Response Headers": every message is behind its length in four bytes; a request header has
//! `request_api_key`, `request_api_version`, `correlation_id` and (but for version 0 of it) `client_id`, a response header
//! `correlation_id`. Absent: the tagged fields at the end of both, which [`super::layout`] reads.

use super::apis::Call;
use crate::protocols::Malformed;
use crate::protocols::wire::Cursor;
use crate::text::Token;

/// Bytes of the length.
pub(super) const LENGTH: usize = 4;
/// Bytes of a request's header up to the length of its client id, both included.
pub(super) const REQUEST: usize = LENGTH + 10;
/// Bytes of a response's header up to its correlation id.
pub(super) const RESPONSE: usize = LENGTH + 4;
/// Longest request that is believed. Brokers take 100 MiB (`socket.request.max.bytes`), or what they are configured to.
pub(super) const MAX_REQUEST: u32 = 1 << 30;
/// Longest client id that is believed.
pub(super) const MAX_CLIENT_ID: u16 = 1_024;

/// The beginning of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestHeader {
    /// Bytes behind the length.
    pub(super) len: u32,
    pub(super) key: u16,
    pub(super) version: u16,
    pub(super) correlation: i32,
    /// Length of the client id; `None`: it is null.
    pub(super) client_id: Option<u16>,
}

fn bad(field: &'static str, kind: &'static str) -> Malformed {
    Malformed { field, kind }
}

impl RequestHeader {
    /// Out of the first [`REQUEST`] bytes.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let mut read = || {
            let (len, key, version) = (cursor.u32()?, cursor.u16()?, cursor.u16()?);
            Some((len, key, version, cursor.u32()?.cast_signed(), cursor.u16()?))
        };
        let (len, key, version, correlation, client_id) = read().ok_or(bad("header", "too short"))?;
        let header = Self { len, key, version, correlation, client_id: Some(client_id).filter(|len| *len != u16::MAX) };
        header.judge()?;
        Ok(header)
    }

    fn judge(&self) -> Result<(), Malformed> {
        // The least that a request has: the header without a client id.
        if self.len < 10 || self.len > MAX_REQUEST {
            return Err(bad("length", "of no request"));
        }
        // An API or a version from the future is let pass, but not just anything.
        if self.key > MAX_KEY || self.version > MAX_VERSION {
            return Err(bad("request_api_key", "no such API"));
        }
        if self.correlation < 0 {
            return Err(bad("correlation_id", "negative"));
        }
        let old = self.call().is_some_and(|call| !call.has_client_id());
        if !old && u32::from(self.client_id.unwrap_or(0)) > (self.len - 10).min(u32::from(MAX_CLIENT_ID)) {
            return Err(bad("client_id", "longer than its message"));
        }
        Ok(())
    }

    /// `None`: an API or version that is not known.
    pub(super) fn call(&self) -> Option<Call> {
        Call::find(self.key, self.version)
    }
}

/// Keys up to here are believed to be of an API: those known, and some to come.
const MAX_KEY: u16 = 160;
/// Likewise of versions.
const MAX_VERSION: u16 = 40;

/// True for text as client ids are: UTF-8 (perhaps cut short) without control characters.
pub(super) fn is_client_id(text: &[u8]) -> bool {
    let valid = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            let valid = text.get(..error.valid_up_to()).unwrap_or(&[]);
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !valid.chars().any(char::is_control)
}

/// True for what a topic may be called: ASCII letters, digits, `.`, `_` and `-`, at most 249 of them
/// (`org.apache.kafka.common.internals.Topic`).
pub(super) fn is_topic(text: &[u8]) -> bool {
    (1..=249).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The method of a request: the name of its API, or the key of one that is not known.
pub(super) fn method(header: &RequestHeader) -> Token {
    let call = header.call().or_else(|| Call::find(header.key, 0));
    call.map_or_else(|| Token::from_number(u32::from(header.key)), |call| Token::from(call.name()))
}
