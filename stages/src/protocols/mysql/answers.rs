//! What servers send: the greeting, and answers to commands.
//!
//! The first packet of an answer tells how it went ("Generic Response Packets"); what follows is walked through only to find its
//! end: definitions are counted, rows end with EOF or, where that is deprecated, with OK. Sequence ids show where the walk went
//! wrong: an answer begins with 1 and goes on one by one.

use super::command::Answer;
use super::compress::Compression;
use super::fields::Fields;
use super::handshake;
use super::lane::{Begins, Flow, Reader};
use super::packet::{HEADER, Head, LONG};
use super::talk::{Due, Talk};
use crate::flow::message::{Message, MessageKind, Part, Status};
use crate::protocols::{Context, Protocol, Sink, Successor};
use crate::text::Token;
use crate::time::Nanos;

/// Bytes of a payload that are read: a greeting is the longest.
pub(super) const MAX_HEAD: usize = 256;
/// Columns of a table, and so of a row ("Table Column-Count Limit").
const MAX_COLUMNS: u64 = 4_096;
/// Length of an EOF packet; an OK packet is longer.
const EOF: u64 = 5;
/// "Status Flags".
const MORE_RESULTS: u16 = 0x0008;
const CURSOR_EXISTS: u16 = 0x0040;
/// MariaDB: an error of this number reports progress ("Progress Reporting").
const PROGRESS: u16 = 0xffff;

/// Answers of one connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    open: Option<Open>,
    /// Nothing of the connection was seen before.
    met: bool,
}

/// An answer that has begun.
#[derive(Debug)]
struct Open {
    due: Due,
    expect: Expect,
    start: Nanos,
    end: Nanos,
    headed: bool,
    /// Sequence id of the packet before; `None`: not to be told.
    seq: Option<u8>,
    /// How it went, where its last packet is being read.
    closing: Option<Outcome>,
}

/// What comes next in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The first packet of a result.
    First,
    /// So many definitions of columns.
    Columns(u64),
    /// EOF behind them; or, where nothing is known, perhaps a row.
    ColumnsEnd,
    Rows,
    /// Definitions of parameters and columns of a prepared statement, and EOF behind each kind.
    Definitions(u16, u16),
}

/// How it went.
#[derive(Debug, Clone)]
struct Outcome {
    status: Status,
    code: Token,
}

/// What a packet means.
#[derive(Debug)]
enum Next {
    /// The real answer is still to come.
    Wait,
    Into(Expect),
    Done(Outcome),
    /// It cannot stand here.
    Astray,
}

const OK: Next = Next::Done(Outcome { status: Status::Ok, code: Token::new() });

impl Answers {
    /// The server's side is over, or was not seen: an answer that has begun ends here.
    pub(super) fn end(&mut self, moved: &mut u64, context: Context, sink: &mut dyn Sink) {
        if let Some(open) = self.open.take() {
            finish(open, true, moved, context, sink);
        }
    }

    /// What was due is answered in a part of the turn that was not seen.
    pub(super) fn settle(
        &mut self,
        talk: &mut Talk,
        moved: &mut u64,
        last: Nanos,
        context: Context,
        sink: &mut dyn Sink,
    ) {
        if let Some(mut open) = self.open.take() {
            open.end = last;
            finish(open, true, moved, context, sink);
        }
        let Some(direction) = context.role.request_direction().map(|direction| direction.reverse()) else { return };
        while let Some(due) = talk.answered() {
            let mut message = Message::new(MessageKind::Response, Part::Whole, Protocol::Mysql, direction, last);
            message.bytes = std::mem::take(moved);
            message.cut = true;
            sink.message(message);
            talk.settled_unseen(due);
        }
        talk.infile = false;
    }

