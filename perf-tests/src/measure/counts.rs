//! What the server counted against what the agent reported, and what the agent says of the difference.

use crate::case::Ends;
use redtap_e2e::prometheus::Metrics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counters of what is lost on the way.
const LOST: &[&str] = &[
    "redtap_events_lost_total",
    "redtap_kernel_refused_total",
    "redtap_kernel_slots_lost_total",
    "redtap_kernel_evicted_total",
    "redtap_stage_rejected_total",
    "redtap_stage_lost_total",
];
/// Of all counters of losses, those that explain no missed exchange: what stages leave out on purpose (records that tell
/// nothing new are most of it), and what is to be explained itself.
const EXPLAIN_NOTHING: &[&str] = &["redtap_stage_rejected_total", "redtap_exchanges_missed"];
/// How far the estimates for refused turns of pipelines may be off, as one in so many of the server's requests
/// (`docs/limits.md`: a turn counts as as many as the connection's others held on average).
const PIPELINED: u64 = 10;
/// How far counts may be off that sampling scaled, at least.
const SCALED: f64 = 0.05;
/// Standard deviations of a sample that are granted.
const DEVIATIONS: f64 = 4.0;

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
    /// The same as seen at the client, where that end is watched.
    pub client: Option<u64>,
    /// Exchanges that the agent knows it did not report, at both ends together.
    pub missed: u64,
    /// Counters of losses that stood above zero.
    pub losses: BTreeMap<String, f64>,
    /// What sampling made of the counts, if the governor sampled.
    pub scaled: Option<Scaled>,
}

/// Counts are estimates out of a sample of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaled {
    /// The part of the agent's counts, all ends together, that nobody saw.
    pub extrapolated: u64,
    /// Share of the connections that was followed at the end.
    pub ratio: f64,
    /// How far off they may be, as a share of the server's count.
    pub tolerance: f64,
}

/// How the traffic of a round was made and seen.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Which ends are watched.
    pub ends: Ends,
    /// Many requests a turn.
    pub pipelined: bool,
    /// Connections that requests shared; without, each had one of its own.
    pub connections: Option<u32>,
    /// Requests at most that loads left unfinished when they ended: a client that hangs up has asked more than was answered.
    pub unfinished: u64,
}

impl Counts {
    /// Of a scrape.
    #[must_use]
    pub fn of(server: u64, reported: u64, client: Option<u64>, metrics: &Metrics, seen: Seen) -> Self {
        let missed = MISSED.iter().map(|name| metrics.sum(name, &[])).sum();
        let samples = LOST.iter().chain(MISSED).flat_map(|name| metrics.matching(name, &[]));
        let above = samples.filter(|sample| sample.value > 0.0);
        let named = above.map(|sample| {
            let labels = ["stage", "reason"].map(|key| sample.label(key));
            (format!("{} {}", sample.name, labels.join(" ")).trim().to_owned(), sample.value)
        });
        let ratio = metrics.matching("redtap_sampling_ratio", &[]).map(|sample| sample.value).fold(1.0, f64::min);
        let extrapolated = metrics.sum("redtap_extrapolated_exchanges_total", &[]);
        let connections = seen.connections.map_or(server, u64::from);
        let scaled = (ratio < 1.0 || extrapolated > 0).then(|| Scaled::of(extrapolated, ratio, connections));
        Self { server, reported, client, missed, losses: named.collect(), scaled }
    }

    /// What is wrong with them, if anything is. Every request must be reported, or be among those that the agent says it
    /// missed.
    ///
    /// Where one end is watched, each of those is one request, also when none is: the sum is exact. Where both are, `missed`
    /// is of both: at least what is missing at the server's, at most what is missing at either (and what the loads left
    /// unfinished), and nothing if nothing was lost. Of pipelines `missed` is an estimate (`PIPELINED`), and where the
    /// governor sampled, all of it is (`Scaled`).
    #[must_use]
    pub fn wrong(&self, seen: Seen) -> Option<String> {
        let fine = self.scaled.map_or_else(|| self.adds_up(seen), |scaled| self.is_about_right(scaled));
        (!fine).then(|| self.say())
    }

