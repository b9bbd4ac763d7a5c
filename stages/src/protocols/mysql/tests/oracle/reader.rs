//! [`Oracle`]: the independent reader.
//!
//! The crate splits off packets, inflates frames and reads each packet. Put in order they are the way a client does it, which knows what it
//! asked: a command, then its answer up to the last packet, then the next command. So whole conversations are needed, from the greeting on;
//! nothing may be left over, in a packet or behind the last one, and no sequence id may be out of order.

mod answers;

use super::super::*;
use super::side::{Packet, Refusal, Side, parse};
use crate::text::Text;
use mysql_common::constants::{CapabilityFlags, Command, MAX_PAYLOAD_LEN, MariadbCapabilities, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::misc::raw::bytes::{NullBytes, U8Bytes};
use mysql_common::misc::raw::int::LeU32;
use mysql_common::misc::raw::{RawBytes, RawInt};
use mysql_common::packets::{
    AuthMoreData, AuthSwitchRequest, Column, ComChangeUser, CommonOkPacket, ErrPacket, HandshakePacket,
    HandshakeResponse, SslRequest,
};
use mysql_common::proto::{Binary, Text as Textual};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

type Columns = Arc<[Column]>;

/// Longest name: 64 characters ("Identifier Length Limits").
const NAME: usize = 64 * 4;

/// Commands of the protocol, as far as both read them, and how many bytes follow their code ("Command Phase").
const COMMANDS: &[(Command, RangeInclusive<usize>)] = &[
    (Command::COM_QUIT, 0..=0),
    (Command::COM_INIT_DB, 0..=NAME),
    (Command::COM_QUERY, 0..=usize::MAX),
    (Command::COM_FIELD_LIST, 1..=2 * NAME),
    (Command::COM_CREATE_DB, 0..=NAME),
    (Command::COM_DROP_DB, 0..=NAME),
    (Command::COM_REFRESH, 1..=1),
    (Command::COM_STATISTICS, 0..=0),
    (Command::COM_PROCESS_INFO, 0..=0),
    (Command::COM_PROCESS_KILL, 4..=4),
    (Command::COM_DEBUG, 0..=0),
    (Command::COM_PING, 0..=0),
    (Command::COM_CHANGE_USER, 3..=usize::MAX),
    (Command::COM_STMT_PREPARE, 0..=usize::MAX),
    (Command::COM_STMT_EXECUTE, 9..=usize::MAX),
    (Command::COM_STMT_SEND_LONG_DATA, 6..=usize::MAX),
    (Command::COM_STMT_CLOSE, 4..=4),
    (Command::COM_STMT_RESET, 4..=4),
    (Command::COM_SET_OPTION, 2..=2),
    (Command::COM_STMT_FETCH, 8..=8),
    (Command::COM_RESET_CONNECTION, 0..=0),
    (Command::COM_STMT_BULK_EXECUTE, 6..=usize::MAX),
];

/// The number that MariaDB takes for the statement prepared last ("COM_STMT_EXECUTE").
const LAST_PREPARED: u32 = u32::MAX;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// `None`: the statement begins with something else than a word; which one is the first is no matter of the protocol.
    pub(super) method: Option<String>,
    pub(super) target: Text,
    /// User and database.
    pub(super) session: Option<(Text, Text)>,
    pub(super) no_reply: bool,
    pub(super) bytes: u64,
}

/// An answer, or what was said unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) kind: MessageKind,
    pub(super) status: Status,
    pub(super) error: Option<u16>,
    pub(super) bytes: u64,
}

/// A conversation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) asked: Vec<Asked>,
    pub(super) answered: Vec<Answered>,
    /// Times that something was not understood.
    pub(super) refusals: usize,
}

/// Reads a conversation.
pub(super) struct Oracle {
    client: Side,
    server: Side,
    capabilities: CapabilityFlags,
    extended: MariadbCapabilities,
    /// The sequence id that comes next; `None` where frames have their own.
    seq: Option<u8>,
    /// Bytes of the answer that is being read.
    bytes: u64,
    session: Option<(Text, Text)>,
    /// The database that the server said the session is in ("Session State Information").
    told: Option<Text>,
    /// Texts and columns, by number.
    statements: HashMap<u32, (Text, Columns)>,
    last_prepared: u32,
    seen: Seen,
}

impl Oracle {
    /// All that was asked and answered. An error: it is no whole conversation, or one in a dialect that no recording speaks.
    pub(super) fn read(conversation: &Conversation) -> Result<Seen, Refusal> {
        let mut oracle = Self {
            client: Side::of(conversation, Egress),
            server: Side::of(conversation, Ingress),
            capabilities: CapabilityFlags::empty(),
            extended: MariadbCapabilities::empty(),
            seq: Some(0),
            bytes: 0,
            session: None,
            told: None,
            statements: HashMap::new(),
            last_prepared: 0,
            seen: Seen::default(),
        };
        if oracle.log_in()? {
            while !oracle.client.is_over() {
                oracle.command()?;
            }
            if !oracle.server.is_over() {
                oracle.farewell()?;
            }
            if !oracle.server.is_over() {
                return Err("the server says more".into());
            }
        }
        Ok(oracle.seen)
    }

