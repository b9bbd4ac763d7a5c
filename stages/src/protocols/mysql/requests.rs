//! What clients send: the answer to the greeting, commands, local files, and what an authentication takes.

use super::command::{self, Answer, Command, Shown};
use super::handshake::{self, Login};
use super::lane::{Begins, Flow, Reader};
use super::packet::Head;
use super::probe;
use super::sql;
use super::talk::{Due, Talk};
use crate::flow::message::{Message, MessageKind, Part, Session};
use crate::protocols::{Context, Malformed, Protocol, Sink, Successor};
use crate::text::Text;
use crate::time::Nanos;
use std::sync::Arc;

/// Bytes of a command's payload that are read: what is kept of a text, and attributes of a query before it.
pub(super) const MAX_HEAD: usize = crate::limits::MAX_TARGET + 1_024;

const UNKNOWN: Malformed = Malformed { field: "command", kind: "not one of the protocol" };

/// Requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// A request whose end is due.
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    start: Nanos,
    cut: bool,
}

impl Requests {
    /// Nothing follows.
    pub(super) fn end(&mut self, moved: &mut u64, context: Context, sink: &mut dyn Sink) {
        self.close(true, moved, context, sink);
    }

    fn close(&mut self, cut: bool, moved: &mut u64, context: Context, sink: &mut dyn Sink) -> bool {
        let bytes = std::mem::take(moved);
        let (Some(open), Some(direction)) = (self.open.take(), context.role.request_direction()) else { return false };
        let mut message = Message::new(MessageKind::Request, Part::End, Protocol::Mysql, direction, open.start);
        message.end = context.at;
        message.bytes = bytes;
        message.cut = open.cut || cut;
        sink.message(message);
        true
    }

    /// Sends the request that `head` begins.
    fn begin(&mut self, request: Request, head: &Head<'_>, moved: &mut u64, context: Context, sink: &mut dyn Sink) {
        let part = if head.whole { Part::Whole } else { Part::Head };
        let mut message = Message::new(MessageKind::Request, part, Protocol::Mysql, context.direction, head.start);
        message.end = context.at;
        message.method = request.shown.method;
        message.target = request.shown.target;
        message.session = request.session;
        message.no_reply = request.no_reply;
        message.cut = head.cut;
        message.bytes = head.len.saturating_add(super::packet::HEADER as u64);
        if head.whole {
            message.bytes = std::mem::take(moved);
        } else {
            self.open = Some(Open { start: head.start, cut: head.cut });
        }
        sink.message(message);
    }

    fn log_in(
        &mut self,
        login: Login,
        talk: &mut Talk,
        head: &Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        let mut request = Request::named("LOGIN");
        match login {
            Login::Tls => {
                request.shown.method = "SSL_REQUEST".into();
                request.no_reply = true;
                talk.successor = Some(Successor::Tls);
            }
            Login::Plain(capabilities, session) => {
                talk.void();
                talk.capabilities = Some(capabilities);
                talk.deprecates_eof = Some(capabilities.deprecates_eof());
                talk.statements.clear();
                let session = Arc::new(session);
                request.session = Some(Arc::clone(&session));
                talk.session = None;
                talk.asked(Due {
                    answer: Answer::Login,
                    code: 0,
                    text: Text::new(),
                    session: Some(session),
                    long: false,
                });
            }
        }
        self.begin(request, head, moved, context, sink);
    }

    fn command(
        &mut self,
        command: &Command,
        talk: &mut Talk,
        head: &Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        let mut shown = command::shown(command, head.bytes, talk.capabilities);
        let mut due = Due { answer: command.answer, code: command.code, ..Due::unknown() };
        due.long = head.len >= super::packet::LONG;
        match (command.code, shown.statement) {
            (command::CLOSE, Some(number)) => talk.statements.closed(number),
            (_, Some(number)) => shown.target = talk.statements.text(number),
            (command::PREPARE, None) => {
                talk.statements.preparing(&shown.target);
                due.text.clone_from(&shown.target);
            }
            _ => due.session = next_session(command, talk, head.bytes, &shown),
        }
        let no_reply = command.answer == Answer::None;
        if !no_reply {
            talk.asked(due);
        }
        self.begin(Request { shown, no_reply, session: talk.session.clone() }, head, moved, context, sink);
    }
}

