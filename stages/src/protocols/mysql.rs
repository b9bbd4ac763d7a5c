//! Protocol `mysql`: the client/server protocol of MySQL (its internals manual; names of packets and sections are cited below)
//! and MariaDB (its knowledge base, "Client/Server Protocol").
//!
//! A packet is split off whatever way its bytes come (`lane`, `packet`, `compress`); a client's packets are commands (`requests`,
//! `command`), a server's are walked through to the end of each answer (`answers`); `talk` holds what both must know: what the
//! log-in settled (`handshake`), which answers are due, the texts of prepared statements (`statements`).
//!
//! A log-in is one exchange, LOGIN, from the client's answer to the greeting up to OK or an error, however many packets the
//! authentication takes. An execute shows the text that was prepared; after a late attach, where that was not seen, none.
//!
//! **Cut turns.** Packets say their length, so the rest of a long one may be missing. Of an answer the first packet tells how it went;
//! when the rest goes by unseen it ends with the last byte of its turn. An error behind the first row (or in a second result) is then not
//! known: the status is what the first packet said. Requests that a lost part of a turn may have held are made up for when their
//! answers come; answers that a lost part may have held, when the client speaks again. Sequence ids tell where commands (0) and
//! answers (1) begin.
//!
//! Absent: rows, parameters, passwords, the stream of replication (after `BINLOG_DUMP` the connection is handed over), TLS (handed over),
//! what zstd holds (only that something was asked and answered), and the X protocol (port 33060).

mod answers;
mod command;
mod compress;
mod fields;
mod handshake;
mod lane;
mod packet;
mod probe;
mod requests;
mod sql;
mod statements;
mod talk;
#[cfg(test)]
mod tests;
mod traits;

use super::traits::Traits;
use super::{Context, Input, Probe, ProbeContext, Sink, Step, Wire};
use answers::Answers;
use lane::Lane;
use requests::Requests;
use talk::Talk;

/// The protocol.
#[derive(Debug)]
pub struct Mysql;

/// What is remembered of a connection. At most [`State::MAX_BYTES`].
#[derive(Debug)]
pub struct State {
    client: Lane,
    server: Lane,
    requests: Requests,
    answers: Answers,
    talk: Talk,
}

impl State {
    /// Bound of its memory: itself; the beginning of a packet and what inflates frames, each direction; answers that are due, with the
    /// texts of those being prepared; statements and their texts.
    pub const MAX_BYTES: usize = size_of::<Self>()
        + requests::MAX_HEAD
        + answers::MAX_HEAD
        + 2 * compress::Frames::MAX_BYTES
        + talk::MAX_DUE * (size_of::<talk::Due>() + crate::limits::MAX_TARGET)
        + 2 * statements::MAX_STATEMENTS * statements::Statements::ENTRY_BYTES
        + (statements::MAX_STATEMENTS + 1) * crate::limits::MAX_TARGET;
}

const _: () = assert!(State::MAX_BYTES <= 800 * 1024, "as docs/limits.md says");

impl Default for State {
    fn default() -> Self {
        Self {
            client: Lane::new(requests::MAX_HEAD),
            server: Lane::new(answers::MAX_HEAD),
            requests: Requests::default(),
            answers: Answers::default(),
            talk: Talk::default(),
        }
    }
}

impl Wire for Mysql {
    const TRAITS: Traits = traits::TRAITS;
    type State = State;

    fn probe(prefix: &[u8], context: ProbeContext) -> Probe {
        probe::probe(prefix, context)
    }

    fn turn(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let State { client, server, answers, talk, .. } = state;
        if context.is_request() {
            if server.is_unframed() {
                let mut moved = server.take_moved();
                answers.settle(talk, &mut moved, server.last(), context, sink);
                server.turn();
            }
            client.turn();
        } else {
            server.turn();
        }
        talk.turn(context);
    }

    fn parse(state: &mut State, context: Context, input: Input<'_>, sink: &mut dyn Sink) -> Step {
        let State { client, server, requests, answers, talk } = state;
        if let Some(successor) = talk.successor {
            return Step::HandOver(successor);
        }
        if context.is_request() {
            client.read(requests, talk, context, input, sink)
        } else {
            server.read(answers, talk, context, input, sink)
        }
    }

    fn lost(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let State { client, server, requests, answers, talk } = state;
        if context.is_request() {
            client.lose(requests, talk, context, sink);
        } else {
            server.lose(answers, talk, context, sink);
        }
    }

    fn missed(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let State { client, server, requests, answers, talk } = state;
        if context.is_request() {
            requests.end(&mut client.take_moved(), context, sink);
            client.forget();
            talk.infile = false;
        } else {
            answers.end(&mut server.take_moved(), context, sink);
            server.forget();
            talk.void();
        }
    }

    fn end(state: &mut State, context: Context, sink: &mut dyn Sink) {
        let State { client, server, requests, answers, talk } = state;
        if context.is_request() {
            requests.end(&mut client.take_moved(), context, sink);
        } else if server.is_unframed() {
            answers.settle(talk, &mut server.take_moved(), server.last(), context, sink);
        } else {
            answers.end(&mut server.take_moved(), context, sink);
        }
    }
}
