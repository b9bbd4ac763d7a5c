//! Requests: arrays of bulk strings ("Sending commands to a Redis server") and inline commands ("Inline commands").
//!
//! Read piece by piece: the count, each length, each argument. A request that is whole in its input is one `Whole`; one that is not
//! gives its `Head` as soon as command and key are known. Empty lines and empty arrays are no request: the server ignores
//! them.

use super::MAX_LINE;
use super::command::{Command, Need};
use super::ledger::Ledger;
use super::line::{Line, count, number_line, short_count};
use super::probe::{Begins, begins_request};
use crate::flow::message::{Message, MessageKind, Part};
use crate::protocols::{Context, Input, Malformed, Protocol, Sink, Step};
use crate::time::Nanos;
use std::num::NonZeroU64;

/// An argument that is being read.
#[derive(Debug, Clone, Copy)]
struct Argument {
    /// Bytes of it, without CR LF.
    len: u64,
    /// Bytes read, CR LF included.
    read: u64,
    /// Its word was looked at.
    known: bool,
}

/// A request that is being read.
#[derive(Debug)]
struct Open {
    command: Command,
    args: u64,
    index: u64,
    argument: Option<Argument>,
    start: Nanos,
    end: Nanos,
    bytes: u64,
    headed: bool,
    cut: bool,
}

/// Requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    open: Option<Open>,
    /// Framing is not known: look for a beginning.
    searching: bool,
    /// Nothing was read of this turn.
    fresh: bool,
    /// Something was begun, or bytes went by unseen, since the last request read: a loss hides requests.
    hiding: bool,
}

impl Default for Requests {
    fn default() -> Self {
        // A connection may be older than its first byte seen.
        Self { open: None, searching: true, fresh: true, hiding: false }
    }
}

/// Why reading stopped.
enum Stop {
    Complete,
    /// That many bytes more are needed.
    Short(u64),
    Malformed(Malformed),
}

impl Requests {
    pub(super) fn turn(&mut self) {
        self.fresh = true;
    }

    pub(super) fn parse(
        &mut self,
        ledger: &mut Ledger,
        context: Context,
        input: Input<'_>,
        sink: &mut dyn Sink,
    ) -> Step {
        let bytes = match input {
            Input::Bytes(bytes) => bytes,
            Input::Gap(len) => return self.gap(ledger, context, len, sink),
        };
        if self.searching
            && let Some(step) = self.search(ledger, bytes)
        {
            return step;
        }
        self.fresh = false;
        let step = match self.open.take() {
            Some(open) => self.read(open, 0, ledger, context, bytes, sink),
            None => self.begin(ledger, context, bytes, sink),
        };
        self.hiding = matches!(step, Step::NeedMore(_));
        step
    }

    /// Framing is lost. What was begun is reported as far as it is known.
    pub(super) fn lost(&mut self, ledger: &mut Ledger, context: Context, sink: &mut dyn Sink) {
        ledger.requests_lost(self.hiding);
        self.finish_cut(Some(ledger), context, sink);
        self.searching = true;
        self.hiding = false;
    }

    /// No request follows. What was begun will never be answered.
    pub(super) fn end(&mut self, context: Context, sink: &mut dyn Sink) {
        self.finish_cut(None, context, sink);
    }

    fn finish_cut(&mut self, ledger: Option<&mut Ledger>, context: Context, sink: &mut dyn Sink) {
        let Some(mut open) = self.open.take() else { return };
        open.cut = true;
        if open.headed {
            sink.message(open.end(context));
        } else if let Some(ledger) = ledger
            && (!open.command.method.is_empty() || open.index == open.args)
        {
            let no_reply = ledger.asked(&open.command, open.args);
            sink.message(open.message(Part::Whole, no_reply, context));
        }
    }

    /// In a gap only the inside of an argument is known.
    fn gap(&mut self, ledger: &mut Ledger, context: Context, len: NonZeroU64, sink: &mut dyn Sink) -> Step {
        self.hiding = true;
        let Some(open) = self.open.as_mut() else { return Step::Lost };
        let Some(argument) = open.argument.as_mut() else { return Step::Lost };
        let n = len.get().min(argument.len.saturating_add(2).saturating_sub(argument.read));
        argument.read += n;
        argument.known = true;
        open.bytes += n;
        open.cut = true;
        open.end = context.at;
        open.close_argument();
        if open.index == open.args {
            self.hiding = false;
            self.finish_cut(Some(ledger), context, sink);
        }
        NonZeroU64::new(n).map_or(Step::Lost, Step::Consumed)
    }