    fn adds_up(&self, seen: Seen) -> bool {
        let Self { server, reported, missed, .. } = *self;
        // More than there were is never right.
        let Some(short) = server.checked_sub(reported) else { return false };
        if short > 0 && missed == 0 {
            return false;
        }
        let slack = if seen.pipelined { server / PIPELINED } else { 0 };
        let nothing_lost = self.losses.keys().all(|name| EXPLAIN_NOTHING.iter().any(|prefix| name.starts_with(prefix)));
        let most = match (seen.ends, self.client) {
            (Ends::Server, _) => short + slack,
            _ if nothing_lost => 0,
            (Ends::Both | Ends::None, Some(client)) => {
                short + server.saturating_sub(client) + 2 * slack + seen.unfinished
            }
            (Ends::Both | Ends::None, None) => u64::MAX,
        };
        (short.saturating_sub(slack)..=most).contains(&missed)
    }

    /// What was missed is not scaled: each stands for as many as are left out, but for those missed before any were. So all that is sure of
    /// its upper end is that no more can be missed than was asked, at two ends.
    fn is_about_right(&self, scaled: Scaled) -> bool {
        let (server, reported) = (self.server as f64, self.reported as f64);
        let missed = self.missed as f64 / scaled.ratio;
        let off = scaled.tolerance * server;
        reported <= server + off && reported + missed >= server - off && self.missed as f64 <= 2.0 * server
    }

    /// For people.
    #[must_use]
    pub fn say(&self) -> String {
        let Self { server, reported, missed, .. } = self;
        let client = self.client.map(|client| format!(" ({client} at the client's end)")).unwrap_or_default();
        let scaled = self.scaled.map(|scaled| {
            let Scaled { extrapolated, ratio, tolerance } = scaled;
            let (part, percent) = (1.0 / ratio, tolerance * 100.0);
            format!(
                "; counts are scaled, {extrapolated} of all were not seen (1 connection of {part:.0} followed at the end): \
                 {percent:.1} % off is allowed"
            )
        });
        format!(
            "the server counted {server}, the agent reported {reported} and missed {missed}{client}{}",
            scaled.unwrap_or_default()
        )
    }
}