    /// A packet that belongs to no open answer.
    fn first(
        &mut self,
        talk: &mut Talk,
        head: &Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) -> Flow {
        let met = std::mem::replace(&mut self.met, true);
        let Some(answer) = talk.next_answer() else {
            return self.unasked(met, talk, head, moved, context, sink);
        };
        let next = next(answer, Expect::First, head, talk);
        match next {
            Next::Wait => return Flow::On,
            Next::Astray => return Flow::Astray,
            Next::Into(_) | Next::Done(_) => {}
        }
        let mut due = talk.answered().unwrap_or_else(Due::unknown);
        if let Some(outcome) = upgraded(&due, head) {
            talk.successor = Some(Successor::Foreign);
            sink.message(outcome.upgrade(head, moved, context));
            return Flow::Spoke;
        }
        if answer == Answer::Prepared
            && head.bytes.first() == Some(&0)
            && let Some(number) = Fields(head.bytes.get(1..).unwrap_or(&[])).u32()
        {
            talk.statements.prepared(number, std::mem::take(&mut due.text));
        }
        let open = Open {
            due,
            expect: Expect::First,
            start: head.start,
            end: context.at,
            headed: false,
            seq: None,
            closing: None,
        };
        self.go_on(open, next, talk, head, moved, context, sink)
    }

    /// Nothing is due.
    fn unasked(
        &mut self,
        met: bool,
        talk: &mut Talk,
        head: &Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) -> Flow {
        let error = head.bytes.first() == Some(&0xff);
        let asks = context.role.request_direction().unwrap_or(context.direction);
        if head.seq == 0 && error {
            let outcome = failure(head.bytes);
            if met {
                // "Connection was killed", "server shutdown": nobody asked.
                let mut message = outcome.message(MessageKind::OneWay, Part::Whole, context.direction, head.start);
                message.end = context.at;
                message.bytes = std::mem::take(moved);
                sink.message(message);
                return Flow::Spoke;
            }
            // "Too many connections" stands in place of the greeting: there is no log-in but in the wish to.
            let mut request = Message::new(MessageKind::Request, Part::Whole, Protocol::Mysql, asks, head.start);
            request.method = "LOGIN".into();
            sink.message(request);
            talk.asked(Due { answer: Answer::Login, ..Due::unknown() });
            return self.first(talk, head, moved, context, sink);
        }
        if let Some(at) = talk.uncertain.filter(|_| head.seq == 1) {
            let mut request = Message::new(MessageKind::Request, Part::Whole, Protocol::Mysql, asks, at);
            request.cut = true;
            sink.message(request);
        } else if head.seq != 1 {
            // EOF behind definitions that were taken for the end.
            if head.bytes.first() == Some(&0xfe) && head.len == EOF && talk.deprecates_eof.is_none() {
                talk.deprecates_eof = Some(false);
            }
            *moved = 0;
            return Flow::On;
        }
        talk.asked(Due::unknown());
        self.first(talk, head, moved, context, sink)
    }

    #[expect(clippy::too_many_arguments, reason = "one packet and where it is")]
    fn go_on(
        &mut self,
        mut open: Open,
        next: Next,
        talk: &mut Talk,
        head: &Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) -> Flow {
        open.end = context.at;
        open.seq = (talk.compression == Compression::None && head.len < LONG).then_some(head.seq);
        match next {
            Next::Astray => {
                self.open = Some(open);
                Flow::Astray
            }
            Next::Wait => {
                self.open = Some(open);
                Flow::On
            }
            Next::Into(expect) => {
                open.expect = expect;
                let spoke = open.head(OK_SO_FAR, context, sink);
                self.open = Some(open);
                if spoke { Flow::Spoke } else { Flow::On }
            }
            Next::Done(outcome) => {
                if outcome.status == Status::Ok {
                    talk.went_well(&mut open.due);
                }
                if head.whole {
                    open.closing = Some(outcome);
                    finish(open, head.cut, moved, context, sink);
                    return Flow::Spoke;
                }
                open.head(outcome.clone(), context, sink);
                open.closing = Some(outcome);
                self.open = Some(open);
                Flow::Spoke
            }
        }
    }
}

