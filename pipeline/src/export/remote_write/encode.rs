//! From a batch as it is kept to the body of a request, in the version that the receiver understands.
//!
//! A batch is kept as a 2.0 request in which each histogram is one native histogram with our bounds, compressed; so it can
//! still be sent as 1.0, or with classic series, when it comes back from disk. Nothing is lost by that: custom buckets
//! hold the very bounds and counts of the classic series.

use super::wire::{MetricKind, STALE, Symbols, v1, v2};
use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeMap;

/// Most bytes of a batch once it is decompressed; what claims to be larger is not read.
pub(super) const MAX_PLAIN: usize = 64 << 20;

/// The versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A batch that cannot be read: not what [`pack`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch that cannot be read")]
pub(super) struct Unreadable;

/// How a batch is kept.
pub(super) fn pack(request: &v2::Request) -> Bytes {
    compress(&request.encode_to_vec())
}

/// Snappy's block format, as the protocol asks for. An input that it cannot take (4 GiB) does not come to be here.
fn compress(plain: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(plain).unwrap_or_default().into()
}

/// What was packed.
pub(super) fn unpack(packed: &[u8]) -> Result<v2::Request, Unreadable> {
    let length = snap::raw::decompress_len(packed).map_err(|_| Unreadable)?;
    if length > MAX_PLAIN {
        return Err(Unreadable);
    }
    let plain = snap::raw::Decoder::new().decompress_vec(packed).map_err(|_| Unreadable)?;
    v2::Request::decode(plain.as_slice()).map_err(|_| Unreadable)
}

/// The newest time of a batch's samples, milliseconds since the epoch; none if it cannot be read.
pub(super) fn newest_ms(packed: &[u8]) -> Option<i64> {
    let kept = unpack(packed).ok()?;
    let times = |series: &v2::TimeSeries| {
        let samples = series.samples.iter().map(|sample| sample.timestamp);
        samples.chain(series.histograms.iter().map(|histogram| histogram.timestamp)).max()
    };
    kept.timeseries.iter().filter_map(times).max()
}

/// The body of a request. `native`: histograms stay what they are, where the version has them.
pub(super) fn body(packed: &[u8], version: Version, native: bool) -> Result<Bytes, Unreadable> {
    let kept = unpack(packed)?;
    let plain = match version {
        Version::V2 if native => return Ok(Bytes::copy_from_slice(packed)),
        Version::V2 => classic(&kept)?.encode_to_vec(),
        Version::V1 => older(&kept)?.encode_to_vec(),
    };
    Ok(compress(&plain))
}

/// A series as plain samples: labels ordered by name, value, exemplars.
type Line = (Vec<(String, String)>, f64, Vec<v1::Exemplar>);

fn labels(kept: &v2::Request, refs: &[u32]) -> Result<Vec<(String, String)>, Unreadable> {
    let symbol = |at: u32| kept.symbols.get(at as usize).cloned().ok_or(Unreadable);
    let pairs = refs.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(Unreadable);
    }
    pairs
        .map(|pair| match pair {
            [name, value] => Ok((symbol(*name)?, symbol(*value)?)),
            _ => Err(Unreadable),
        })
        .collect()
}

/// The exemplars of a series, with their labels as texts.
fn exemplars(kept: &v2::Request, series: &v2::TimeSeries) -> Result<Vec<v1::Exemplar>, Unreadable> {
    let one = |one: &v2::Exemplar| {
        let labels = labels(kept, &one.labels_refs)?;
        let labels = labels.into_iter().map(|(name, value)| v1::Label { name, value }).collect();
        Ok(v1::Exemplar { labels, value: one.value, timestamp: one.timestamp })
    };
    series.exemplars.iter().map(one).collect()
}

/// The classic series of a histogram: a bucket for each bound and for +Inf, sum and count.
fn lines(labels: &[(String, String)], histogram: &v2::Histogram, mut exemplars: Vec<v1::Exemplar>) -> Vec<Line> {
    let named = |suffix: &str, le: Option<String>| {
        let mut all: Vec<(String, String)> = labels.to_vec();
        for (name, value) in &mut all {
            if name == "__name__" {
                value.push_str(suffix);
            }
        }
        all.extend(le.map(|le| ("le".to_owned(), le)));
        all.sort();
        all
    };
    let stale = is_stale(histogram.sum);
    let value = |count: f64| if stale { STALE } else { count };
    let (mut count, mut total) = (0_i64, 0_i64);
    let mut deltas = histogram.deltas.iter();
    let bounds =
        histogram.bounds.iter().map(|bound| (format!("{bound:?}"), *bound)).chain([("+Inf".to_owned(), f64::INFINITY)]);
    let mut all: Vec<Line> = bounds
        .map(|(le, bound)| {
            // What is in a bucket before is gone already.
            let (inside, above) = std::mem::take(&mut exemplars).into_iter().partition(|one| one.value <= bound);
            exemplars = above;
            count = count.saturating_add(deltas.next().copied().unwrap_or(0));
            total = total.saturating_add(count);
            (named("_bucket", Some(le)), value(float(total.unsigned_abs())), inside)
        })
        .collect();
    all.push((named("_sum", None), histogram.sum, Vec::new()));
    all.push((named("_count", None), value(float(histogram.count.unwrap_or(0))), Vec::new()));
    all
}

