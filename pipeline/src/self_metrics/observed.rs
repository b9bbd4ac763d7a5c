//! What the agent's own metrics are made of.

use super::Usage;
use crate::alarms::Board;
use crate::conservation::{Conservation, ShardReport};
use crate::export::AccountTotals;
use crate::governor;
use crate::history::HistoryStats;
use crate::http::HttpCounters;
use crate::metadata::ResolverStats;
use crate::registry::RegistryStats;
use redtap_kernel::losses::Losses;
use redtap_kernel::probe::RunStats;

/// What all parts say, at one moment.
#[derive(Debug, Default)]
pub struct Observed<'a> {
    /// Of each shard.
    pub shards: &'a [ShardReport],
    /// The sums.
    pub conservation: Option<&'a Conservation>,
    /// What the kernel programs counted.
    pub losses: Option<Losses>,
    /// What the kernel programs cost; only when kernel statistics are on.
    pub runs: Option<RunStats>,
    /// The registry.
    pub registry: RegistryStats,
    /// What stages count besides their ledgers.
    pub counts: StageCounts,
    /// Process look-ups.
    pub resolver: ResolverStats,
    /// The endpoint.
    pub http: Option<&'a HttpCounters>,
    /// The history.
    pub history: HistoryStats,
    /// The agent's own cost.
    pub usage: Usage,
    /// Where the governor stands.
    pub governor: governor::State,
    /// Alarms, if there are rules.
    pub alarms: Option<&'a Board>,
    /// Of each exporter.
    pub exporters: Vec<(&'static str, AccountTotals)>,
}

/// What stages count besides their ledgers; summed over shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageCounts {
    /// Connections followed now.
    pub connections: u64,
    /// Connections forgotten because they were idle.
    pub connections_idle: u64,
    /// Connections forgotten to make room.
    pub connections_evicted: u64,
    /// Connections whose protocol was found.
    pub identified: u64,
    /// Connections that speak TLS from the beginning.
    pub tls: u64,
    /// Connections of no protocol that is known.
    pub foreign: u64,
    /// Of no protocol that is known, given up after their first turn because the governor asked for it.
    pub hurried: u64,
    /// Connections that went on encrypted after an upgrade.
    pub upgraded_to_tls: u64,
    /// Connections that went on in another known protocol after an upgrade.
    pub upgraded_to_known: u64,
    /// Times the kernel was asked to capture more of a connection than before.
    pub captures_raised: u64,
    /// The same, less: less was enough.
    pub captures_spared: u64,
    /// The same again, because it had captured less.
    pub captures_recalled: u64,
    /// Exchanges that `converge` gave the overflow endpoint.
    pub endpoints_overflowed: u64,
    /// Exchanges that `join` let go before their time, because too many waited.
    pub join_hurried: u64,
    /// Connections whose exchanges waited in `join` in vain.
    pub join_expired: u64,
    /// Entries that `join` forgot, or did not take, because of a bound.
    pub join_overflowed: u64,
    /// Exchanges counted in an overflow series.
    pub series_overflowed: u64,
}

impl std::iter::Sum for StageCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            connections: a.connections + b.connections,
            connections_idle: a.connections_idle + b.connections_idle,
            connections_evicted: a.connections_evicted + b.connections_evicted,
            identified: a.identified + b.identified,
            tls: a.tls + b.tls,
            foreign: a.foreign + b.foreign,
            hurried: a.hurried + b.hurried,
            upgraded_to_tls: a.upgraded_to_tls + b.upgraded_to_tls,
            upgraded_to_known: a.upgraded_to_known + b.upgraded_to_known,
            captures_raised: a.captures_raised + b.captures_raised,
            captures_spared: a.captures_spared + b.captures_spared,
            captures_recalled: a.captures_recalled + b.captures_recalled,
            endpoints_overflowed: a.endpoints_overflowed + b.endpoints_overflowed,
            join_hurried: a.join_hurried + b.join_hurried,
            join_expired: a.join_expired + b.join_expired,
            join_overflowed: a.join_overflowed + b.join_overflowed,
            series_overflowed: a.series_overflowed + b.series_overflowed,
        })
    }
}