const OK_SO_FAR: Outcome = Outcome { status: Status::Ok, code: Token::new() };

impl Open {
    /// Sends the beginning, once.
    fn head(&mut self, outcome: Outcome, context: Context, sink: &mut dyn Sink) -> bool {
        if std::mem::replace(&mut self.headed, true) {
            return false;
        }
        let mut message = outcome.message(MessageKind::Response, Part::Head, context.direction, self.start);
        message.end = context.at;
        sink.message(message);
        true
    }
}

/// Sends what is left of an answer.
fn finish(open: Open, cut: bool, moved: &mut u64, context: Context, sink: &mut dyn Sink) {
    let Some(direction) = context.role.request_direction().map(|direction| direction.reverse()) else { return };
    let part = if open.headed { Part::End } else { Part::Whole };
    let known = open.closing.filter(|outcome| part == Part::Whole || outcome.status == Status::Error);
    let outcome = known.unwrap_or(Outcome { status: Status::Unknown, code: Token::new() });
    let mut message = outcome.message(MessageKind::Response, part, direction, open.start);
    message.end = open.end;
    message.bytes = std::mem::take(moved);
    message.cut = cut;
    sink.message(message);
}

impl Outcome {
    fn message(self, kind: MessageKind, part: Part, direction: crate::flow::conn::Direction, start: Nanos) -> Message {
        let mut message = Message::new(kind, part, Protocol::Mysql, direction, start);
        message.status = self.status;
        message.code = self.code;
        message
    }

    fn upgrade(self, head: &Head<'_>, moved: &mut u64, context: Context) -> Message {
        let mut message = self.message(MessageKind::Response, Part::Whole, context.direction, head.start);
        message.end = context.at;
        message.bytes = std::mem::take(moved);
        message.upgrade = true;
        message
    }
}

/// A stream without end begins: nobody reads it.
fn upgraded(due: &Due, head: &Head<'_>) -> Option<Outcome> {
    (due.answer == Answer::Stream && head.bytes.first() != Some(&0xff)).then_some(OK_SO_FAR)
}

/// "ERR_Packet".
fn failure(payload: &[u8]) -> Outcome {
    let number = Fields(payload.get(1..).unwrap_or(&[])).u16();
    let code = number.map_or_else(Token::new, |number| Token::from_number(u32::from(number)));
    Outcome { status: Status::Error, code }
}

fn is_progress(payload: &[u8]) -> bool {
    Fields(payload.get(1..).unwrap_or(&[])).u16() == Some(PROGRESS)
}

/// Status flags of "OK_Packet" and "EOF_Packet"; 0 where they are not here.
fn flags(head: &Head<'_>) -> u16 {
    let mut fields = Fields(head.bytes);
    let read = |fields: &mut Fields<'_>| {
        fields.take(1)?;
        if head.len == EOF {
            fields.take(2)?;
        } else {
            fields.encoded()?;
            fields.encoded()?;
        }
        fields.u16()
    };
    read(&mut fields).unwrap_or(0)
}

fn next(answer: Answer, expect: Expect, head: &Head<'_>, talk: &mut Talk) -> Next {
    let first = head.bytes.first().copied();
    if first == Some(0xff) && head.len < LONG && (answer != Answer::Line || head.len > 8) {
        if is_progress(head.bytes) {
            return if expect == Expect::First { Next::Wait } else { Next::Into(expect) };
        }
        return Next::Done(failure(head.bytes));
    }
    let last = first == Some(0xfe) && head.len < LONG;
    match expect {
        Expect::First => first_packet(answer, first, last, head, talk),
        Expect::Columns(1) => Next::Into(behind_columns(talk)),
        // A server that leaves them out.
        Expect::Columns(_) if last && head.len <= EOF => Next::Into(Expect::Rows),
        Expect::Columns(left) => Next::Into(Expect::Columns(left.saturating_sub(1))),
        Expect::ColumnsEnd if last && head.len <= EOF => {
            talk.deprecates_eof.get_or_insert(false);
            // "COM_STMT_FETCH": with a cursor, rows come when they are asked for.
            if flags(head) & CURSOR_EXISTS != 0 { OK } else { Next::Into(Expect::Rows) }
        }
        Expect::ColumnsEnd => {
            talk.deprecates_eof.get_or_insert(true);
            next(answer, Expect::Rows, head, talk)
        }
        // Rows by themselves (FETCH, FIELD_LIST) are the whole answer, whatever the flags of the session are.
        Expect::Rows if last && answer == Answer::Rows => OK,
        Expect::Rows if last => over(head),
        Expect::Rows => Next::Into(Expect::Rows),
        Expect::Definitions(parameters, columns) => definition(parameters, columns, last && head.len <= EOF, talk),
    }
}