    fn in_order(&mut self, packet: Packet) -> Result<Packet, Refusal> {
        if let Some(seq) = self.seq {
            if packet.seq.0 != seq {
                return Err(format!("sequence id {} in place of {seq}", packet.seq.0).into());
            }
            self.seq = Some(packet.seq.1.wrapping_add(1));
        }
        Ok(packet)
    }

    fn ask(&mut self) -> Result<Packet, Refusal> {
        let packet = self.client.packet()?;
        self.in_order(packet)
    }

    /// The next packet of an answer; news of progress are passed over.
    fn answer(&mut self) -> Result<Vec<u8>, Refusal> {
        loop {
            let packet = self.server.packet()?;
            self.bytes += packet.bytes;
            let payload = self.in_order(packet)?.payload;
            let progress = payload.first() == Some(&0xff)
                && parse::<ErrPacket<'_>>(&payload, self.with_progress()).is_ok_and(|error| error.is_progress_report());
            if !progress {
                return Ok(payload);
            }
        }
    }

    fn asked(&mut self, method: Option<String>, target: Text, no_reply: bool, bytes: u64) {
        let session = self.session.clone();
        self.seen.asked.push(Asked { method, target, session, no_reply, bytes });
    }

    fn answered(&mut self, kind: MessageKind, error: Option<u16>) -> Result<(), Refusal> {
        let bytes = std::mem::take(&mut self.bytes);
        let status = if error.is_none() { Status::Ok } else { Status::Error };
        self.seen.answered.push(Answered { kind, status, error, bytes });
        match (self.told.take(), &self.session) {
            (Some(told), Some((_, database))) if told != *database => Err("the server is in another database".into()),
            _ => Ok(()),
        }
    }

    /// The connection phase. True: commands follow.
    fn log_in(&mut self) -> Result<bool, Refusal> {
        let payload = self.answer()?;
        if payload.first() == Some(&0xff) {
            self.asked(Some("LOGIN".into()), Text::new(), false, 0);
            let code = self.failure(&payload)?;
            self.answered(MessageKind::Response, Some(code))?;
            return Ok(false);
        }
        let greeting: HandshakePacket<'_> = parse(&payload, ())?;
        self.bytes = 0;
        let packet = self.ask()?;
        if let Ok(wish) = parse::<SslRequest>(&packet.payload, ())
            && wish.capabilities().contains(CapabilityFlags::CLIENT_SSL)
        {
            self.asked(Some("SSL_REQUEST".into()), Text::new(), true, packet.bytes);
            return Ok(false);
        }
        let login: HandshakeResponse<'_> = parse(&packet.payload, ())?;
        // "filler: all 0s", which the crate passes over.
        if packet.payload.get(9..28).is_none_or(|filler| filler.iter().any(|byte| *byte != 0)) {
            return Err("not a log-in".into());
        }
        self.capabilities = login.capabilities() & greeting.capabilities();
        self.extended = login.mariadb_ext_capabilities() & greeting.mariadb_ext_capabilities();
        let unread = CapabilityFlags::CLIENT_OPTIONAL_RESULTSET_METADATA
            | CapabilityFlags::CLIENT_ZSTD_COMPRESSION_ALGORITHM
            | CapabilityFlags::CLIENT_QUERY_ATTRIBUTES;
        if !self.capabilities.contains(CapabilityFlags::CLIENT_PROTOCOL_41) || self.capabilities.intersects(unread) {
            return Err("a dialect that no recording speaks".into());
        }
        self.session = Some((Text::from_wire(login.user()), Text::from_wire(login.db_name().unwrap_or_default())));
        self.asked(Some("LOGIN".into()), Text::new(), false, packet.bytes);
        let error = self.authenticate()?;
        self.answered(MessageKind::Response, error)?;
        if self.capabilities.contains(CapabilityFlags::CLIENT_COMPRESS) {
            self.seq = None;
            self.client.frame();
            self.server.frame();
        }
        Ok(error.is_none())
    }

    /// Up to OK or an error.
    fn authenticate(&mut self) -> Result<Option<u16>, Refusal> {
        loop {
            let payload = self.answer()?;
            match payload.first() {
                Some(0x00) => {
                    self.ok::<CommonOkPacket>(&payload)?;
                    return Ok(None);
                }
                Some(0xff) => return Ok(Some(self.failure(&payload)?)),
                Some(0xfe) => {
                    parse::<AuthSwitchRequest<'_>>(&payload, ())?;
                    self.ask()?;
                }
                _ => {
                    parse::<AuthMoreData<'_>>(&payload, ())?;
                    self.ask()?;
                }
            }
        }
    }

