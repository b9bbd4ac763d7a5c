//! What the kernel is asked to capture of a connection: as much of a turn as its protocol needs, more where turns hold more, and less
//! where less has been enough.
//!
//! The kernel has one place for the verdicts of many connections, so it may forget what it was asked: whoever is captured less of
//! than was asked for asks again, at most once in [`limits::VERDICT_AGAIN`].

use super::work::Work;
use crate::flow::conn::ConnInfo;
use crate::limits;
use crate::protocols::traits::Growth;
use crate::protocols::{Budget, Protocol};
use crate::time::Nanos;

/// Turns that the budget cut, after which it is raised.
const PATIENCE: u8 = 2;

/// What was asked for, and why it may change.
pub(super) struct CaptureBudget {
    /// Of a turn.
    budget: Budget,
    /// Turns of requests that it cut since it was last raised.
    cut_turns: u8,
    last_cut: Option<u32>,
    /// When the kernel was told last.
    told: Nanos,
    sparing: Sparing,
}

/// Whether less is captured of responses than the budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sparing {
    /// Not yet.
    #[default]
    No,
    Yes,
    /// It was not enough once: no more on this connection.
    Never,
}

impl Default for CaptureBudget {
    fn default() -> Self {
        Self {
            budget: Budget::head(0, 0),
            cut_turns: 0,
            last_cut: None,
            told: Nanos::ZERO,
            sparing: Sparing::default(),
        }
    }
}

impl CaptureBudget {
    /// The protocol was found out; identify has just said so to the kernel.
    pub(super) fn begin(&mut self, protocol: Protocol, at: Nanos) {
        self.budget = protocol.budget().unwrap_or(self.budget);
        self.told = at;
    }

    /// Another protocol follows.
    pub(super) fn succeed(&mut self, protocol: Protocol, info: &ConnInfo, work: &mut Work<'_>) {
        if let Some(budget) = protocol.budget() {
            self.budget = budget;
            self.tell(info, work);
        }
    }

    /// The kernel may be told again what it was told.
    pub(super) fn is_due(&self, at: Nanos) -> bool {
        at.since(self.told) >= limits::VERDICT_AGAIN
    }

    /// Nothing more of the connection is of use.
    pub(super) fn mute(&mut self, info: &ConnInfo, work: &mut Work<'_>) {
        self.told = work.at;
        work.out.verdicts.push(Budget::mute(info.id));
    }

    /// Something of a turn was not captured, of which `captured` bytes were: if that is less than was asked for, the kernel has forgotten.
    pub(super) fn recall(&mut self, request: bool, captured: u64, info: &ConnInfo, work: &mut Work<'_>) {
        let class = if request { self.budget.requests } else { self.budget.responses };
        // In full, the payload of a large frame is meant to be missing: there a lost framing tells.
        let short = captured < 1 << class && !self.budget.full;
        // That much is what the governor leaves of answers, whatever was asked for: nothing was forgotten.
        let governed = !request && captured == 1 << limits::GOVERNED_ANSWER;
        if short && !governed && self.is_due(work.at) {
            work.counts.recalled += 1;
            self.tell(info, work);
        }
    }

    /// The framing was lost.
    pub(super) fn lost(&mut self, info: &ConnInfo, work: &mut Work<'_>) {
        if self.budget.full && self.is_due(work.at) {
            work.counts.recalled += 1;
            self.tell(info, work);
        }
    }

    /// Pipelines: a turn of requests was cut. Asks for more when that goes on.
    pub(super) fn adapt(&mut self, protocol: Protocol, turn: u32, info: &ConnInfo, work: &mut Work<'_>) {
        let Some(traits) = protocol.traits() else { return };
        if traits.growth != Growth::Requests || self.last_cut == Some(turn) {
            return;
        }
        self.last_cut = Some(turn);
        self.cut_turns = self.cut_turns.saturating_add(1);
        if self.cut_turns >= PATIENCE && self.budget.requests < Budget::MAX {
            self.budget.requests += 1;
            self.cut_turns = 0;
            work.counts.raised += 1;
            self.tell(info, work);
        }
    }

    /// Pipelines: a turn asks more than once, and will be answered as often. Asks for all of that.
    pub(super) fn expect(&mut self, protocol: Protocol, info: &ConnInfo, work: &mut Work<'_>) {
        let grows = protocol.traits().is_some_and(|traits| traits.growth == Growth::Responses);
        if grows && self.budget.responses != Budget::MAX {
            self.budget.responses = Budget::MAX;
            work.counts.raised += 1;
            self.tell(info, work);
        }
    }

    /// A turn of requests begins. Asks for less of the responses while less is `enough`, and for all of them again once it was not.
    pub(super) fn spare(&mut self, protocol: Protocol, enough: Option<u8>, info: &ConnInfo, work: &mut Work<'_>) {
        let usual = protocol.budget().map_or(0, |budget| budget.responses);
        match (self.sparing, enough) {
            (Sparing::No, Some(class)) if class < self.budget.responses && self.budget.responses == usual => {
                self.budget.responses = class;
                self.sparing = Sparing::Yes;
                work.counts.spared += 1;
            }
            (Sparing::Yes, None) => {
                self.budget.responses = self.budget.responses.max(usual);
                self.sparing = Sparing::Never;
                work.counts.raised += 1;
            }
            _ => return,
        }
        self.tell(info, work);
    }

    fn tell(&mut self, info: &ConnInfo, work: &mut Work<'_>) {
        self.told = work.at;
        work.out.verdicts.push(self.budget.verdict(info.id, info.role));
    }
}
