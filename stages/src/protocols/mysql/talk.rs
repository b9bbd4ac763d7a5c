//! What both directions of a connection share: what was agreed on, and which answers are due.

use super::command::Answer;
use super::compress::Compression;
use super::handshake::Capabilities;
use super::statements::Statements;
use crate::flow::message::Session;
use crate::protocols::{Context, Successor};
use crate::text::Text;
use crate::time::Nanos;
use std::collections::VecDeque;
use std::sync::Arc;

/// Commands whose answers are waited for by name; what is pipelined beyond them is only counted.
pub(super) const MAX_DUE: usize = 256;

/// An answer that has not begun.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) answer: Answer,
    pub(super) code: u8,
    /// The text that is being prepared.
    pub(super) text: Text,
    /// The session if all goes well.
    pub(super) session: Option<Arc<Session>>,
    /// The command took several packets: the answer's sequence ids go on behind them.
    pub(super) long: bool,
}

impl Due {
    /// The answer to what was not read.
    pub(super) fn unknown() -> Self {
        Self { answer: Answer::Unknown, code: 0, text: Text::new(), session: None, long: false }
    }
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// What the server offered.
    pub(super) server: Option<Capabilities>,
    /// What both have; `None` where the log-in was not seen.
    pub(super) capabilities: Option<Capabilities>,
    /// Whether OK packets end sets of rows; `None`: not known yet.
    pub(super) deprecates_eof: Option<bool>,
    pub(super) compression: Compression,
    /// Who reads the connection from here on.
    pub(super) successor: Option<Successor>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) statements: Statements,
    /// The client is sending a local file.
    pub(super) infile: bool,
    /// Since when requests of this turn may have gone by unread.
    pub(super) uncertain: Option<Nanos>,
    /// When the last turn of requests began.
    asked_at: Nanos,
    /// The turn is one of requests.
    requests_speak: bool,
    due: VecDeque<Due>,
    /// Answers due behind those.
    beyond: u32,
}

impl Talk {
    /// A turn begins.
    pub(super) fn turn(&mut self, context: Context) {
        self.requests_speak = context.is_request();
        if self.requests_speak {
            self.asked_at = context.start;
            self.uncertain = None;
        }
    }

    /// A server greets: a connection begins.
    pub(super) fn greeted(&mut self, server: Capabilities) {
        let (requests_speak, asked_at) = (self.requests_speak, self.asked_at);
        *self = Self { server: Some(server), requests_speak, asked_at, ..Self::default() };
    }

    /// An answer is due.
    pub(super) fn asked(&mut self, due: Due) {
        if self.beyond == 0 && self.due.len() < MAX_DUE {
            self.due.push_back(due);
        } else {
            self.beyond = self.beyond.saturating_add(1);
        }
    }

    /// The kind of answer that is due next.
    pub(super) fn next_answer(&self) -> Option<Answer> {
        let known = self.due.front().map(|due| due.answer);
        known.or_else(|| (self.beyond > 0).then_some(Answer::Unknown))
    }

    /// True if the answer that is due next need not begin with sequence id 1.
    pub(super) fn next_is_numbered_on(&self) -> bool {
        self.infile || self.logging_in() || self.due.front().is_some_and(|due| due.long)
    }

    /// It begins.
    pub(super) fn answered(&mut self) -> Option<Due> {
        let known = self.due.pop_front();
        if known.is_none() && self.beyond > 0 {
            self.beyond -= 1;
            return Some(Due::unknown());
        }
        known
    }

    /// True while a log-in (or a change of user) waits for its answer.
    pub(super) fn logging_in(&self) -> bool {
        self.next_answer() == Some(Answer::Login)
    }

    /// All that was due is void.
    pub(super) fn void(&mut self) {
        while let Some(due) = self.answered() {
            self.settled_unseen(due);
        }
        self.infile = false;
    }

    /// The client's framing is lost: within a turn of requests some of them may have gone by.
    pub(super) fn requests_lost(&mut self) {
        if self.requests_speak && !self.infile && !self.logging_in() {
            self.uncertain = Some(self.asked_at);
        }
    }

    /// It went well.
    pub(super) fn went_well(&mut self, due: &mut Due) {
        if let Some(session) = due.session.take() {
            self.session = Some(session);
        }
        match (due.answer, due.code) {
            (Answer::Login, 0) => {
                self.compression = self.capabilities.map_or(Compression::None, Capabilities::compression);
            }
            (_, super::command::CHANGE_USER | super::command::RESET_CONNECTION) => self.statements.clear(),
            _ => {}
        }
    }

    /// Nobody saw how it went. Who goes on talking is logged in; whether the database was changed is not known.
    pub(super) fn settled_unseen(&mut self, mut due: Due) {
        if due.answer == Answer::Login {
            self.went_well(&mut due);
        } else if due.session.is_some() {
            self.session = self
                .session
                .take()
                .map(|session| Arc::new(Session { user: session.user.clone(), ..Session::default() }));
        }
    }

    /// The present session with another database.
    pub(super) fn moved_to(&self, namespace: &[u8]) -> Arc<Session> {
        let user = self.session.as_ref().map_or_else(Text::new, |session| session.user.clone());
        Arc::new(Session { user, namespace: Text::from_wire(namespace) })
    }
}