    /// A command and its answer.
    fn command(&mut self) -> Result<(), Refusal> {
        self.seq = self.seq.map(|_| 0);
        let Packet { payload, bytes, .. } = self.ask()?;
        let (&code, content) = payload.split_first().ok_or("an empty command")?;
        let known = COMMANDS.iter().find(|(command, len)| *command as u8 == code && len.contains(&content.len()));
        let command = known.ok_or("not a command")?.0;
        let mut method = Some(format!("{command:?}").replace("COM_STMT_", "").replace("COM_", ""));
        let mut target = Text::new();
        match command {
            Command::COM_QUERY => {
                target = Text::from_wire(content);
                method = first_word(content);
            }
            Command::COM_INIT_DB | Command::COM_STMT_PREPARE => target = Text::from_wire(content),
            Command::COM_STMT_EXECUTE | Command::COM_STMT_BULK_EXECUTE | Command::COM_STMT_FETCH => {
                target = self.statement(content)?.0;
            }
            Command::COM_STMT_CLOSE => drop(self.statements.remove(&self.number(content)?)),
            _ => {}
        }
        let no_reply =
            matches!(command, Command::COM_QUIT | Command::COM_STMT_SEND_LONG_DATA | Command::COM_STMT_CLOSE);
        self.asked(method, target.clone(), no_reply, bytes);
        // A connection may end before the answer.
        if !(no_reply || self.client.is_over() && self.server.is_over()) {
            let error = self.answer_to(command, content, target)?;
            self.answered(MessageKind::Response, error)?;
        }
        Ok(())
    }

    fn answer_to(&mut self, command: Command, content: &[u8], text: Text) -> Result<Option<u16>, Refusal> {
        match command {
            Command::COM_QUERY | Command::COM_PROCESS_INFO => {
                let error = self.results::<Textual>(None)?;
                if let (None, Some(name)) = (error, used(content)) {
                    self.moved_to(name);
                }
                Ok(error)
            }
            Command::COM_STMT_EXECUTE | Command::COM_STMT_BULK_EXECUTE => {
                let number = self.number(content)?;
                self.results::<Binary>(Some(number))
            }
            Command::COM_STMT_FETCH => {
                let columns = self.statement(content)?.1;
                Ok(self.rows::<Binary>(&columns)?.err())
            }
            Command::COM_STMT_PREPARE => self.prepared(text),
            Command::COM_FIELD_LIST => self.field_list(),
            Command::COM_STATISTICS => {
                std::str::from_utf8(&self.answer()?)?;
                Ok(None)
            }
            Command::COM_CHANGE_USER => {
                let wish = [&[command as u8], content].concat();
                parse::<ComChangeUser<'_>>(&wish, self.capabilities)?;
                // The crate gives out nothing of what it read: its fields once more, one by one.
                let mut fields = ParseBuf(content);
                let user = fields.parse::<RawBytes<'_, NullBytes>>(())?;
                fields.parse::<RawBytes<'_, U8Bytes>>(())?;
                let database = fields.parse::<RawBytes<'_, NullBytes>>(())?;
                let error = self.authenticate()?;
                if error.is_none() {
                    self.session = Some((Text::from_wire(user.as_bytes()), Text::from_wire(database.as_bytes())));
                    self.statements.clear();
                }
                Ok(error)
            }
            _ => self.simple(command, content),
        }
    }

    fn moved_to(&mut self, database: &[u8]) {
        if let Some((_, namespace)) = &mut self.session {
            *namespace = Text::from_wire(database);
        }
    }

    fn number(&self, content: &[u8]) -> Result<u32, Refusal> {
        let number = ParseBuf(content).parse::<RawInt<LeU32>>(())?.0;
        Ok(if number == LAST_PREPARED { self.last_prepared } else { number })
    }

    fn statement(&self, content: &[u8]) -> Result<(Text, Columns), Refusal> {
        let number = self.number(content)?;
        Ok(self.statements.get(&number).cloned().unwrap_or_else(|| (Text::new(), Arc::new([]))))
    }

    /// What nobody asked for: the connection was killed.
    fn farewell(&mut self) -> Result<(), Refusal> {
        self.seq = self.seq.map(|_| 0);
        let payload = self.answer()?;
        let error = self.failure(&payload)?;
        self.answered(MessageKind::OneWay, Some(error))
    }
}

/// The word that a statement begins with. `None`: it begins otherwise.
fn first_word(text: &[u8]) -> Option<String> {
    let len = text.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'_').count();
    let word = text.get(..len).filter(|word| word.first().is_some_and(u8::is_ascii_alphabetic))?;
    (len <= 32).then(|| String::from_utf8_lossy(word).to_uppercase())
}

/// The database that a statement `USE` names.
fn used(text: &[u8]) -> Option<&[u8]> {
    let name = text.get(..4).filter(|word| word.eq_ignore_ascii_case(b"use ")).and(text.get(4..))?;
    let name = name.trim_ascii();
    Some(name.strip_prefix(b"`").and_then(|name| name.strip_suffix(b"`")).unwrap_or(name))
}
