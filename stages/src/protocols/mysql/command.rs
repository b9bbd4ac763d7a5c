//! Commands ("Command Phase"): which there are, what they are called, and what is answered to each.

use super::fields::Fields;
use super::handshake::Capabilities;
use super::sql;
use crate::text::{Text, Token};

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    None,
    /// OK, EOF or an error.
    Simple,
    /// Sets of rows, OK, an error, or the wish for a local file.
    Results,
    /// A statement's number and definitions.
    Prepared,
    /// Definitions or rows, without a count before them.
    Rows,
    /// One text.
    Line,
    /// The authentication of the connection phase.
    Login,
    /// A stream without end (replication).
    Stream,
    /// The command was not read.
    Unknown,
}

/// A command's place in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) code: u8,
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    /// Payload bytes that it has at least, its code included.
    pub(super) min: u64,
    /// And at most.
    pub(super) max: u64,
}

pub(super) const INIT_DB: u8 = 0x02;
pub(super) const QUERY: u8 = 0x03;
pub(super) const CHANGE_USER: u8 = 0x11;
pub(super) const PREPARE: u8 = 0x16;
pub(super) const EXECUTE: u8 = 0x17;
pub(super) const CLOSE: u8 = 0x19;
pub(super) const FETCH: u8 = 0x1c;
pub(super) const RESET_CONNECTION: u8 = 0x1f;
pub(super) const BULK_EXECUTE: u8 = 0xfa;

const ANY: u64 = u64::MAX;

/// "Command Phase", and MariaDB's COM_STMT_BULK_EXECUTE. Those that no server takes from a client (COM_SLEEP, COM_CONNECT, ...) are not
/// here.
const COMMANDS: &[Command] = &[
    command(0x01, "QUIT", Answer::None, 1, 1),
    command(INIT_DB, "INIT_DB", Answer::Simple, 1, 1024),
    command(QUERY, "QUERY", Answer::Results, 1, ANY),
    command(0x04, "FIELD_LIST", Answer::Rows, 2, 1024),
    command(0x05, "CREATE_DB", Answer::Simple, 1, 1024),
    command(0x06, "DROP_DB", Answer::Simple, 1, 1024),
    command(0x07, "REFRESH", Answer::Simple, 2, 2),
    command(0x08, "SHUTDOWN", Answer::Simple, 1, 2),
    command(0x09, "STATISTICS", Answer::Line, 1, 1),
    command(0x0a, "PROCESS_INFO", Answer::Results, 1, 1),
    command(0x0c, "PROCESS_KILL", Answer::Simple, 5, 5),
    command(0x0d, "DEBUG", Answer::Simple, 1, 1),
    command(0x0e, "PING", Answer::Simple, 1, 1),
    command(CHANGE_USER, "CHANGE_USER", Answer::Login, 2, 65_536),
    command(0x12, "BINLOG_DUMP", Answer::Stream, 7, 4096),
    command(0x13, "TABLE_DUMP", Answer::Stream, 2, 4096),
    command(0x15, "REGISTER_SLAVE", Answer::Simple, 10, 4096),
    command(PREPARE, "PREPARE", Answer::Prepared, 1, ANY),
    command(EXECUTE, "EXECUTE", Answer::Results, 10, ANY),
    command(0x18, "SEND_LONG_DATA", Answer::None, 7, ANY),
    command(CLOSE, "CLOSE", Answer::None, 5, 5),
    command(0x1a, "RESET", Answer::Simple, 5, 5),
    command(0x1b, "SET_OPTION", Answer::Simple, 3, 3),
    command(FETCH, "FETCH", Answer::Rows, 9, 9),
    command(0x1e, "BINLOG_DUMP_GTID", Answer::Stream, 11, ANY),
    command(RESET_CONNECTION, "RESET_CONNECTION", Answer::Simple, 1, 1),
    command(BULK_EXECUTE, "BULK_EXECUTE", Answer::Results, 7, ANY),
];

const fn command(code: u8, name: &'static str, answer: Answer, min: u64, max: u64) -> Command {
    Command { code, name, answer, min, max }
}

/// The command with that code in a payload of that length.
pub(super) fn known(code: u8, len: u64) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.code == code && (command.min..=command.max).contains(&len))
}

