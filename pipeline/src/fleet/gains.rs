//! Answers as gains of series, in the form of the history, so that one code makes the reports of both.
//!
//! A series here is a metric with the labels that were asked for: what many agents saw alike is one. Buckets come cumulative and
//! as floats, and become counts. Bounds: those of the answers.

use super::engine::Row;
use crate::history::{BUCKETS, Gain, Named, Recorded, View};
use crate::reports::Range;
use redtap_stages::metric::{Kind, Metric};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What series gained, by step.
#[derive(Debug, Default)]
pub(super) struct Gains {
    series: BTreeMap<Key, BTreeMap<usize, Gain>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    metric: Metric,
    service: String,
    namespace: String,
    labels: Vec<(&'static str, String)>,
}

/// Steps of a range by the times at which they end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    range: Range,
}

impl Steps {
    pub(super) fn of(range: Range) -> Self {
        Self { range }
    }

    /// The number of the step that ends at `at`, or that it is in.
    pub(super) fn number(self, at: f64) -> Option<usize> {
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then no step")]
        let at = at.ceil() as i64;
        let past = u64::try_from(at.checked_sub(self.range.from)?).ok()?;
        let number = usize::try_from(past.div_ceil(u64::from(self.range.step.max(1)))).ok()?.checked_sub(1)?;
        (number < self.range.steps()).then_some(number)
    }
}

impl Gains {
    /// Adds what `rows` say of a metric: of its buckets (with `le`) or of its count. `service` is whose they are, where they do not
    /// say it; `labels` are the names of the table that were asked for.
    pub(super) fn add(
        &mut self,
        (metric, labels): (Metric, &[&'static str]),
        service: Option<&str>,
        rows: &[Row],
        number: impl Fn(f64) -> Option<usize>,
    ) {
        let mut cumulative: BTreeMap<Key, BTreeMap<usize, [f64; BUCKETS]>> = BTreeMap::new();
        for row in rows {
            let Some(bucket) = bucket(metric, row.metric.get("le").map(String::as_str)) else { continue };
            let labels = labels.iter().filter_map(|&name| {
                let value = row.label(&super::promql::spelled(name));
                (!value.is_empty()).then(|| (name, value.to_owned()))
            });
            let key = Key {
                metric,
                service: service.unwrap_or_else(|| row.label("service_name")).to_owned(),
                namespace: row.label("service_namespace").to_owned(),
                labels: labels.collect(),
            };
            let steps = cumulative.entry(key).or_default();
            for (at, value) in row.points() {
                let Some(step) = number(at) else { continue };
                if let Some(place) = steps.entry(step).or_insert([0.0; BUCKETS]).get_mut(bucket) {
                    *place += value;
                }
            }
        }
        for (key, steps) in cumulative {
            let gains = self.series.entry(key).or_default();
            for (step, cumulative) in steps {
                let gain = gains.entry(step).or_insert([0; BUCKETS]);
                crate::history::add(gain, &apart(metric, &cumulative));
            }
        }
    }

    /// What each series gained in its first step, with its labels: of a whole range, all.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&[(&'static str, String)], &Gain)> {
        self.series.iter().filter_map(|(key, steps)| Some((key.labels.as_slice(), steps.first_key_value()?.1)))
    }

    /// As a look back over `range`, of which `recorded` says what was recorded.
    pub(super) fn view(self, range: Range, recorded: Recorded) -> View {
        let mut steps: BTreeMap<usize, Vec<(u32, Gain)>> = BTreeMap::new();
        let mut names = Vec::with_capacity(self.series.len());
        for ((key, gains), id) in self.series.into_iter().zip(0..) {
            let labels: Vec<(&'static str, &str)> =
                key.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            names.push(Some(Arc::new(Named::new(key.metric, &key.service, &key.namespace, &labels))));
            for (step, gain) in gains {
                steps.entry(step).or_default().push((id, gain));
            }
        }
        View::of(range, recorded, names, steps)
    }
}

/// Which bucket a bound is; of a counter, the only one.
fn bucket(metric: Metric, le: Option<&str>) -> Option<usize> {
    match (metric.entry().kind, le) {
        (Kind::Counter, None) => Some(0),
        (Kind::Histogram(bounds), Some(le)) => {
            let le: f64 = le.parse().ok()?;
            if le.is_infinite() {
                return Some(bounds.len());
            }
            bounds.iter().position(|bound| (bound - le).abs() <= bound * 1e-9)
        }
        _ => None,
    }
}

/// Cumulative buckets as counts of each. Those below the first gain come as nothing, because what is 0 is not answered.
fn apart(metric: Metric, cumulative: &[f64; BUCKETS]) -> Gain {
    let mut gain = [0; BUCKETS];
    let used = match metric.entry().kind {
        Kind::Counter => 1,
        Kind::Histogram(bounds) => bounds.len() + 1,
    };
    let mut below = 0;
    for (place, &value) in gain.iter_mut().zip(cumulative).take(used) {
        let value = whole(value).max(below);
        *place = value - below;
        below = value;
    }
    gain
}

/// A count as it is: engines have floats.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; what is no number is 0")]
pub(super) fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows(value: serde_json::Value) -> Vec<Row> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn steps_are_known_by_their_ends() {
        let steps = Steps::of(Range { from: 100, to: 160, step: 15 });
        assert_eq!([115.0, 130.0, 160.0].map(|at| steps.number(at)), [Some(0), Some(1), Some(3)]);
        assert_eq!([100.0, 99.0, 161.0, f64::NAN].map(|at| steps.number(at)), [None; 4]);
        assert_eq!(steps.number(112.5), Some(0), "an engine that moved the ends");
    }

    #[test]
    fn cumulative_buckets_become_counts() {
        let answered = rows(json!([
            {"metric": {"service_name": "a", "http_route": "/", "le": "0.01"}, "value": [1, "2"]},
            {"metric": {"service_name": "a", "http_route": "/", "le": "0.025"}, "value": [1, "2"]},
            {"metric": {"service_name": "a", "http_route": "/", "le": "+Inf"}, "value": [1, "5.0000001"]},
            {"metric": {"service_name": "a", "http_route": "/", "le": "0.3"}, "value": [1, "9"]},
            {"metric": {"service_name": "a", "http_route": "/"}, "value": [1, "9"]},
        ]));
        let mut gains = Gains::default();
        gains.add((Metric::HttpServerRequestDuration, &["http.route"]), None, &answered, |_| Some(0));
        let (key, steps) = gains.series.first_key_value().unwrap();
        assert_eq!((key.service.as_str(), key.labels.as_slice()), ("a", &[("http.route", "/".to_owned())][..]));
        let mut wanted: Gain = [0; BUCKETS];
        (wanted[1], wanted[14]) = (2, 3);
        assert_eq!(steps[&0], wanted, "bounds that are none of ours, and what has none, are left out");
    }

    #[test]
    fn counters_have_one_bucket() {
        let answered = rows(json!([{"metric": {"client": "a", "server": "b"}, "value": [1, "7"]}]));
        let mut gains = Gains::default();
        gains.add((Metric::ServiceGraphRequests, &["client", "server"]), None, &answered, |_| Some(0));
        assert_eq!(gains.series.first_key_value().unwrap().1[&0][0], 7);
    }
}
