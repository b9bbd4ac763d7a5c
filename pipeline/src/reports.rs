//! What people are shown: services, one service, the topology; one shape for the UI, `redtap top` and scripts, wherever
//! the numbers come from.
//!
//! [`Reports`] is answered from the agent's own history, or from an engine that many agents write to. Who shows them
//! knows no difference. `docs/api.md` describes the same shapes as JSON.
//!
//! Units: seconds, requests a second, shares from 0 to 1. What is not known is `None` (JSON `null`), never 0: a service
//! without requests has no error ratio and no percentiles.
//!
//! Absent: where the numbers are kept, HTTP, anything of a request but its metrics.

use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;

/// A stretch of time, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Beginning, seconds since the epoch; of the first step.
    pub from: i64,
    /// End, likewise; of the last step.
    pub to: i64,
    /// Seconds of a step; divides the range.
    pub step: u32,
}

impl Range {
    /// Number of steps: the length of every list of values over this range.
    #[must_use]
    pub fn steps(&self) -> usize {
        let seconds = u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0);
        usize::try_from(seconds / u64::from(self.step.max(1))).unwrap_or(0)
    }
}

/// Requests, errors, durations over a whole range.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Red {
    /// Requests in the range.
    pub requests: f64,
    /// Requests a second, of the time that was recorded.
    pub requests_per_second: f64,
    /// Share of the requests that failed.
    pub error_ratio: Option<f64>,
    /// Durations, by share of the requests that were no slower: interpolated within a bucket of the histogram.
    pub p50_seconds: Option<f64>,
    /// Likewise.
    pub p90_seconds: Option<f64>,
    /// Likewise.
    pub p99_seconds: Option<f64>,
}

/// The same for each step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RedOverTime {
    /// `None` where nothing was recorded (the agent did not run).
    pub requests_per_second: Vec<Option<f64>>,
    /// Likewise, and where there was no request.
    pub error_ratio: Vec<Option<f64>>,
    /// Likewise.
    pub p50_seconds: Vec<Option<f64>>,
    /// Likewise.
    pub p90_seconds: Vec<Option<f64>>,
    /// Likewise.
    pub p99_seconds: Vec<Option<f64>>,
}

/// One service in the overview.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Its name.
    pub service: String,
    /// Its namespace (several, if services of one name are in several); empty: none known.
    pub namespace: String,
    /// Protocols that it speaks, by name, in either role.
    pub protocols: Vec<String>,
    /// What it answered; `None` if it answered nothing.
    pub served: Option<Red>,
    /// What it asked of others; `None` if it asked nothing.
    pub called: Option<Red>,
    /// What it answered (or, if nothing, asked), over time.
    pub over_time: RedOverTime,
}

/// All services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// What is shown.
    pub range: Range,
    /// Worst first: by error ratio, then by p99, then by rate; those that answer before those that only ask.
    pub services: Vec<ServiceRow>,
}

/// Requests of one kind: an endpoint that is served, or calls that are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Protocol family: `http`, `rpc`, `db`, `messaging`, `dns`.
    pub kind: String,
    /// Product of a database or broker, framework of a remote call; else empty.
    pub system: String,
    /// Method or operation.
    pub method: String,
    /// Route, remote method, summary of a statement, topic, name.
    pub endpoint: String,
    /// Of calls, the other end; empty on the serving side.
    pub peer: String,
    /// Over the range.
    pub red: Red,
}

/// Requests with one code, over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeRow {
    /// `served` or `called`.
    pub side: String,
    /// Protocol family.
    pub kind: String,
    /// Status code or error name; empty where there is none (no answer, or a protocol that has none for success).
    pub code: String,
    /// Why these count as errors; empty: they do not.
    pub error: String,
    /// In the range.
    pub requests: f64,
    /// A step.
    pub requests_per_second: Vec<Option<f64>>,
}

/// How many requests took how long, over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HeatMap {
    /// Upper bounds of the rows but the last, which has none; seconds.
    pub bounds_seconds: Vec<f64>,
    /// Requests, by row and then by step.
    pub requests: Vec<Vec<Option<f64>>>,
}

