//! What one direction of a connection tells about the other: how many replies are due, and which kinds.
//!
//! Counts only. What they are for is said in [`super`]; how they move:
//! - a request adds to `due`, a reply takes from it;
//! - `uncertain` is set when request framing is lost inside a turn (there may be requests that were not seen) and cleared when a
//!   later request turn begins in step;
//! - losses outside a turn of that direction are whole turns that went by unseen. Those are counted elsewhere
//!   ([`crate::flow::conn::What::Missed`]) and must not be made up here a second time.

use super::MAX_CONFIRMATIONS;
use super::command::{Command, Effect};
use crate::flow::message::{Message, MessageKind, Part};
use crate::limits::MAX_PENDING_PER_CONNECTION;
use crate::protocols::{Context, Protocol, Sink};
use crate::time::Nanos;
use smallvec::SmallVec;

/// Whether requests are answered (`CLIENT REPLY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Answering {
    #[default]
    On,
    Off,
    SkipNext,
}

/// Counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What follows is the replication stream.
    pub(super) handed_over: bool,
    /// The current turn is one of requests; `None` before the first.
    requests_speak: Option<bool>,
    /// When the current or last turn of requests began.
    asked_at: Nanos,
    /// Requests whose reply has not begun. At most [`MAX_PENDING_PER_CONNECTION`].
    due: u32,
    /// There may be requests that were not seen, in the turn that began then.
    uncertain: Option<Nanos>,
    answering: Answering,
    subscribed: bool,
    monitoring: bool,
    replicating: bool,
    /// Channels of each subscribe command whose confirmations are due. At most [`MAX_CONFIRMATIONS`].
    confirmations: SmallVec<[u32; 4]>,
    /// Confirmations of the command confirmed last that are still due.
    confirming: u32,
}

impl Ledger {
    /// A turn begins.
    pub(super) fn turn(&mut self, context: Context) {
        self.requests_speak = Some(context.is_request());
        if context.is_request() {
            self.asked_at = context.start;
        }
    }

    /// True inside a turn of requests (or of replies).
    pub(super) fn in_turn_of(&self, requests: bool) -> bool {
        self.requests_speak == Some(requests)
    }

    /// A request was read. Gives whether no reply is due.
    pub(super) fn asked(&mut self, command: &Command, args: u64) -> bool {
        match command.effect {
            Effect::RepliesOff => self.answering = Answering::Off,
            Effect::RepliesOn => self.answering = Answering::On,
            Effect::Reset => {
                self.answering = Answering::On;
                self.subscribed = false;
                self.monitoring = false;
            }
            Effect::SkipOne if self.answering == Answering::On => {
                self.answering = Answering::SkipNext;
                return true;
            }
            _ => {}
        }
        match self.answering {
            Answering::On => {}
            Answering::Off => return true,
            Answering::SkipNext => {
                self.answering = Answering::On;
                return true;
            }
        }
        match command.effect {
            Effect::Subscribe | Effect::Unsubscribe => {
                self.subscribed |= command.effect == Effect::Subscribe;
                if self.confirmations.len() >= MAX_CONFIRMATIONS {
                    return true;
                }
                let channels = u32::try_from(args.saturating_sub(1)).unwrap_or(u32::MAX);
                self.confirmations.push(channels.max(1));
            }
            Effect::Monitor => self.monitoring = true,
            Effect::Replicate => self.replicating = true,
            _ => {}
        }
        if usize::try_from(self.due).is_ok_and(|due| due < MAX_PENDING_PER_CONNECTION) {
            self.due += 1;
        }
        false
    }

    /// Request framing is lost. `hiding`: inside something, so that requests may have gone by. Else whole turns did, and who
    /// counts those counts what they held.
    pub(super) fn requests_lost(&mut self, hiding: bool) {
        self.uncertain = (hiding && self.in_turn_of(true)).then_some(self.asked_at);
    }

    /// A turn of requests begins in step: no request is hidden any more.
    pub(super) fn requests_in_step(&mut self) {
        self.uncertain = None;
    }

    /// A reply begins. Makes up its request if that must have been one that was not seen.
    pub(super) fn answered(&mut self, context: Context, sink: &mut dyn Sink) {
        if self.due > 0 {
            self.due -= 1;
        } else if let (Some(at), Some(direction)) = (self.uncertain, context.role.request_direction()) {
            let mut request = Message::new(MessageKind::Request, Part::Whole, Protocol::Redis, direction, at);
            request.cut = true;
            sink.message(request);
        }
    }

    /// Replies that are due, all of which are now settled otherwise.
    pub(super) fn settle(&mut self) -> u32 {
        self.confirmations.clear();
        self.confirming = 0;
        std::mem::take(&mut self.due)
    }

    /// True if an array must be looked into: it may be a pushed message (RESP2) or a confirmation.
    pub(super) fn expects_push(&self) -> bool {
        self.subscribed || self.due == 0 || !self.confirmations.is_empty()
    }

    /// A confirmation: the first for its command is the reply to it.
    pub(super) fn confirmation(&mut self) -> MessageKind {
        if self.confirming > 0 {
            self.confirming -= 1;
            return MessageKind::OneWay;
        }
        if self.confirmations.is_empty() {
            return MessageKind::OneWay;
        }
        self.confirming = self.confirmations.remove(0) - 1;
        MessageKind::Response
    }

    /// The last channel was left.
    pub(super) fn unsubscribed(&mut self) {
        self.subscribed = false;
    }

    /// True if a simple string that looks like a monitored command is one.
    pub(super) fn expects_monitored(&self) -> bool {
        self.due == 0 || self.monitoring
    }

    /// A reply was read and went well.
    pub(super) fn reply_done(&mut self, well: bool) {
        if self.replicating && self.due == 0 {
            self.replicating = false;
            self.handed_over = well;
        }
    }
}