/// A result is over; another may follow.
fn over(head: &Head<'_>) -> Next {
    if flags(head) & MORE_RESULTS != 0 { Next::Into(Expect::First) } else { OK }
}

fn first_packet(answer: Answer, first: Option<u8>, last: bool, head: &Head<'_>, talk: &mut Talk) -> Next {
    let Some(first) = first else { return if head.cut { Next::Astray } else { OK } };
    match answer {
        Answer::Login => match first {
            0x00 => OK,
            // "AuthSwitchRequest", "AuthMoreData", "AuthNextFactor": the client goes on.
            0x01 | 0x02 | 0xfe => Next::Wait,
            _ => Next::Astray,
        },
        Answer::Line | Answer::Simple | Answer::Stream | Answer::None => OK,
        Answer::Rows => next(answer, Expect::Rows, head, talk),
        Answer::Prepared if first == 0 => prepared(head, talk),
        Answer::Prepared => Next::Astray,
        Answer::Results | Answer::Unknown => match first {
            0x00 if head.len >= EOF => over(head),
            _ if last && head.len < 9 => over(head),
            0xfb if head.len > 1 => {
                talk.infile = true;
                Next::Wait
            }
            _ => match columns(head, talk) {
                Some(next) => next,
                None if answer == Answer::Unknown => OK,
                None => Next::Astray,
            },
        },
    }
}

/// "Text Resultset", `column_count`, with the byte that says whether definitions follow before or behind it.
fn columns(head: &Head<'_>, talk: &Talk) -> Option<Next> {
    let mut fields = Fields(head.bytes);
    let before = talk.capabilities.is_some_and(handshake::Capabilities::metadata_before_count);
    let mut follow = if before { fields.u8()? } else { 1 };
    let count = fields.encoded()?;
    let behind = talk.capabilities.is_none_or(handshake::Capabilities::metadata_behind_count);
    if let ([told], true) = (fields.0, behind) {
        follow = *told;
        fields.take(1);
    }
    if !fields.0.is_empty() || !(1..=MAX_COLUMNS).contains(&count) || follow > 1 {
        return None;
    }
    Some(Next::Into(if follow == 0 { behind_columns(talk) } else { Expect::Columns(count) }))
}

fn behind_columns(talk: &Talk) -> Expect {
    if talk.deprecates_eof == Some(true) { Expect::Rows } else { Expect::ColumnsEnd }
}

/// "COM_STMT_PREPARE_OK".
fn prepared(head: &Head<'_>, talk: &Talk) -> Next {
    let mut fields = Fields(head.bytes);
    fields.take(5);
    let (columns, parameters) = (fields.u16().unwrap_or(0), fields.u16().unwrap_or(0));
    fields.take(3);
    let optional = talk.capabilities.is_some_and(handshake::Capabilities::metadata_before_count);
    let left_out = optional && fields.u8() == Some(0);
    if left_out || (columns, parameters) == (0, 0) { OK } else { Next::Into(Expect::Definitions(parameters, columns)) }
}

