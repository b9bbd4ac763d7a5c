//! Who called whom in a range, from the series of the service graph.
//!
//! What those leave out (DNS, calls of a service to itself) is not here either. A request between two watched services is
//! counted once, at its client; how long it took is as the client saw it, where it was watched.

use super::block::Gain;
use super::durations::Durations;
use super::series::{add_at, total};
use super::view::{View, kind, red};
use crate::reports::{Node, NodeKind, Range, Topology, TopologyEdge};
use redtap_stages::metric::Metric;
use std::collections::{BTreeMap, BTreeSet};

/// The name of callers that nothing is known of.
const USER: &str = "user";

/// What is known of an edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) at_client: Durations,
    pub(crate) at_server: Durations,
}

/// Edges by client, server and type of connection.
pub(crate) type Edges<'a> = BTreeMap<(&'a str, &'a str, &'a str), Sums>;

impl Sums {
    fn add(&mut self, metric: Metric, gain: &Gain) {
        match metric {
            Metric::ServiceGraphRequests => self.requests = self.requests.saturating_add(total(gain)),
            Metric::ServiceGraphFailed => self.failed = self.failed.saturating_add(total(gain)),
            Metric::ServiceGraphClient => self.at_client.add(super::durations::Bounds::Request, gain),
            Metric::ServiceGraphServer => self.at_server.add(super::durations::Bounds::Request, gain),
            _ => {}
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        let seen = other.durations();
        self.at_client.merge(seen);
    }

    fn durations(&self) -> &Durations {
        if self.at_client.count() > 0 { &self.at_client } else { &self.at_server }
    }
}

/// Makes the report.
pub(crate) fn topology(view: &View) -> Topology {
    let mut totals: Vec<Gain> = Vec::new();
    view.walk(&mut totals, add_at, |_, _| {});
    let mut watched: BTreeSet<&str> = BTreeSet::new();
    let mut edges = Edges::new();
    for (named, gain) in view.names().zip(&totals) {
        let Some(named) = named.filter(|_| gain.iter().any(|&n| n > 0)) else { continue };
        if kind(named.metric).is_some() {
            watched.insert(named.service());
            continue;
        }
        let key = (named.label("client"), named.label("server"), named.label("connection_type"));
        edges.entry(key).or_default().add(named.metric, gain);
    }
    assemble(view.range, view.recorded(), &watched, edges)
}

/// The report of these services and edges, over so many recorded seconds.
pub(crate) fn assemble(range: Range, seconds: f64, watched: &BTreeSet<&str>, mut edges: Edges<'_>) -> Topology {
    // Durations may arrive at a server a moment after its client has counted the request: no edge yet.
    edges.retain(|_, sums| sums.requests > 0);
    let nodes = nodes(watched, &edges, seconds);
    let edges = edges
        .into_iter()
        .map(|((client, server, connection_type), sums)| TopologyEdge {
            client: client.to_owned(),
            server: server.to_owned(),
            connection_type: connection_type.to_owned(),
            red: red(sums.requests, sums.failed, sums.durations(), seconds),
        })
        .collect();
    Topology { range, nodes, edges }
}

fn nodes(watched: &BTreeSet<&str>, edges: &Edges<'_>, seconds: f64) -> Vec<Node> {
    let mut nodes: BTreeMap<&str, (NodeKind, Sums)> =
        watched.iter().map(|name| (*name, (NodeKind::Service, Sums::default()))).collect();
    for (&(client, server, connection_type), sums) in edges {
        let caller = if client == USER { NodeKind::User } else { NodeKind::External };
        nodes.entry(client).or_insert_with(|| (caller, Sums::default()));
        let kind = match connection_type {
            "database" => NodeKind::Database,
            "messaging_system" => NodeKind::Messaging,
            _ => NodeKind::External,
        };
        let node = nodes.entry(server).or_insert_with(|| (kind, Sums::default()));
        if node.0 == NodeKind::External {
            node.0 = kind;
        }
        node.1.merge(sums);
    }
    nodes
        .into_iter()
        .map(|(name, (kind, sums))| Node {
            name: name.to_owned(),
            kind,
            red: (sums.requests > 0).then(|| red(sums.requests, sums.failed, sums.durations(), seconds)),
        })
        .collect()
}
