//! One service of a range: endpoints, codes, and how long its requests took.

use super::block::Gain;
use super::durations::{Durations, Rows, float};
use super::series::{Named, total};
use super::view::{Kindred, Side, Tally, View, rounded};
use crate::reports::{CodeRow, EndpointRow, HeatMap, MAX_CODES, MAX_ENDPOINTS, RedOverTime, ServiceReport, SideReport};
use redtap_stages::metric::Source;
use std::collections::{BTreeSet, HashMap};

/// What is being added up.
struct Sums<'a> {
    /// By number of the series.
    places: Vec<Option<Place>>,
    namespaces: BTreeSet<&'a str>,
    served: Half,
    called: Half,
    endpoints: Table<EndpointKey<'a>, Tally>,
    codes: Table<CodeKey<'a>, Code>,
}

/// Where a series is counted.
#[derive(Clone, Copy)]
struct Place {
    kindred: Kindred,
    endpoint: usize,
    code: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct EndpointKey<'a> {
    side: Side,
    kind: &'static str,
    system: &'a str,
    method: &'a str,
    endpoint: &'a str,
    peer: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CodeKey<'a> {
    side: Side,
    kind: &'static str,
    code: &'a str,
    error: &'a str,
}

#[derive(Default)]
struct Code {
    all: u64,
    step: u64,
    over_time: Vec<Option<f64>>,
}

#[derive(Default)]
struct Half {
    all: Tally,
    step: Tally,
    over_time: RedOverTime,
    /// `None` where nothing was recorded.
    steps: Vec<Option<Durations>>,
}

/// Sums by key, in the order in which the keys came.
struct Table<K, V> {
    by_key: HashMap<K, usize>,
    rows: Vec<(K, V)>,
}

impl<K: Copy + Eq + std::hash::Hash, V: Default> Table<K, V> {
    fn new() -> Self {
        Self { by_key: HashMap::new(), rows: Vec::new() }
    }

    fn at(&mut self, key: K) -> usize {
        *self.by_key.entry(key).or_insert_with(|| {
            self.rows.push((key, V::default()));
            self.rows.len() - 1
        })
    }

    fn value(&mut self, at: usize) -> Option<&mut V> {
        self.rows.get_mut(at).map(|row| &mut row.1)
    }
}

/// Makes the report; `None`: nothing of that name gained anything.
pub(crate) fn service(view: &View, name: &str) -> Option<ServiceReport> {
    let mut sums = Sums {
        places: Vec::new(),
        namespaces: BTreeSet::new(),
        served: Half::default(),
        called: Half::default(),
        endpoints: Table::new(),
        codes: Table::new(),
    };
    for named in view.names() {
        let place = named.filter(|named| named.service() == name).and_then(|named| sums.place(named));
        sums.places.push(place);
    }
    view.walk(&mut sums, Sums::gained, Sums::end_step);
    let seconds = view.recorded();
    let mut sides = [(Side::Served, sums.served), (Side::Called, sums.called)]
        .map(|(side, half)| half.report(side, &sums.endpoints.rows, seconds));
    let [served, called] = &mut sides;
    let (served, called) = (served.take(), called.take());
    (served.is_some() || called.is_some()).then(|| ServiceReport {
        range: view.range,
        service: name.to_owned(),
        namespace: sums.namespaces.into_iter().collect::<Vec<_>>().join(", "),
        served,
        called,
        codes: codes(sums.codes.rows),
    })
}

impl<'a> Sums<'a> {
    fn place(&mut self, named: &'a Named) -> Option<Place> {
        let kindred = Kindred::of(named)?;
        let Kindred { side, kind, .. } = kindred;
        if !named.namespace().is_empty() {
            self.namespaces.insert(named.namespace());
        }
        let endpoint = if kind == "db" { named.from(Source::Summary) } else { named.from(Source::Endpoint) };
        let endpoint = self.endpoints.at(EndpointKey {
            side,
            kind,
            system: named.from(Source::System),
            method: named.from(Source::Method),
            endpoint,
            peer: if side == Side::Called { named.from(Source::Peer) } else { "" },
        });
        let (code, error) = (named.from(Source::Code), named.from(Source::Fault));
        let code = self.codes.at(CodeKey { side, kind, code, error });
        Some(Place { kindred, endpoint, code })
    }