    /// Looks for the beginning of a request. `None`: here it is.
    fn search(&mut self, ledger: &mut Ledger, bytes: &[u8]) -> Option<Step> {
        match begins_request(bytes) {
            Begins::Yes => {
                self.searching = false;
                if self.fresh {
                    ledger.requests_in_step();
                }
                return None;
            }
            Begins::Perhaps => {
                self.hiding = self.fresh;
                return Some(need(1));
            }
            Begins::No => self.fresh = false,
        }
        let next = bytes
            .windows(3)
            .enumerate()
            .filter(|(_, window)| *window == b"\r\n*")
            .map(|(at, _)| at + 2)
            .find(|at| bytes.get(*at..).is_some_and(|rest| begins_request(rest) != Begins::No));
        // What could be the beginning of CR LF and an array is kept for the next look.
        let tail = if bytes.ends_with(b"\r\n") { 2 } else { usize::from(bytes.ends_with(b"\r")) };
        let skipped = next.unwrap_or(bytes.len() - tail);
        Some(consumed(skipped).unwrap_or(need(1)))
    }

    fn begin(&mut self, ledger: &mut Ledger, context: Context, bytes: &[u8], sink: &mut dyn Sink) -> Step {
        match bytes.first() {
            Some(b'*') => {}
            Some(b'\r' | b'\n' | b' ' | b'A'..=b'Z' | b'a'..=b'z' | b'"' | b'\'') => {
                return inline(ledger, context, bytes, sink);
            }
            _ => return malformed("request", "neither an array nor a command"),
        }
        if let Some((args @ 1.., head)) = short_count(bytes) {
            return self.read(Open::new(args.into(), context), head, ledger, context, bytes, sink);
        }
        let line = match number_line(bytes) {
            Line::Whole(line) => line,
            Line::Short => return need(1),
            Line::Long => return malformed("array length", "too long"),
        };
        let Some(args) = line.get(1..).and_then(count) else {
            return malformed("array length", "not a number in range");
        };
        let head = line.len() + 2;
        match args {
            None | Some(0) => consumed(head).unwrap_or(need(1)),
            Some(args) => self.read(Open::new(args, context), head, ledger, context, bytes, sink),
        }
    }

    /// Reads on in `bytes` from `from`.
    fn read(
        &mut self,
        mut open: Open,
        from: usize,
        ledger: &mut Ledger,
        context: Context,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Step {
        let mut at = from;
        let stop = loop {
            if open.index == open.args {
                break Stop::Complete;
            }
            let rest = bytes.get(at..).unwrap_or(&[]);
            match open.step(rest) {
                Ok(n) => at += n,
                Err(stop) => break stop,
            }
        };
        open.bytes += u64::try_from(at).unwrap_or(0);
        open.end = context.at;
        match stop {
            Stop::Complete if open.headed => sink.message(open.end(context)),
            Stop::Complete => {
                let no_reply = ledger.asked(&open.command, open.args);
                sink.message(open.message(Part::Whole, no_reply, context));
            }
            Stop::Malformed(what) => {
                self.open = Some(open);
                return Step::Malformed(what);
            }
            Stop::Short(more) => {
                if !open.headed && open.command.settled() {
                    let no_reply = ledger.asked(&open.command, open.args);
                    sink.message(open.message(Part::Head, no_reply, context));
                    open.headed = true;
                }
                self.open = Some(open);
                return consumed(at).unwrap_or(need(more));
            }
        }
        consumed(at).unwrap_or(need(1))
    }
}

impl Open {
    fn new(args: u64, context: Context) -> Self {
        Self {
            command: Command::new(),
            args,
            index: 0,
            argument: None,
            start: context.start,
            end: context.at,
            bytes: 0,
            headed: false,
            cut: false,
        }
    }

    /// Reads one piece at the beginning of `rest`.
    fn step(&mut self, rest: &[u8]) -> Result<usize, Stop> {
        let Some(mut argument) = self.argument else {
            return self.whole(rest).map_or_else(|| self.header(rest), Ok);
        };
        let left = argument.len.saturating_sub(argument.read);
        let available = rest.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(rest);
        let n = match self.command.need(self.index) {
            Need::Word(max) if !argument.known => {
                let want = max.min(usize::try_from(left).unwrap_or(usize::MAX));
                let Some(word) = available.get(..want) else {
                    return Err(short(want - available.len()));
                };
                self.command.word(self.index, word);
                argument.known = true;
                argument.consume(rest)?
            }
            Need::Key if left > 0 => {
                let after = left - u64::try_from(available.len()).unwrap_or(left);
                match self.command.key_piece(available, argument.read, after) {
                    0 => return Err(short(1)),
                    n => {
                        argument.read += u64::try_from(n).unwrap_or(0);
                        n
                    }
                }
            }
            _ => argument.consume(rest)?,
        };
        self.argument = Some(argument);
        self.close_argument();
        Ok(n)
    }

    /// A short argument that is there with its length and its end, as most are: all of it at once. `None`: piece by piece.
    fn whole(&mut self, rest: &[u8]) -> Option<usize> {
        let (len, head) = short_count(rest).filter(|_| rest.first() == Some(&b'$'))?;
        let len = usize::from(len);
        let text = rest.get(head..head + len)?;
        if rest.get(head + len..head + len + 2) != Some(b"\r\n") {
            return None;
        }
        match self.command.need(self.index) {
            Need::Nothing => {}
            Need::Word(max) => self.command.word(self.index, text.get(..max).unwrap_or(text)),
            Need::Key => self.command.target.push_wire(text),
        }
        self.command.passed(self.index);
        self.index += 1;
        Some(head + len + 2)
    }