pub(super) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE.to_bits()
}

#[expect(clippy::cast_precision_loss, reason = "samples are floats")]
fn float(value: u64) -> f64 {
    value as f64
}

/// The same request with classic series.
fn classic(kept: &v2::Request) -> Result<v2::Request, Unreadable> {
    let mut symbols = Symbols::default();
    let mut timeseries = Vec::new();
    for series in &kept.timeseries {
        let labels = labels(kept, &series.labels_refs)?;
        let text = |at: u32| kept.symbols.get(at as usize).map_or("", String::as_str);
        let metadata = series.metadata.map(|metadata| v2::Metadata {
            kind: metadata.kind,
            help_ref: symbols.number(text(metadata.help_ref)),
            unit_ref: symbols.number(text(metadata.unit_ref)),
        });
        let mut add = |labels: &[(String, String)], sample, exemplars: Vec<v1::Exemplar>| {
            let exemplars = exemplars.iter().map(|one| numbered(one, &mut symbols)).collect();
            let labels_refs = labels.iter().flat_map(|(name, value)| [symbols.number(name), symbols.number(value)]);
            let labels_refs = labels_refs.collect();
            let (samples, histograms) = (vec![sample], Vec::new());
            timeseries.push(v2::TimeSeries { labels_refs, samples, histograms, exemplars, metadata });
        };
        series.samples.iter().for_each(|sample| add(&labels, *sample, Vec::new()));
        for histogram in &series.histograms {
            for (labels, value, exemplars) in lines(&labels, histogram, exemplars(kept, series)?) {
                let (timestamp, start_timestamp) = (histogram.timestamp, histogram.start_timestamp);
                add(&labels, v2::Sample { value, timestamp, start_timestamp }, exemplars);
            }
        }
    }
    Ok(v2::Request { symbols: symbols.into_list(), timeseries })
}

fn numbered(one: &v1::Exemplar, symbols: &mut Symbols) -> v2::Exemplar {
    let numbers = one.labels.iter().flat_map(|label| [symbols.number(&label.name), symbols.number(&label.value)]);
    v2::Exemplar { labels_refs: numbers.collect(), value: one.value, timestamp: one.timestamp }
}

/// The same as 1.0, metadata once a family.
fn older(kept: &v2::Request) -> Result<v1::WriteRequest, Unreadable> {
    let mut families = BTreeMap::new();
    let mut timeseries = Vec::new();
    let mut add = |labels: Vec<(String, String)>, value, timestamp, exemplars| {
        let labels = labels.into_iter().map(|(name, value)| v1::Label { name, value }).collect();
        timeseries.push(v1::TimeSeries { labels, samples: vec![v1::Sample { value, timestamp }], exemplars });
    };
    for series in &kept.timeseries {
        let labels = labels(kept, &series.labels_refs)?;
        if let (Some(metadata), Some((_, family))) =
            (series.metadata, labels.iter().find(|(name, _)| name == "__name__"))
        {
            families.entry(family.clone()).or_insert(metadata);
        }
        for histogram in &series.histograms {
            for (labels, value, exemplars) in lines(&labels, histogram, exemplars(kept, series)?) {
                add(labels, value, histogram.timestamp, exemplars);
            }
        }
        for sample in &series.samples {
            add(labels.clone(), sample.value, sample.timestamp, Vec::new());
        }
    }
    let text = |at: u32| kept.symbols.get(at as usize).cloned().unwrap_or_default();
    let metadata = families
        .into_iter()
        .map(|(family, metadata)| v1::Metadata {
            kind: MetricKind::try_from(metadata.kind).unwrap_or(MetricKind::Unknown).into(),
            family,
            help: text(metadata.help_ref),
            unit: text(metadata.unit_ref),
        })
        .collect();
    Ok(v1::WriteRequest { timeseries, metadata })
}
