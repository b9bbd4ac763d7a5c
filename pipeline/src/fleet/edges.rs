//! Edges that several agents saw, each request counted once.
//!
//! An agent counts a request at its client where it watches that; else at the server. Where two agents watch the two ends, both
//! count it: the first under the service that called and the name or address that it called, the second under whatever name it
//! has for a caller that it does not watch, which mostly is none (`user`). So here
//!
//! 1. what was called is resolved to a watched service ([`Fleet::resolve`]);
//! 2. of what clients counted, the part whose server is watched by another agent is what they counted less what their own
//!    agent saw at the server's end too;
//! 3. so much is taken from what that server's agents counted of callers that they do not watch: first of those that bear
//!    the client's name, then of those that bear a name of its host, then of `user`. What is left are other callers.
//!
//! `index` finds who may be meant without going through all: the work grows with the edges, not with their square.
//!
//! Where a name cannot be resolved nothing is taken: the edge is then shown from both ends. A remainder that the different moments
//! of samples explain ([`Answers::ends`]) is not shown. Bounds: those of the answers.

mod index;

use super::engine::Row;
use super::gains::whole;
use crate::history::{Bounds, Durations, Edges, Gain, Sums};
use index::Index;
use std::collections::{BTreeMap, BTreeSet};

/// The name of callers that nothing is known of.
const USER: &str = "user";

/// The share of what was called that must have been answered there, if a name is to mean a service: samples are not of the
/// same moment.
const ENOUGH: f64 = 0.9;

/// An agent: job and instance of its series.
type Agent = (String, String);

/// What identifies an edge of one agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    agent: Agent,
    service: String,
    edge: Edge,
}

/// Client, server, type of connection.
type Edge = (String, String, String);

/// Requests, and those that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    requests: f64,
    failed: f64,
}

/// What the engine answered.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    pub(super) targets: &'a [Row],
    pub(super) requests: &'a [Row],
    pub(super) failed: &'a [Row],
    /// How often an agent saw requests at their server.
    pub(super) at_server: &'a [Row],
    /// As `requests`, of about an interval at the end of the range and of one at its beginning.
    pub(super) ends: [&'a [Row]; 2],
}

/// What is known of all agents.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    watched: BTreeMap<String, BTreeSet<String>>,
    hosts: BTreeMap<Agent, BTreeSet<String>>,
    /// Counted at a watched client.
    called: BTreeMap<Place, Count>,
    /// Counted at the server, of callers that its agent does not watch.
    answered: BTreeMap<Place, Count>,
    /// Seen at the server, whoever called.
    seen: BTreeMap<Place, f64>,
    /// Requests so close to an end of the range that another agent's sample may be of before or after them.
    unsure: BTreeMap<Place, f64>,
}

impl Fleet {
    pub(super) fn new(answers: &Answers<'_>) -> Self {
        let mut fleet = Self::default();
        for row in answers.targets {
            let agent = agent(row);
            let hosts = fleet.hosts.entry(agent).or_default();
            hosts.extend(names_of_host(row.label("host_name")));
            let namespaces = fleet.watched.entry(row.label("service_name").to_owned()).or_default();
            namespaces.extend(Some(row.label("service_namespace").to_owned()).filter(|name| !name.is_empty()));
        }
        for row in answers.requests.iter().chain(answers.at_server) {
            let agent = agent(row);
            // How the engine reaches the agent is how others may reach what runs beside it.
            let address = host_of(&agent.1).to_owned();
            fleet.hosts.entry(agent).or_default().extend(names_of_host(&address));
            fleet.watched.entry(row.label("service_name").to_owned()).or_default();
        }
        for row in answers.requests {
            fleet.count(row, |count, value| count.requests += value);
        }
        for row in answers.failed {
            fleet.count(row, |count, value| count.failed += value);
        }
        for row in answers.at_server {
            *fleet.seen.entry(place(row)).or_default() += value(row);
        }
        for row in answers.ends.into_iter().flatten() {
            *fleet.unsure.entry(place(row)).or_default() += value(row);
        }
        fleet
    }

    fn count(&mut self, row: &Row, add: impl Fn(&mut Count, f64)) {
        let place = place(row);
        let at_server = place.service == place.edge.1 && place.service != place.edge.0;
        let table = if at_server { &mut self.answered } else { &mut self.called };
        add(table.entry(place).or_default(), value(row));
    }

    /// All services that are watched.
    pub(super) fn watched(&self) -> BTreeSet<&str> {
        self.watched.keys().map(String::as_str).collect()
    }