/// What of a payload is shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) method: Token,
    pub(super) target: Text,
    /// The statement that it is about, by number.
    pub(super) statement: Option<u32>,
}

/// Reads a command's payload (or its beginning).
pub(super) fn shown(command: &Command, payload: &[u8], capabilities: Option<Capabilities>) -> Shown {
    let mut fields = Fields(payload);
    fields.take(1);
    let mut shown = Shown { method: Token::from(command.name), ..Shown::default() };
    match command.code {
        QUERY => {
            let text = query(fields.0, capabilities);
            let keyword = sql::first_keyword(text);
            if !keyword.is_empty() {
                shown.method = Token::from_wire_upper(keyword);
            }
            shown.target = Text::from_wire(text);
        }
        INIT_DB | PREPARE => shown.target = Text::from_wire(fields.0),
        EXECUTE | BULK_EXECUTE | CLOSE | FETCH => shown.statement = fields.u32(),
        _ => {}
    }
    shown
}

/// The text of COM_QUERY, behind its attributes ("COM_QUERY", `parameter_count` and on).
pub(super) fn query(payload: &[u8], capabilities: Option<Capabilities>) -> &[u8] {
    // No statement has a byte 0x01 in second place: where nothing is known, that is the number of sets, which is always 1.
    let with =
        capabilities.map_or_else(|| matches!(payload, [count, 1, ..] if *count < 0x80), Capabilities::query_attributes);
    if !with {
        return payload;
    }
    let mut fields = Fields(payload);
    match behind_attributes(&mut fields) {
        Some(()) => fields.0,
        // Longer than what is here.
        None => &[],
    }
}

fn behind_attributes(fields: &mut Fields<'_>) -> Option<()> {
    let count = usize::try_from(fields.encoded()?).ok()?;
    fields.encoded()?;
    if count == 0 {
        return Some(());
    }
    let nulls = fields.take(count.checked_add(7)? / 8)?;
    if fields.u8()? != 1 {
        return Some(());
    }
    let types = *fields;
    for _ in 0..count {
        fields.take(2)?;
        fields.encoded_text()?;
    }
    let mut types = types;
    for at in 0..count {
        let kind = types.u8()?;
        types.take(1)?;
        types.encoded_text()?;
        if nulls.get(at / 8).is_none_or(|byte| byte >> (at % 8) & 1 == 0) {
            skip_value(fields, kind)?;
        }
    }
    Some(())
}

/// "Binary Protocol Value": its length goes by its type.
fn skip_value(fields: &mut Fields<'_>, kind: u8) -> Option<()> {
    let len = match kind {
        0x01 => 1,
        0x02 | 0x0d => 2,
        0x03 | 0x04 | 0x09 => 4,
        0x05 | 0x08 => 8,
        // NULL.
        0x06 => 0,
        // Dates and times say their length in a byte.
        0x07 | 0x0a..=0x0c | 0x11..=0x13 => usize::from(fields.u8()?),
        _ => usize::try_from(fields.encoded()?).ok()?,
    };
    fields.take(len).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_by_code_and_length() {
        assert_eq!(known(0x0e, 1).map(|command| command.name), Some("PING"));
        assert_eq!(known(0x0e, 2), None, "a ping has nothing to say");
        assert_eq!(
            known(INIT_DB, 1).map(|command| command.name),
            Some("INIT_DB"),
            "of no name: servers answer with an error"
        );
        assert_eq!(known(0x00, 1), None);
        assert_eq!(known(0x20, 9), None);
    }

    #[test]
    fn the_text_of_a_query_stands_behind_its_attributes() {
        // Two: "a" is NULL, "bc" the string "hello"; then a long integer.
        let attributes = b"\x03\x01\x01\x01\xfe\x00\x01a\xfe\x00\x02bc\x03\x00\x01d\x05hello\x2a\x00\x00\x00SELECT 1";
        assert_eq!(query(attributes, None), b"SELECT 1");
        assert_eq!(query(b"\x00\x01SELECT 1", None), b"SELECT 1");
        assert_eq!(query(b"SELECT 1", None), b"SELECT 1");
        assert_eq!(query(b"\x01\x01\x00", None), b"", "cut within the attributes");
    }
}