    /// The length of the next argument.
    fn header(&mut self, rest: &[u8]) -> Result<usize, Stop> {
        if rest.first().is_some_and(|byte| *byte != b'$') {
            return Err(Stop::Malformed(Malformed { field: "argument", kind: "not a bulk string" }));
        }
        match number_line(rest) {
            Line::Whole(line) => match line.get(1..).and_then(count) {
                Some(Some(len)) => {
                    self.argument = Some(Argument { len, read: 0, known: false });
                    Ok(line.len() + 2)
                }
                _ => Err(Stop::Malformed(Malformed { field: "bulk length", kind: "not a number in range" })),
            },
            Line::Short => Err(short(1)),
            Line::Long => Err(Stop::Malformed(Malformed { field: "bulk length", kind: "too long" })),
        }
    }

    fn close_argument(&mut self) {
        if self.argument.is_some_and(|argument| argument.read >= argument.len.saturating_add(2)) {
            self.command.passed(self.index);
            self.argument = None;
            self.index += 1;
        }
    }

    /// The request, or its beginning. Takes what nothing behind that needs: the key, and of a whole one the method.
    fn message(&mut self, part: Part, no_reply: bool, context: Context) -> Message {
        let mut message = Message::new(MessageKind::Request, part, Protocol::Redis, context.direction, self.start);
        message.end = self.end;
        message.method =
            if part == Part::Whole { std::mem::take(&mut self.command.method) } else { self.command.method.clone() };
        message.target = std::mem::take(&mut self.command.target);
        message.bytes = self.bytes;
        message.cut = self.cut;
        message.no_reply = no_reply;
        message.may_block = self.command.may_block;
        message
    }

    fn end(&self, context: Context) -> Message {
        let mut message = Message::new(MessageKind::Request, Part::End, Protocol::Redis, context.direction, self.start);
        message.end = self.end;
        message.bytes = self.bytes;
        message.cut = self.cut;
        message
    }
}

impl Argument {
    /// Passes over what is there of the argument and its CR LF.
    fn consume(&mut self, rest: &[u8]) -> Result<usize, Stop> {
        let left = self.len.saturating_add(2).saturating_sub(self.read);
        let here = rest.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(rest);
        let text = usize::try_from(self.len.saturating_sub(self.read)).unwrap_or(usize::MAX).min(here.len());
        let marks = here.get(text..).unwrap_or(&[]);
        let expected: &[u8] = if self.read > self.len { b"\n" } else { b"\r\n" };
        if !expected.starts_with(marks) {
            return Err(Stop::Malformed(Malformed { field: "bulk string", kind: "not ended by CR LF" }));
        }
        if here.is_empty() {
            return Err(short(1));
        }
        self.read += u64::try_from(here.len()).unwrap_or(0);
        Ok(here.len())
    }
}

/// "Inline commands": words parted by spaces, up to the end of the line (LF, as the server takes it).
fn inline(ledger: &mut Ledger, context: Context, bytes: &[u8], sink: &mut dyn Sink) -> Step {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() >= MAX_LINE { malformed("inline command", "too long") } else { need(1) };
    };
    let line = bytes.get(..end).unwrap_or(bytes);
    let mut open = Open::new(0, context);
    for word in line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()) {
        let word = unquoted(word);
        match open.command.need(open.args) {
            Need::Nothing => {}
            Need::Word(max) => open.command.word(open.args, word.get(..max).unwrap_or(word)),
            Need::Key => open.command.target.push_wire(word),
        }
        open.command.passed(open.args);
        open.args += 1;
    }
    if open.args > 0 {
        open.bytes = u64::try_from(end + 1).unwrap_or(0);
        let no_reply = ledger.asked(&open.command, open.args);
        sink.message(open.message(Part::Whole, no_reply, context));
    }
    consumed(end + 1).unwrap_or(need(1))
}

fn unquoted(word: &[u8]) -> &[u8] {
    match word {
        [b'"', inside @ .., b'"'] | [b'\'', inside @ .., b'\''] => inside,
        _ => word,
    }
}

fn short(n: usize) -> Stop {
    Stop::Short(u64::try_from(n).unwrap_or(1))
}

/// `Consumed`, if it is anything.
pub(super) fn consumed(n: usize) -> Option<Step> {
    u64::try_from(n).ok().and_then(NonZeroU64::new).map(Step::Consumed)
}

/// `NeedMore`, of at least one byte.
pub(super) fn need(n: u64) -> Step {
    Step::NeedMore(NonZeroU64::new(n).unwrap_or(NonZeroU64::MIN))
}

pub(super) fn malformed(field: &'static str, kind: &'static str) -> Step {
    Step::Malformed(Malformed { field, kind })
}
