//! Single data points: series of the traffic, and ([`own`]) the agent's own metrics.

use crate::export::otlp::wire::{HistogramDataPoint, KeyValue, Number, NumberDataPoint, text, whole};
use crate::registry::Value;
use redtap_stages::flow::delta::Series;

/// Attributes that are numbers by the conventions. A value that is none (a status that could not be read) stays a text.
const WHOLE: &[&str] = &["http.response.status_code", "server.port"];

/// What stretch of time a point is about, nanoseconds since the epoch. A gauge has no beginning: 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// The attributes of a series. Those of the agent's resource also say of which service they are.
fn attributes(series: &Series, of_agent: bool) -> Vec<KeyValue> {
    let service = of_agent.then(|| text("service.name", series.service.as_str()));
    let labels = series.labels.iter().map(|(name, value)| {
        let number = if WHOLE.contains(name) { value.as_str().parse().ok() } else { None };
        number.map_or_else(|| text(name, value.as_str()), |number| whole(name, number))
    });
    service.into_iter().chain(labels).collect()
}

/// A counter.
pub(super) fn number(series: &Series, count: u64, span: Span, of_agent: bool) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(series, of_agent),
        start_time_unix_nano: span.begin,
        time_unix_nano: span.end,
        value: Some(Number::AsInt(i64::try_from(count).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    }
}

/// A histogram: what it counted, less what it had counted before. `None` if `value` is none.
pub(super) fn histogram(
    series: &Series,
    bounds: &[f64],
    value: &Value,
    before: Option<&Value>,
    span: Span,
    of_agent: bool,
) -> Option<HistogramDataPoint> {
    let Value::Histogram { buckets, sum, count } = value else { return None };
    let (mut buckets, mut sum, mut count) = (*buckets, *sum, *count);
    if let Some(Value::Histogram { buckets: earlier, sum: earlier_sum, count: earlier_count }) = before {
        buckets.iter_mut().zip(earlier).for_each(|(now, then)| *now = now.saturating_sub(*then));
        sum = sum.saturating_sub(*earlier_sum);
        count = count.saturating_sub(*earlier_count);
    }
    Some(HistogramDataPoint {
        attributes: attributes(series, of_agent),
        start_time_unix_nano: span.begin,
        time_unix_nano: span.end,
        count,
        sum: Some(seconds(sum)),
        bucket_counts: buckets.iter().take(bounds.len() + 1).copied().collect(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    })
}

/// Nanoseconds as seconds, to the precision of a double.
#[expect(clippy::cast_precision_loss, reason = "OTLP has doubles")]
fn seconds(nanos: u128) -> f64 {
    nanos as f64 / 1e9
}

/// The agent's own metrics.
pub(super) mod own {
    use super::super::Family;
    use super::{Number, NumberDataPoint, Span, text};
    use crate::export::OwnSample;

    /// Name and unit. A counter goes without the `_total` that it has on `/metrics`: who translates the name back adds it.
    pub(in super::super) fn family(sample: &OwnSample) -> Family {
        let name = sample.name.strip_suffix("_total").unwrap_or(&sample.name);
        let unit = match name.rsplit('_').next() {
            Some("bytes") => "By",
            Some("seconds") => "s",
            Some("ratio") => "1",
            _ => "",
        };
        Family { name: name.to_owned(), unit, help: "" }
    }

    /// Tells one counter from another.
    pub(in super::super) fn key(sample: &OwnSample) -> String {
        let mut key = sample.name.to_string();
        for (name, value) in &sample.labels {
            key.extend(["\n", name, "=", value]);
        }
        key
    }

    /// A point.
    pub(in super::super) fn point(sample: &OwnSample, value: f64, span: Span) -> NumberDataPoint {
        NumberDataPoint {
            attributes: sample.labels.iter().map(|(name, value)| text(name, value)).collect(),
            start_time_unix_nano: span.begin,
            time_unix_nano: span.end,
            value: Some(Number::AsDouble(value)),
            ..NumberDataPoint::default()
        }
    }
}