    /// The watched service that a name means which an agent has for a server: the service of that name; the one that a name of a
    /// Kubernetes service begins with (`orders.shop.svc`, in its namespace); or the only one that answered strangers, and at
    /// least so often, on the host of that name or address.
    ///
    /// A loopback address means the host of `caller`.
    fn resolve(
        &self,
        index: &mut Index<'_>,
        (server, connection_type): (&str, &str),
        caller: &Agent,
        requests: f64,
    ) -> String {
        if self.watched.contains_key(server) {
            return server.to_owned();
        }
        let mut labels = server.split('.');
        if let (Some(first), Some(second)) = (labels.next(), labels.next())
            && let Some(namespaces) = self.watched.get(first)
            && (namespaces.contains(second) || (namespaces.is_empty() && labels.next() == Some("svc")))
        {
            return first.to_owned();
        }
        if let Some((service, answered)) = index.alone_there(self, server, connection_type, caller)
            && answered >= requests * ENOUGH
        {
            return service.to_owned();
        }
        server.to_owned()
    }

    /// Each request once; durations come with [`Self::durations`].
    pub(super) fn edges(&self, at_client: &Buckets, at_server: &Buckets) -> BTreeMap<Edge, Sums> {
        let mut index = Index::new(self);
        let mut edges: BTreeMap<Edge, Count> = BTreeMap::new();
        let mut resolved: BTreeMap<Edge, Edge> = BTreeMap::new();
        for (place, count) in &self.called {
            let (client, server, connection_type) = &place.edge;
            let service = self.resolve(&mut index, (server, connection_type), &place.agent, count.requests);
            let edge = (client.clone(), service.clone(), connection_type.clone());
            let sum = edges.entry(edge.clone()).or_default();
            sum.requests += count.requests;
            sum.failed += count.failed;
            resolved.insert(place.edge.clone(), edge);
            // Seen at both ends by the same agent, which counted it once.
            let both = Place { service: service.clone(), ..place.clone() };
            let elsewhere = (count.requests - self.seen.get(&both).copied().unwrap_or(0.0)).max(0.0);
            let share = if count.requests > 0.0 { elsewhere / count.requests } else { 0.0 };
            let taken = Count { requests: elsewhere, failed: count.failed * share };
            index.take(self, &service, place, taken);
        }
        let mut sums: BTreeMap<Edge, Sums> = BTreeMap::new();
        for ((place, all), rest) in self.answered.iter().zip(index.left) {
            let taken = all.requests - rest.requests;
            let unsure = self.unsure.get(place).copied().unwrap_or(0.0);
            if rest.requests < 0.5 || (taken > 0.0 && rest.requests <= unsure) {
                continue;
            }
            let sum = edges.entry(place.edge.clone()).or_default();
            sum.requests += rest.requests;
            sum.failed += rest.failed.max(0.0);
        }
        for (edge, durations) in &at_client.edges {
            let edge = resolved.get(edge).unwrap_or(edge);
            sums.entry(edge.clone()).or_default().at_client.merge(durations);
        }
        for (edge, durations) in &at_server.edges {
            sums.entry(edge.clone()).or_default().at_server.merge(durations);
        }
        sums.retain(|edge, _| edges.contains_key(edge));
        for (edge, count) in edges {
            let sum = sums.entry(edge).or_default();
            sum.requests = whole(count.requests);
            sum.failed = whole(count.failed).min(sum.requests);
        }
        sums
    }
}

/// How long requests took, by edge.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    edges: BTreeMap<Edge, Durations>,
}

impl Buckets {
    /// Of gains with their labels.
    pub(super) fn of<'a>(gains: impl Iterator<Item = (&'a [(&'static str, String)], &'a Gain)>) -> Self {
        let mut buckets = Self::default();
        for (labels, gain) in gains {
            let label =
                |name: &str| labels.iter().find(|label| label.0 == name).map_or(String::new(), |label| label.1.clone());
            let edge = (label("client"), label("server"), label("connection_type"));
            buckets.edges.entry(edge).or_default().add(Bounds::Request, gain);
        }
        buckets
    }
}

/// In the form that a topology is made of.
pub(super) fn borrowed(edges: &BTreeMap<Edge, Sums>) -> Edges<'_> {
    edges
        .iter()
        .map(|((client, server, kind), sums)| ((client.as_str(), server.as_str(), kind.as_str()), sums.clone()))
        .collect()
}

fn agent(row: &Row) -> Agent {
    (row.label("job").to_owned(), row.label("instance").to_owned())
}

fn place(row: &Row) -> Place {
    let label = |name| row.label(name).to_owned();
    let edge = (label("client"), label("server"), label("connection_type"));
    Place { agent: agent(row), service: label("service_name"), edge }
}

fn value(row: &Row) -> f64 {
    row.points().map(|point| point.1).filter(|value| value.is_finite()).sum()
}

/// The host of `host:port`.
fn host_of(instance: &str) -> &str {
    let host = match instance.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => instance,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A host's name as others may know it: whole, and without its domain if it is no address. Not of loopback addresses, which
/// every host has; nor of none.
fn names_of_host(name: &str) -> impl Iterator<Item = String> {
    let name = name.to_ascii_lowercase();
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let short = name.split('.').next().filter(|_| !is_address).map(str::to_owned);
    let none = name.is_empty() || is_loopback(&name);
    [Some(name), short].into_iter().flatten().filter(move |_| !none)
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests;