/// One side of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SideReport {
    /// Over the range.
    pub red: Red,
    /// Over time.
    pub over_time: RedOverTime,
    /// Of all its requests.
    pub heat_map: HeatMap,
    /// Busiest first; at most [`MAX_ENDPOINTS`].
    pub endpoints: Vec<EndpointRow>,
    /// Endpoints that are not listed.
    pub more_endpoints: u64,
}

/// Everything of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// What is shown.
    pub range: Range,
    /// Its name.
    pub service: String,
    /// Its namespace (several, if services of one name are in several); empty: none known.
    pub namespace: String,
    /// What it answered.
    pub served: Option<SideReport>,
    /// What it asked of others.
    pub called: Option<SideReport>,
    /// Both sides; most frequent first, at most [`MAX_CODES`].
    pub codes: Vec<CodeRow>,
}

/// Most endpoints of one side in a report.
pub const MAX_ENDPOINTS: usize = 500;
/// Most codes in a report.
pub const MAX_CODES: usize = 100;

/// What a node of the topology is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A service that is watched.
    Service,
    /// A database that is not.
    Database,
    /// A message broker that is not.
    Messaging,
    /// Someone else who answers.
    External,
    /// Callers that nothing is known of.
    User,
}

/// A node of the topology.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, unique in the topology.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it answered, as its callers saw it where they are watched.
    pub red: Option<Red>,
}

/// Requests from one node to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopologyEdge {
    /// Who asked.
    pub client: String,
    /// Who answered.
    pub server: String,
    /// As in Grafana's service graph: empty, `database`, `messaging_system` or `virtual_node`.
    pub connection_type: String,
    /// As the client saw it, or the server where only that is watched.
    pub red: Red,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    /// What is shown.
    pub range: Range,
    /// By name.
    pub nodes: Vec<Node>,
    /// By client, then by server.
    pub edges: Vec<TopologyEdge>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The range is further back than what is kept, or the wrong way round.
    #[error("the range {from} to {to} cannot be shown: {why}")]
    Range {
        /// As asked.
        from: i64,
        /// As asked.
        to: i64,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The engine that has the numbers did not give them.
    #[error("no answer from {engine}: {why}")]
    Engine {
        /// Its address, without credentials.
        engine: String,
        /// What it or the network said.
        why: String,
    },
    /// The engine's answers did not all come in time.
    #[error(
        "{engine} did not answer all queries of this report within {seconds} s; ask for a shorter range, narrow what is shown with \
         ui.query_labels, or see what keeps the engine busy"
    )]
    Late {
        /// Its address, without credentials.
        engine: String,
        /// How long it had, seconds.
        seconds: u64,
    },
}

/// A report that is being made.
pub type Making<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReportError>> + Send + 'a>>;

/// Whoever can tell.
pub trait Reports: Send + Sync + 'static {
    /// The stretch of time that a wish for the last `seconds` before `until` (now, if none) means, in steps that suit it.
    ///
    /// # Errors
    /// Nothing can be shown of it.
    fn range(&self, seconds: u32, until: Option<i64>) -> Result<Range, ReportError>;
    /// All services.
    fn services(&self, range: Range) -> Making<'_, Services>;
    /// One service; `None`: nothing of that name was seen in the range.
    fn service(&self, name: &str, range: Range) -> Making<'_, Option<ServiceReport>>;
    /// Who calls whom.
    fn topology(&self, range: Range) -> Making<'_, Topology>;
    /// Where the numbers are kept: `history` or `engine`.
    fn source(&self) -> &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_as_many_steps_as_fit() {
        assert_eq!(Range { from: 100, to: 160, step: 5 }.steps(), 12);
        assert_eq!(Range { from: 160, to: 100, step: 5 }.steps(), 0);
        assert_eq!(Range { from: 0, to: 1, step: 0 }.steps(), 1);
    }
}