impl Scaled {
    /// [`SCALED`], or where few connections are sampled, as much as such a sample is off by chance: of `connections` alike, each
    /// followed with the probability `ratio`, the estimate has a relative deviation of sqrt((1 - ratio) / (ratio * connections)).
    fn of(extrapolated: u64, ratio: f64, connections: u64) -> Self {
        // Steps back up may have been taken since.
        let sampled = ratio.clamp(1.0 / 16.0, 0.5);
        let deviation = ((1.0 - sampled) / (sampled * connections.max(1) as f64)).sqrt();
        Self { extrapolated, ratio, tolerance: SCALED.max(DEVIATIONS * deviation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Seen = Seen { ends: Ends::Server, pipelined: false, connections: Some(32), unfinished: 0 };
    const BOTH: Seen = Seen { ends: Ends::Both, ..SERVER };

    fn counts(server: u64, reported: u64, missed: u64) -> Counts {
        Counts { server, reported, missed, ..Counts::default() }
    }

    /// With both ends watched, and something lost.
    fn both(server: u64, reported: u64, client: u64, missed: u64) -> Counts {
        let losses = BTreeMap::from([("redtap_kernel_refused_total  ring_full".to_owned(), 1.0)]);
        Counts { client: Some(client), losses, ..counts(server, reported, missed) }
    }

    fn right(counts: &Counts, seen: Seen) -> bool {
        counts.wrong(seen).is_none()
    }

    #[test]
    fn a_request_that_nobody_accounts_for_is_wrong() {
        let pipelined = Seen { pipelined: true, ..BOTH };
        assert!(right(&counts(10, 10, 0), SERVER));
        assert!(!right(&counts(10, 9, 0), SERVER));
        assert!(!right(&counts(10, 9, 0), pipelined));
        assert!(!right(&counts(10, 11, 0), pipelined), "more than there were");
    }

    #[test]
    fn at_one_end_the_sum_is_exact() {
        assert!(right(&counts(10, 8, 2), SERVER));
        assert!(!right(&counts(10, 8, 3), SERVER));
        assert!(!right(&counts(10, 8, 1), SERVER));
        assert!(!right(&counts(10, 10, 5), SERVER), "missed what was reported");
    }

    #[test]
    fn of_a_pipeline_the_sum_is_within_a_tenth() {
        let pipelined = Seen { pipelined: true, ..SERVER };
        assert!(right(&counts(1_000, 936, 64), pipelined));
        assert!(right(&counts(1_000, 700, 200), pipelined) && right(&counts(1_000, 700, 400), pipelined));
        assert!(!right(&counts(1_000, 700, 199), pipelined), "a turn is more than one request");
        assert!(!right(&counts(1_000, 700, 401), pipelined));
        assert!(!right(&counts(1_000, 1_000, 101), pipelined));
        let both_ends = Seen { pipelined: true, ..BOTH };
        assert!(right(&both(1_000, 700, 800, 700), both_ends));
        assert!(!right(&both(1_000, 700, 800, 701), both_ends) && !right(&both(1_000, 700, 800, 199), both_ends));
    }

    #[test]
    fn at_both_ends_what_was_missed_is_missing_at_one_of_them() {
        assert!(right(&both(10, 8, 7, 2), BOTH) && right(&both(10, 8, 7, 5), BOTH));
        assert!(!right(&both(10, 8, 7, 1), BOTH), "less than is missing at the server's");
        assert!(!right(&both(10, 8, 7, 6), BOTH), "more than is missing at both");
        assert!(!right(&both(10, 10, 10, 5), BOTH), "missed what was reported");
        assert!(right(&both(10, 8, 7, 6), Seen { unfinished: 1, ..BOTH }));
    }

    #[test]
    fn nothing_is_missed_where_nothing_was_lost() {
        let harmless = ["redtap_stage_rejected_total decode nothing_new", "redtap_exchanges_missed_total"];
        let losses = BTreeMap::from(harmless.map(|name| (name.to_owned(), 2.0)));
        let lossless = Counts { losses, ..both(10, 9, 9, 2) };
        assert!(!right(&lossless, BOTH) && right(&both(10, 9, 9, 2), BOTH));
        assert!(!right(&counts(10, 10, 5), BOTH) && right(&counts(10, 10, 0), BOTH));
        let unknown = Counts { client: None, ..both(10, 9, 0, 7) };
        assert!(right(&unknown, BOTH) && !right(&Counts { missed: 0, ..unknown }, BOTH));
    }

    #[test]
    fn scaled_counts_are_estimates_and_say_so() {
        let scaled = |server, reported, connections| Counts {
            scaled: Some(Scaled::of(1, 1.0 / 16.0, connections)),
            ..counts(server, reported, 0)
        };
        assert!(right(&scaled(100_000, 105_000, 100_000), SERVER) && right(&scaled(100_000, 95_000, 100_000), SERVER));
        assert!(!right(&scaled(100_000, 105_001, 100_000), SERVER));
        assert!(!right(&scaled(100_000, 94_999, 100_000), SERVER));
        assert!(!right(&Counts { missed: 200_001, ..scaled(100_000, 100_000, 100_000) }, SERVER));
        // 4 * sqrt(15 / 1500) of 1500 connections.
        assert!(right(&scaled(100_000, 139_000, 1_500), SERVER) && !right(&scaled(100_000, 141_000, 1_500), SERVER));
        assert!(scaled(10, 0, 100_000).wrong(SERVER).unwrap().ends_with("5.0 % off is allowed"));
    }
}
