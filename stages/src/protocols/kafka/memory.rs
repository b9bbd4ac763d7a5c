//! What is remembered of a connection besides its open messages: requests without their answers, and names of topics.

use super::apis::Call;
use super::{MAX_ASKED, MAX_TOPICS};
use crate::text::Text;
use std::collections::VecDeque;

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    correlation: i32,
    /// `None`: a version that nothing is known of.
    call: Option<Call>,
}

/// Requests without their answers, the oldest first; at most [`MAX_ASKED`].
#[derive(Debug, Default)]
pub(super) struct Requests(VecDeque<Asked>);

impl Requests {
    /// When it is full, the oldest makes room: its answer will be nobody's.
    pub(super) fn push(&mut self, correlation: i32, call: Option<Call>) {
        if self.0.len() >= MAX_ASKED {
            self.0.pop_front();
        }
        self.0.push_back(Asked { correlation, call });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The request that is answered. A broker answers in order (protocol guide, "Network"), so what was asked before and is not
    /// answered yet will not be seen answered.
    pub(super) fn answered(&mut self, correlation: i32) -> Option<Option<Call>> {
        let at = self.0.iter().position(|asked| asked.correlation == correlation)?;
        self.0.drain(..=at).next_back().map(|asked| asked.call)
    }
}

/// Names of topics by id, as the broker told them; at most [`MAX_TOPICS`]. And the first topic of the fetch session: later requests of a
/// session name only what has changed (KIP-227).
#[derive(Debug, Default)]
pub(super) struct Topics {
    names: VecDeque<([u8; 16], Text)>,
    pub(super) session: Text,
}

impl Topics {
    /// When it is full, the name learnt first makes room.
    pub(super) fn learn(&mut self, id: [u8; 16], name: &Text) {
        if id == [0; 16] || name.is_empty() || self.name(id).is_some() {
            return;
        }
        if self.names.len() >= MAX_TOPICS {
            self.names.pop_front();
        }
        self.names.push_back((id, name.clone()));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, id: [u8; 16]) -> Option<&Text> {
        self.names.iter().find(|(known, _)| *known == id).map(|(_, name)| name)
    }
}
