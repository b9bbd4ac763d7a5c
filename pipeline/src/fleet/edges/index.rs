//! Finds, of what servers' agents counted, what a client's agent may have counted too: by name instead of one by one.
//!
//! Life cycle: [`Index::new`] over one fleet, then a question for each edge of a client, which takes from what is left. What is used up
//! leaves the index, so that nothing is passed over twice. Bounds: one entry each, and a few names of its host, for what was answered.

use super::{Agent, Count, Fleet, Place, USER, is_loopback};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

/// Where something was answered: service, type of connection, and what the caller was called, or the host of the agent if it was called
/// by a loopback address; names as numbers.
type Key = (u32, u32, u32);

/// A service that answers alone, and how often it did.
type Alone<'a> = Option<(&'a str, f64)>;

/// What is left of what was answered, and how to find it.
#[derive(Debug)]
pub(super) struct Index<'a> {
    /// In the order of the fleet's table.
    pub(super) left: Vec<Count>,
    places: Vec<&'a Place>,
    names: HashMap<String, u32>,
    /// By the caller's name as it was counted.
    by_name: HashMap<Key, BTreeSet<usize>>,
    /// By the caller's name in lower case, which is how hosts are known.
    by_host: HashMap<Key, BTreeSet<usize>>,
    /// Of callers at a loopback address, by the names of the host of the agent that counted them.
    by_own_host: HashMap<Key, BTreeSet<usize>>,
    /// Agents by the names of their hosts.
    agents: HashMap<u32, BTreeSet<&'a Agent>>,
    /// What an agent's services answered, over one type of connection.
    answering: HashMap<(&'a Agent, u32), BTreeMap<&'a str, f64>>,
    /// What [`Self::alone_there`] found, by name, type of connection, and agent that calls.
    known: HashMap<(String, String, Agent), Alone<'a>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        let mut index = Self {
            left: fleet.answered.values().copied().collect(),
            places: fleet.answered.keys().collect(),
            names: HashMap::new(),
            by_name: HashMap::new(),
            by_host: HashMap::new(),
            by_own_host: HashMap::new(),
            agents: HashMap::new(),
            answering: HashMap::new(),
            known: HashMap::new(),
        };
        for (agent, hosts) in &fleet.hosts {
            for host in hosts {
                let host = index.number(host);
                index.agents.entry(host).or_default().insert(agent);
            }
        }
        for (at, (place, count)) in fleet.answered.iter().enumerate() {
            let (client, _, kind) = &place.edge;
            let [service, kind, name] = [&place.service, kind, client].map(|name| index.number(name));
            index.by_name.entry((service, kind, name)).or_default().insert(at);
            if is_loopback(client) {
                for host in fleet.hosts.get(&place.agent).into_iter().flatten() {
                    let host = index.number(host);
                    index.by_own_host.entry((service, kind, host)).or_default().insert(at);
                }
            } else {
                let name = index.number(&client.to_ascii_lowercase());
                index.by_host.entry((service, kind, name)).or_default().insert(at);
            }
            *index.answering.entry((&place.agent, kind)).or_default().entry(&place.service).or_default() +=
                count.requests;
        }
        index
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.names.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.insert(name.to_owned(), number);
        number
    }

    /// None: nothing has that name.
    fn known_number(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The only service that answered strangers on the host of that name or address, watched by another agent than `caller`.
    pub(super) fn alone_there(&mut self, fleet: &Fleet, server: &str, kind: &str, caller: &Agent) -> Alone<'a> {
        let key = (server.to_ascii_lowercase(), kind.to_owned(), caller.clone());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let own = fleet.hosts.get(caller).filter(|_| is_loopback(server));
        let named = Some(&key.0).filter(|_| !is_loopback(server));
        let hosts = own.into_iter().flatten().chain(named).filter_map(|host| self.known_number(host));
        let there: BTreeSet<&'a Agent> = hosts.filter_map(|host| self.agents.get(&host)).flatten().copied().collect();
        let mut services: BTreeMap<&'a str, f64> = BTreeMap::new();
        let kind = self.known_number(kind).unwrap_or(u32::MAX);
        for agent in there.into_iter().filter(|agent| *agent != caller) {
            for (service, requests) in self.answering.get(&(agent, kind)).into_iter().flatten() {
                *services.entry(*service).or_default() += requests;
            }
        }
        let alone = services.first_key_value().filter(|_| services.len() == 1);
        let alone = alone.map(|(service, requests)| (*service, *requests));
        self.known.insert(key, alone);
        alone
    }

    /// Takes what `caller` counted from what agents of `service` counted of callers that they do not watch.
    pub(super) fn take(&mut self, fleet: &Fleet, service: &str, caller: &Place, mut taken: Count) {
        let (client, _, kind) = &caller.edge;
        let (Some(service), Some(kind)) = (self.known_number(service), self.known_number(kind)) else { return };
        let key = |index: &Self, name: &str| index.known_number(name).map(|name| (service, kind, name));
        let hosts: Vec<Key> =
            fleet.hosts.get(&caller.agent).into_iter().flatten().filter_map(|host| key(self, host)).collect();
        let groups = |key| [Group::Host(key), Group::OwnHost(key)];
        let named = key(self, client).map(Group::Name);
        let nobody = key(self, USER).map(Group::Name);
        self.take_from(named.as_slice(), caller, &mut taken);
        self.take_from(&hosts.into_iter().flat_map(groups).collect::<Vec<_>>(), caller, &mut taken);
        self.take_from(nobody.as_slice(), caller, &mut taken);
    }

    /// From all groups at once, in the order of the fleet's table.
    fn take_from(&mut self, groups: &[Group], caller: &Place, taken: &mut Count) {
        let mut last = None;
        while taken.requests > 0.0 {
            let from = last.map_or(Unbounded, Excluded);
            let first = |group: &Group| self.group(*group)?.range((from, Unbounded)).next().copied();
            let Some(number) = groups.iter().filter_map(first).min() else { return };
            last = Some(number);
            let (Some(place), Some(rest)) = (self.places.get(number), self.left.get_mut(number)) else { return };
            if place.agent == caller.agent {
                continue;
            }
            let requests = rest.requests.min(taken.requests);
            let failed = taken.failed * requests / taken.requests;
            rest.requests -= requests;
            rest.failed -= failed;
            taken.requests -= requests;
            taken.failed -= failed;
            if rest.requests <= 0.0 {
                self.forget(number, groups);
            }
        }
    }

    fn group(&self, group: Group) -> Option<&BTreeSet<usize>> {
        match group {
            Group::Name(key) => self.by_name.get(&key),
            Group::Host(key) => self.by_host.get(&key),
            Group::OwnHost(key) => self.by_own_host.get(&key),
        }
    }

    /// Used up: not looked at again in these groups, of which it is in one at least.
    fn forget(&mut self, number: usize, groups: &[Group]) {
        for group in groups {
            let found = match group {
                Group::Name(key) => self.by_name.get_mut(key),
                Group::Host(key) => self.by_host.get_mut(key),
                Group::OwnHost(key) => self.by_own_host.get_mut(key),
            };
            if let Some(found) = found {
                found.remove(&number);
            }
        }
    }
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
enum Group {
    Name(Key),
    Host(Key),
    OwnHost(Key),
}
