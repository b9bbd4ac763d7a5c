//! The connection phase ("Connection Phase Packets"): greeting, log-in, change of user; and the capabilities that they settle.

use super::compress::Compression;
use super::fields::Fields;
use crate::flow::message::Session;
use crate::text::Text;

/// "Capabilities Flags"; the upper 32 bits are MariaDB's extended ones.
mod flag {
    /// To MariaDB: the server is MySQL, and has no extended capabilities ("CLIENT_MYSQL").
    pub(super) const LONG_PASSWORD: u64 = 1;
    pub(super) const CONNECT_WITH_DB: u64 = 1 << 3;
    pub(super) const COMPRESS: u64 = 1 << 5;
    pub(super) const PROTOCOL_41: u64 = 1 << 9;
    pub(super) const SSL: u64 = 1 << 11;
    pub(super) const SECURE_CONNECTION: u64 = 1 << 15;
    pub(super) const PLUGIN_AUTH_LENENC: u64 = 1 << 21;
    pub(super) const DEPRECATE_EOF: u64 = 1 << 24;
    pub(super) const OPTIONAL_METADATA: u64 = 1 << 25;
    pub(super) const ZSTD: u64 = 1 << 26;
    pub(super) const QUERY_ATTRIBUTES: u64 = 1 << 27;
    /// MARIADB_CLIENT_CACHE_METADATA.
    pub(super) const CACHE_METADATA: u64 = 1 << 36;
}

/// Length of an SSL request, and of what a log-in begins with.
pub(super) const FIXED: usize = 32;
/// Longest version text that is believed.
const MAX_VERSION: usize = 96;

/// Capabilities of one side, or those that both share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

impl Capabilities {
    /// Sets of rows end with an OK packet instead of EOF, and no EOF follows definitions.
    pub(super) fn deprecates_eof(self) -> bool {
        self.0 & flag::DEPRECATE_EOF != 0
    }

    /// A byte before the column count says whether definitions follow (MySQL).
    pub(super) fn metadata_before_count(self) -> bool {
        self.0 & flag::OPTIONAL_METADATA != 0
    }

    /// The same, behind it (MariaDB).
    pub(super) fn metadata_behind_count(self) -> bool {
        self.0 & flag::CACHE_METADATA != 0
    }

    /// Parameters stand before the text of a query.
    pub(super) fn query_attributes(self) -> bool {
        self.0 & flag::QUERY_ATTRIBUTES != 0
    }

    /// How the command phase is compressed. Where both are offered, MySQL's own order is zlib first.
    pub(super) fn compression(self) -> Compression {
        match (self.0 & flag::COMPRESS != 0, self.0 & flag::ZSTD != 0) {
            (true, _) => Compression::Zlib,
            (false, true) => Compression::Zstd,
            (false, false) => Compression::None,
        }
    }

    /// Those that both have. What only MariaDB knows takes a server that is no MySQL.
    fn shared(self, server: Option<Self>) -> Self {
        let Some(Self(server)) = server else { return self };
        let extended = if server & flag::LONG_PASSWORD == 0 { server } else { server & 0xffff_ffff };
        Self(self.0 & extended)
    }
}

/// "Protocol::HandshakeV10" (and V9): what the server says first. `None`: this is none.
pub(super) fn greeting(payload: &[u8]) -> Option<Capabilities> {
    let mut fields = Fields(payload);
    let version = fields.u8()?;
    let name = fields.text()?;
    if !is_version(name) || !matches!(version, 9 | 10) {
        return None;
    }
    fields.take(4)?;
    if version == 9 {
        return Some(Capabilities(0));
    }
    fields.take(8)?;
    if fields.u8()? != 0 {
        return None;
    }
    let mut capabilities = fields.number(2)?;
    let upper = |fields: &mut Fields<'_>| {
        fields.take(3)?;
        let upper = fields.number(2)?;
        fields.take(1 + 6)?;
        Some((upper, fields.number(4)?))
    };
    if let Some((upper, extended)) = upper(&mut fields) {
        capabilities |= upper << 16;
        if capabilities & flag::LONG_PASSWORD == 0 {
            capabilities |= extended << 32;
        }
    }
    Some(Capabilities(capabilities))
}

/// A version begins with a digit and is printable.
pub(super) fn is_version(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_digit)
        && name.len() <= MAX_VERSION
        && name.contains(&b'.')
        && name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

/// What a client says to the greeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// "Protocol::SSLRequest": TLS follows.
    Tls,
    /// "Protocol::HandshakeResponse41" or 320.
    Plain(Capabilities, Session),
}

/// Reads the answer to a greeting; as much of it as is here. `None`: this is none.
pub(super) fn login(payload: &[u8], len: u64, server: Option<Capabilities>) -> Option<Login> {
    if !looks_like_login(payload, len) {
        return None;
    }
    let mut fields = Fields(payload);
    let lower = fields.number(2)?;
    if lower & flag::PROTOCOL_41 == 0 {
        fields.take(3)?;
        let user = fields.text_or_rest();
        let namespace =
            if lower & flag::CONNECT_WITH_DB != 0 { fields.text().map(|_| fields.text_or_rest()) } else { None };
        return Some(Login::Plain(Capabilities(lower).shared(server), session(user, namespace.unwrap_or(&[]))));
    }
    let capabilities = lower | fields.number(2)? << 16;
    fields.take(4 + 1 + 19)?;
    let extended = fields.number(4)?;
    if capabilities & flag::SSL != 0 && len == FIXED as u64 {
        return Some(Login::Tls);
    }
    let user = fields.text_or_rest();
    let password = if capabilities & flag::PLUGIN_AUTH_LENENC != 0 {
        fields.encoded_text()
    } else if capabilities & flag::SECURE_CONNECTION != 0 {
        fields.u8().and_then(|len| fields.take(usize::from(len)))
    } else {
        fields.text()
    };
    let with_database = password.is_some() && capabilities & flag::CONNECT_WITH_DB != 0;
    let namespace = if with_database { fields.text_or_rest() } else { &[] };
    Some(Login::Plain(Capabilities(capabilities | extended << 32).shared(server), session(user, namespace)))
}

/// The fixed part of an answer to a greeting: 19 bytes of it are zero.
pub(super) fn looks_like_login(payload: &[u8], len: u64) -> bool {
    let mut fields = Fields(payload);
    let Some(lower) = fields.number(2) else { return false };
    if lower & flag::PROTOCOL_41 == 0 {
        // "Protocol::HandshakeResponse320": short, and a name behind five bytes.
        let name = fields.take(3).and_then(|_| fields.text());
        return len < 256 && name.is_some_and(|name| !name.is_empty() && name.iter().all(|byte| *byte >= b' '));
    }
    let Some(zeroes) = fields.take(2 + 4 + 1).and_then(|_| fields.take(19)) else { return false };
    let long_enough = fields.take(4).is_some() && (len > FIXED as u64 || lower & flag::SSL != 0);
    long_enough && zeroes.iter().all(|byte| *byte == 0)
}

/// COM_CHANGE_USER: user, password with its length, database.
pub(super) fn change_user(payload: &[u8]) -> Session {
    let mut fields = Fields(payload);
    let user = fields.text_or_rest();
    let password = fields.u8().and_then(|len| fields.take(usize::from(len)));
    let namespace = if password.is_some() { fields.text_or_rest() } else { &[] };
    session(user, namespace)
}

fn session(user: &[u8], namespace: &[u8]) -> Session {
    Session { user: Text::from_wire(user), namespace: Text::from_wire(namespace) }
}
