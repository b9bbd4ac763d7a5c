//! What the server counted against what the agent reported, and what the agent says of the difference.

use crate::case::Ends;
use redtap_e2e::prometheus::Metrics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counters of exchanges that were seen but not reported.
const MISSED: &[&str] = &[
    "redtap_exchanges_missed_total",
    "redtap_exchanges_missed_unidentified_total",
    "redtap_exchanges_dropped_total",
    "redtap_exchanges_lost_total",
    "redtap_exchanges_undelivered_total",
];

/// Counts of one round with the agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Requests as the server counts them.
    pub server: u64,
    /// Of these, reported by the agent as seen at the server.
    pub reported: u64,
    /// Exchanges that the agent knows it did not report, at both ends together.
    pub missed: u64,
    /// Counters of losses that stood above zero.
    pub losses: BTreeMap<String, f64>,
}

impl Counts {
    /// Of a scrape.
    #[must_use]
    pub fn of(server: u64, reported: u64, metrics: &Metrics) -> Self {
        let missed = MISSED.iter().map(|name| metrics.sum(name, &[])).sum();
        let losses = ["redtap_events_lost_total", "redtap_kernel_refused_total", "redtap_stage_rejected_total"];
        let samples = losses.iter().chain(MISSED).flat_map(|name| metrics.matching(name, &[]));
        let above = samples.filter(|sample| sample.value > 0.0);
        let named = above.map(|sample| {
            let labels = ["stage", "reason"].map(|key| sample.label(key));
            (format!("{} {}", sample.name, labels.join(" ")).trim().to_owned(), sample.value)
        });
        Self { server, reported, missed, losses: named.collect() }
    }

    /// What is wrong with them, if anything is. Every request must be reported, or be among those that the agent says it
    /// missed. Where one end is watched, each of those is one request; where both are, at most so many are missing at the
    /// server's. A turn of a pipeline holds many requests and counts as one when it is refused (docs/limits.md), so that with
    /// `pipelined` and losses nothing more can be asked.
    #[must_use]
    pub fn wrong(&self, ends: Ends, pipelined: bool) -> Option<String> {
        let Self { server, reported, missed, .. } = self;
        let fine = match (server.checked_sub(*reported), ends) {
            (None, _) => false,
            (Some(0), _) => true,
            (Some(_), _) if pipelined => *missed > 0,
            (Some(short), Ends::Server) => short == *missed,
            (Some(short), Ends::Both | Ends::None) => short <= *missed,
        };
        (!fine).then(|| format!("the server counted {server}, the agent reported {reported} and missed {missed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(server: u64, reported: u64, missed: u64) -> Counts {
        Counts { server, reported, missed, losses: BTreeMap::new() }
    }

    #[test]
    fn a_request_that_nobody_accounts_for_is_wrong() {
        assert_eq!(counts(10, 10, 0).wrong(Ends::Server, false), None);
        assert!(counts(10, 9, 0).wrong(Ends::Server, false).is_some());
        assert!(counts(10, 9, 0).wrong(Ends::Both, true).is_some());
        assert!(counts(10, 11, 0).wrong(Ends::Both, true).is_some(), "more than there were");
    }

    #[test]
    fn what_the_agent_says_it_missed_is_accounted_for() {
        assert_eq!(counts(10, 8, 2).wrong(Ends::Server, false), None);
        assert!(counts(10, 8, 3).wrong(Ends::Server, false).is_some());
        assert_eq!(counts(10, 8, 4).wrong(Ends::Both, false), None);
        assert!(counts(10, 8, 1).wrong(Ends::Both, false).is_some());
        assert_eq!(counts(1_000, 936, 1).wrong(Ends::Server, true), None);
    }
}