/// The session that a command asks for.
fn next_session(command: &Command, talk: &Talk, payload: &[u8], shown: &Shown) -> Option<Arc<Session>> {
    match command.code {
        command::INIT_DB => Some(talk.moved_to(shown.target.as_bytes())),
        command::QUERY if shown.method == "USE" => {
            sql::used_database(shown.target.as_bytes()).map(|name| talk.moved_to(name))
        }
        command::CHANGE_USER => payload.get(1..).map(|payload| Arc::new(handshake::change_user(payload))),
        _ => None,
    }
}

/// A request to be sent.
struct Request {
    shown: Shown,
    no_reply: bool,
    session: Option<Arc<Session>>,
}

impl Request {
    fn named(method: &str) -> Self {
        Self { shown: Shown { method: method.into(), ..Shown::default() }, no_reply: false, session: None }
    }
}

impl Reader for Requests {
    fn begins(&mut self, talk: &mut Talk, bytes: &[u8]) -> Begins {
        use probe::Command as Found;
        if bytes.get(3).is_some_and(|seq| *seq > 1) {
            // A file or an authentication goes on. Anything else is the middle of something.
            return if talk.infile || talk.logging_in() { Begins::Yes } else { Begins::Wrong(UNKNOWN) };
        }
        match probe::command(bytes, talk.capabilities.is_some().then_some(talk.compression)) {
            Found::Plain | Found::Login => Begins::Yes,
            Found::Framed(compression) => {
                talk.compression = compression;
                Begins::Yes
            }
            Found::Short(more) => Begins::Perhaps(more),
            Found::None if talk.infile || talk.logging_in() => Begins::Yes,
            Found::None => Begins::Wrong(UNKNOWN),
        }
    }

    fn head(
        &mut self,
        talk: &mut Talk,
        head: Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) -> Flow {
        if talk.infile {
            // "LOCAL INFILE Request": packets up to an empty one.
            talk.infile = head.len > 0;
            *moved = 0;
            return Flow::On;
        }
        if head.seq == 1
            && let Some(login) = handshake::login(head.bytes, head.len, talk.server)
        {
            self.log_in(login, talk, &head, moved, context, sink);
            return Flow::Spoke;
        }
        if head.seq != 0 {
            // What an authentication takes; or the rest of a file that the server did not want.
            *moved = 0;
            return Flow::On;
        }
        let Some(&code) = head.bytes.first() else {
            return if head.cut { Flow::On } else { Flow::Wrong(UNKNOWN) };
        };
        let Some(command) = command::known(code, head.len) else { return Flow::Wrong(UNKNOWN) };
        self.command(command, talk, &head, moved, context, sink);
        Flow::Spoke
    }

    fn over(&mut self, _: &mut Talk, cut: bool, moved: &mut u64, context: Context, sink: &mut dyn Sink) -> Flow {
        if self.close(cut, moved, context, sink) { Flow::Spoke } else { Flow::On }
    }

    fn opaque(&mut self, talk: &mut Talk, seq: u8, len: u64, context: Context, sink: &mut dyn Sink) {
        if seq != 0 {
            return;
        }
        let mut message =
            Message::new(MessageKind::Request, Part::Whole, Protocol::Mysql, context.direction, context.start);
        message.end = context.at;
        message.bytes = len;
        message.cut = true;
        message.session.clone_from(&talk.session);
        talk.asked(Due::unknown());
        sink.message(message);
    }

    fn lost(&mut self, talk: &mut Talk, moved: &mut u64, context: Context, sink: &mut dyn Sink) {
        talk.requests_lost();
        self.end(moved, context, sink);
    }
}
