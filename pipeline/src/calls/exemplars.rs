//! Calls offered to the registry as exemplars of the series that they were counted in.
//!
//! A call is known before its series is published: it waits for [`PUBLISHED_AFTER`], and is offered then. Runs on the thread of the calls.
//! Bound: [`MAX_WAITING`] calls wait; more are left out and counted. Absent: which of them stay ([`crate::registry::exemplar`]).

use super::ids::Link;
use super::tie::Call;
use crate::registry::{Exemplar, Registry};
use redtap_stages::aggregate::Observation;
use redtap_stages::flow::delta::Series;
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a call waits until its series has surely been published: aggregate emits twice a second, flush publishes once.
pub const PUBLISHED_AFTER: Nanos = Nanos::from_secs(2);
/// Calls that wait.
pub const MAX_WAITING: usize = 1_024;

/// Which calls are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// All, those first whose request said which trace they are part of.
    All,
    /// Only those.
    Said,
}

struct Waiting {
    due: Nanos,
    series: Series,
    exemplar: Exemplar,
}

/// Offers calls.
pub struct Exemplars {
    registry: Arc<Registry>,
    offered: Offered,
    waiting: VecDeque<Waiting>,
    words: Interner,
}

impl Exemplars {
    /// To `registry`.
    #[must_use]
    pub fn new(registry: Arc<Registry>, offered: Offered) -> Self {
        Self { registry, offered, waiting: VecDeque::new(), words: Interner::default() }
    }

    /// Takes up calls that are out. `wall_offset` is what to add to their times to get nanoseconds since the epoch.
    pub(super) fn take<'a>(&mut self, now: Nanos, calls: impl Iterator<Item = &'a Call>, wall_offset: i64) {
        let mut crowded = 0;
        for call in calls {
            let said = matches!(call.ids.link, Link::Said(_));
            if !said && self.offered == Offered::Said {
                continue;
            }
            let Some(Observation { series, duration, bucket }) =
                Observation::of(&call.joined, call.known, &mut self.words)
            else {
                continue;
            };
            if self.waiting.len() >= MAX_WAITING {
                crowded += 1;
                continue;
            }
            let ended = Nanos(call.joined.converged.exchange.start.0.saturating_add(duration.0));
            let at_ms = ended.0.saturating_add_signed(wall_offset) / 1_000_000;
            let (trace, span) = (call.ids.trace, call.ids.span);
            let exemplar = Exemplar { trace, span, said, bucket, value: duration, ended, at_ms };
            self.waiting.push_back(Waiting { due: Nanos(now.0.saturating_add(PUBLISHED_AFTER.0)), series, exemplar });
        }
        if crowded > 0 {
            self.registry.exemplars_crowded_out(crowded);
        }
    }

    /// Offers those whose series is there by now; at the end, when all is published, all of them.
    pub(super) fn offer(&mut self, now: Nanos, all: bool) {
        while let Some(one) = self.waiting.pop_front_if(|one| all || one.due <= now) {
            self.registry.exemplify(now, &one.series, one.exemplar);
        }
    }
}

impl std::fmt::Debug for Exemplars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exemplars").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}