    fn gained(&mut self, id: u32, gain: &Gain) {
        let place = usize::try_from(id).ok().and_then(|id| self.places.get(id).copied());
        let Some(Some(Place { kindred, endpoint, code })) = place else { return };
        let half = match kindred.side {
            Side::Served => &mut self.served,
            Side::Called => &mut self.called,
        };
        half.step.add(kindred, gain);
        half.all.add(kindred, gain);
        if let Some(tally) = self.endpoints.value(endpoint) {
            tally.add(kindred, gain);
        }
        if let Some(code) = self.codes.value(code) {
            code.step = code.step.saturating_add(total(gain));
        }
    }

    fn end_step(&mut self, recorded: u32) {
        for half in [&mut self.served, &mut self.called] {
            half.steps.push((recorded > 0).then_some(half.step.durations));
            half.step.end_step(recorded, &mut half.over_time);
        }
        for (_, code) in &mut self.codes.rows {
            let requests = std::mem::take(&mut code.step);
            code.all = code.all.saturating_add(requests);
            code.over_time.push((recorded > 0).then(|| rounded(float(requests) / f64::from(recorded))));
        }
    }
}

impl Half {
    fn report(self, side: Side, endpoints: &[(EndpointKey<'_>, Tally)], seconds: f64) -> Option<SideReport> {
        let red = self.all.red(seconds)?;
        let rows = Rows::suiting(&self.all.durations);
        let by_step: Vec<Option<Vec<f64>>> =
            self.steps.iter().map(|step| step.as_ref().map(|step| rows.counts(step))).collect();
        let row = |at: usize| by_step.iter().map(|step| step.as_ref()?.get(at).copied()).collect();
        let requests = (0..=rows.bounds.len()).map(row).collect();
        let mut listed: Vec<EndpointRow> = endpoints
            .iter()
            .filter(|(key, _)| key.side == side)
            .filter_map(|(key, tally)| {
                Some(EndpointRow {
                    kind: key.kind.to_owned(),
                    system: key.system.to_owned(),
                    method: key.method.to_owned(),
                    endpoint: key.endpoint.to_owned(),
                    peer: key.peer.to_owned(),
                    red: tally.red(seconds)?,
                })
            })
            .collect();
        listed.sort_by(|a, b| {
            let name = |row: &EndpointRow| (row.endpoint.clone(), row.method.clone(), row.peer.clone());
            b.red.requests.total_cmp(&a.red.requests).then_with(|| name(a).cmp(&name(b)))
        });
        let more_endpoints = listed.len().saturating_sub(MAX_ENDPOINTS) as u64;
        listed.truncate(MAX_ENDPOINTS);
        let heat_map = HeatMap { bounds_seconds: rows.bounds, requests };
        Some(SideReport { red, over_time: self.over_time, heat_map, endpoints: listed, more_endpoints })
    }
}

fn codes(rows: Vec<(CodeKey<'_>, Code)>) -> Vec<CodeRow> {
    let mut codes: Vec<CodeRow> = rows
        .into_iter()
        .filter(|(_, code)| code.all > 0)
        .map(|(key, code)| CodeRow {
            side: key.side.name().to_owned(),
            kind: key.kind.to_owned(),
            code: key.code.to_owned(),
            error: key.error.to_owned(),
            requests: float(code.all),
            requests_per_second: code.over_time,
        })
        .collect();
    codes.sort_by(|a, b| b.requests.total_cmp(&a.requests).then_with(|| (&a.side, &a.code).cmp(&(&b.side, &b.code))));
    codes.truncate(MAX_CODES);
    codes
}
