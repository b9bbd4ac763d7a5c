//! All services of a range: rate, errors and duration of each, worst first.

use super::block::Gain;
use super::series::Named;
use super::view::{Kindred, Side, Tally, View};
use crate::reports::{RedOverTime, ServiceRow, Services};
use redtap_stages::metric::{Metric, Source};
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

/// What is being added up.
#[derive(Default)]
struct Sums {
    /// By number of the series: which service, and what.
    places: Vec<Option<(usize, Kindred)>>,
    services: Vec<One>,
    /// Series that gained something.
    gained: Vec<bool>,
}

#[derive(Default)]
struct One {
    served: Half,
    called: Half,
}

#[derive(Default)]
struct Half {
    all: Tally,
    step: Tally,
    over_time: RedOverTime,
}

/// Makes the report.
pub(crate) fn services(view: &View) -> Services {
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    let mut sums = Sums::default();
    for named in view.names() {
        let place = named.and_then(|named| Some((named, Kindred::of(named)?))).map(|(named, kindred)| {
            let next = by_name.len();
            (*by_name.entry(named.service()).or_insert(next), kindred)
        });
        sums.places.push(place);
    }
    sums.services.resize_with(by_name.len(), One::default);
    sums.gained.resize(sums.places.len(), false);
    view.walk(&mut sums, Sums::gained, Sums::end_step);
    let (mut names, mut protocols) = (vec![BTreeSet::new(); by_name.len()], vec![BTreeSet::new(); by_name.len()]);
    for ((named, place), gained) in view.names().zip(&sums.places).zip(&sums.gained) {
        let (Some(named), Some((at, _)), true) = (named, place, gained) else { continue };
        if let (Some(names), Some(protocols)) = (names.get_mut(*at), protocols.get_mut(*at)) {
            protocols.insert(protocol(named));
            if !named.namespace().is_empty() {
                names.insert(named.namespace());
            }
        }
    }
    let mut order: Vec<(&str, usize)> = by_name.into_iter().collect();
    order.sort_unstable_by_key(|&(_, at)| at);
    let seconds = view.recorded();
    let details = sums.services.into_iter().zip(names).zip(protocols);
    let mut rows: Vec<ServiceRow> = order
        .into_iter()
        .zip(details)
        .filter_map(|((name, _), ((one, namespaces), protocols))| {
            let (served, called) = (one.served.all.red(seconds), one.called.all.red(seconds));
            let half = if served.is_some() { one.served } else { one.called };
            (served.is_some() || called.is_some()).then(|| ServiceRow {
                service: name.to_owned(),
                namespace: namespaces.into_iter().collect::<Vec<_>>().join(", "),
                protocols: protocols.into_iter().map(str::to_owned).collect(),
                served,
                called,
                over_time: half.over_time,
            })
        })
        .collect();
    rows.sort_by(worse);
    Services { range: view.range, services: rows }
}

impl Sums {
    fn gained(&mut self, id: u32, gain: &Gain) {
        let Ok(id) = usize::try_from(id) else { return };
        let Some(Some((at, kindred))) = self.places.get(id) else { return };
        if let (Some(gained), Some(one)) = (self.gained.get_mut(id), self.services.get_mut(*at)) {
            *gained = true;
            let half = one.half(kindred.side);
            half.step.add(*kindred, gain);
            half.all.add(*kindred, gain);
        }
    }

    fn end_step(&mut self, recorded: u32) {
        for one in &mut self.services {
            for half in [&mut one.served, &mut one.called] {
                half.step.end_step(recorded, &mut half.over_time);
            }
        }
    }
}

impl One {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Served => &mut self.served,
            Side::Called => &mut self.called,
        }
    }
}

/// The name of the protocol of a series.
pub(crate) fn protocol(named: &Named) -> &str {
    match named.metric {
        Metric::HttpServerRequestDuration | Metric::HttpClientRequestDuration => {
            if named.from(Source::Version) == "2" {
                "http2"
            } else {
                "http"
            }
        }
        Metric::DnsServerLookupDuration | Metric::DnsLookupDuration => "dns",
        _ => named.from(Source::System),
    }
}

/// Worst first.
fn worse(a: &ServiceRow, b: &ServiceRow) -> Ordering {
    let red = |row: &ServiceRow| row.served.or(row.called).unwrap_or_default();
    let (x, y) = (red(a), red(b));
    let of = |value: Option<f64>| value.unwrap_or(0.0);
    (b.served.is_some().cmp(&a.served.is_some()))
        .then(of(y.error_ratio).total_cmp(&of(x.error_ratio)))
        .then(of(y.p99_seconds).total_cmp(&of(x.p99_seconds)))
        .then(y.requests_per_second.total_cmp(&x.requests_per_second))
        .then_with(|| a.service.cmp(&b.service))
}