/// One definition of a prepared statement, or EOF behind some.
fn definition(parameters: u16, columns: u16, eof: bool, talk: &mut Talk) -> Next {
    let (parameters, columns) = match (eof, parameters, columns) {
        (true, ..) => {
            talk.deprecates_eof.get_or_insert(false);
            if (parameters, columns) == (0, 0) {
                return OK;
            }
            (parameters, columns)
        }
        (false, 0, columns) => (0, columns.saturating_sub(1)),
        (false, parameters, columns) => (parameters.saturating_sub(1), columns),
    };
    let ends = talk.deprecates_eof != Some(false) && (parameters, columns) == (0, 0);
    if ends { OK } else { Next::Into(Expect::Definitions(parameters, columns)) }
}

impl Reader for Answers {
    fn begins(&mut self, talk: &mut Talk, bytes: &[u8]) -> Begins {
        let [_, _, _, seq, kind, ..] = bytes else { return Begins::Perhaps((HEADER + 1).saturating_sub(bytes.len())) };
        let alike = match (seq, kind) {
            // A greeting, or an error in its place. Bytes of no meaning may begin so, too: `head` looks closer.
            (0, 0x09 | 0x0a | 0xff) => talk.compression == Compression::None,
            (1, _) => true,
            _ if talk.compression != Compression::None => talk.next_answer().is_some(),
            _ => talk.next_is_numbered_on(),
        };
        if alike { Begins::Yes } else { Begins::No }
    }

    fn head(
        &mut self,
        talk: &mut Talk,
        head: Head<'_>,
        moved: &mut u64,
        context: Context,
        sink: &mut dyn Sink,
    ) -> Flow {
        let follows = |open: &Open| open.seq.is_none_or(|seq| seq.wrapping_add(1) == head.seq);
        let in_step = self.open.as_ref().is_none_or(follows);
        if head.seq == 0
            && (self.open.is_none() || !in_step)
            && talk.compression == Compression::None
            && let Some(server) = handshake::greeting(head.bytes)
        {
            self.met = true;
            self.end(&mut 0, context, sink);
            talk.void();
            talk.greeted(server);
            *moved = 0;
            return Flow::On;
        }
        // Whatever it says, it does not wait for more of the file.
        talk.infile = false;
        if !in_step {
            if head.seq != 1 || talk.next_answer().is_none() {
                return Flow::Astray;
            }
            // The next answer: the end of the one before was not told.
            let mut here = head.len.saturating_add(HEADER as u64).min(*moved);
            *moved = moved.saturating_sub(here);
            self.end(moved, context, sink);
            std::mem::swap(moved, &mut here);
        }
        let Some(mut open) = self.open.take() else {
            return self.first(talk, &head, moved, context, sink);
        };
        let next = next(open.due.answer, open.expect, &head, talk);
        if matches!(next, Next::Wait) {
            // Within an answer of many results: a file, or news of progress.
            open.expect = Expect::First;
        }
        self.go_on(open, next, talk, &head, moved, context, sink)
    }

    fn over(&mut self, _: &mut Talk, cut: bool, moved: &mut u64, context: Context, sink: &mut dyn Sink) -> Flow {
        let Some(open) = self.open.as_mut() else { return Flow::On };
        open.end = context.at;
        if open.closing.is_none() {
            return Flow::On;
        }
        if let Some(open) = self.open.take() {
            finish(open, cut, moved, context, sink);
        }
        Flow::Spoke
    }

    fn opaque(&mut self, talk: &mut Talk, _: u8, _: u64, context: Context, sink: &mut dyn Sink) {
        if self.open.is_some() {
            return;
        }
        let Some(due) = talk.answered() else { return };
        let mut open = Open {
            due,
            expect: Expect::Rows,
            start: context.start,
            end: context.at,
            headed: false,
            seq: None,
            closing: None,
        };
        open.head(Outcome { status: Status::Unknown, code: Token::new() }, context, sink);
        self.open = Some(open);
    }

    fn lost(&mut self, _: &mut Talk, _: &mut u64, _: Context, _: &mut dyn Sink) {
        // The rest of the turn still says when the answer ends.
    }
}
