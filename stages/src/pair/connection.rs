//! What `pair` remembers of one connection.

use super::waiting::List;
use crate::flow::conn::{ConnInfo, Direction, Role};
use crate::protocols::Protocol;
use std::sync::Arc;

/// The message whose [`crate::flow::message::Part::End`] is due in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Due {
    /// None.
    #[default]
    Nothing,
    /// That of a waiting request, or of its answer.
    Of(u32),
    /// That of something that is no longer, or never was, waited for.
    OfNobody,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) info: Arc<ConnInfo>,
    pub(super) protocol: Protocol,
    /// Its unanswered requests, oldest first.
    pub(super) line: List,
    pub(super) waiting: usize,
    pub(super) request_due: Due,
    pub(super) response_due: Due,
    /// Another protocol has taken over.
    pub(super) handed_over: bool,
    /// Turns refused before the protocol was known, by direction.
    pub(super) aside: [u64; 2],
    /// In order only: answers to come of requests that are waited for no longer (timed out), or never were (dropped).
    pub(super) nobodys_answers: u32,
    /// By id only: answers that the kernel refused, not yet known to be whose.
    pub(super) lost_answers: u32,
    /// A request has been read.
    pub(super) asked: bool,
    /// Requests read so far. Wraps.
    pub(super) requests: u32,
    /// A request turn was refused and counted as missed, and neither its answer nor another request has been read since: the
    /// next answer that no request waits for is its.
    pub(super) counted_missed: bool,
}

impl Connection {
    pub(super) fn new(generation: u32, info: Arc<ConnInfo>) -> Self {
        Self {
            generation,
            info,
            protocol: Protocol::Unknown,
            line: List::default(),
            waiting: 0,
            request_due: Due::Nothing,
            response_due: Due::Nothing,
            handed_over: false,
            aside: [0; 2],
            nobodys_answers: 0,
            lost_answers: 0,
            asked: false,
            requests: 0,
            counted_missed: false,
        }
    }

    /// Which end the watched process is, given that requests go in `direction`.
    pub(super) fn side(&self, requests: Direction) -> Role {
        match (self.info.role, requests) {
            (Role::Unknown, Direction::Ingress) => Role::Server,
            (Role::Unknown, Direction::Egress) => Role::Client,
            (known, _) => known,
        }
    }

    /// Requests that nobody read before the protocol was known. An answer has its request, even where that one's turn was
    /// not refused but unreadable; of an old connection the first answer's may be older than the probe.
    pub(super) fn requests_aside(&self) -> u64 {
        let [ingress, egress] = self.aside;
        let (requests, responses) = match self.info.role {
            Role::Client => (egress, ingress),
            Role::Server | Role::Unknown => (ingress, egress),
        };
        if self.info.late { requests } else { requests.max(responses) }
    }

    /// True if an answer that no request waits for shows that a request went by unread: in a protocol whose parser does not
    /// infer such requests itself, and where it cannot be older than the probe.
    pub(super) fn shows_unread(&self) -> bool {
        self.protocol.traits().is_some_and(|traits| traits.orphans_tell) && (self.asked || !self.info.late)
    }

    pub(super) fn put_aside(&mut self, requests: u32, responses: u32) {
        let [ingress, egress] = &mut self.aside;
        let (in_requests, in_responses) = match self.info.role {
            Role::Client => (egress, ingress),
            Role::Server | Role::Unknown => (ingress, egress),
        };
        *in_requests += u64::from(requests);
        *in_responses += u64::from(responses);
    }
}
