//! A snapshot as text: Prometheus 0.0.4 and OpenMetrics 1.0.
//!
//! Numbers are written exactly: nanoseconds as decimal seconds, counts as integers. OpenMetrics differs in the name of
//! a counter's family, in units, `_created` samples and bucket bounds, which have a decimal point there.

use super::negotiate::Format;
use super::{Exemplar, Sample, Snapshot, Value};
use redtap_stages::metric::{Entry, Kind, MAX_BUCKETS, TABLE, Unit};
use std::fmt::Write as _;

/// Most bytes reserved before anything is rendered.
const MAX_RESERVED: usize = 64 << 20;

impl Snapshot {
    /// Appends all families. The caller ends an OpenMetrics text with `# EOF`, because more may follow.
    pub fn render(&self, format: Format, out: &mut String) {
        out.reserve(self.expected_bytes());
        for (entry, family) in TABLE.iter().zip(&self.families) {
            if !family.is_empty() {
                self.family(entry, family, format, out);
            }
        }
        let (name, kind) = match format {
            Format::Text => ("target_info", "gauge"),
            Format::OpenMetrics => ("target", "info"),
        };
        if !self.targets.is_empty() {
            let _ = writeln!(out, "# HELP {name} Attributes of the services that are watched.\n# TYPE {name} {kind}");
            for labels in &self.targets {
                let _ = writeln!(out, "target_info{{{labels}}} 1");
            }
        }
    }

    /// About how long the text will be.
    fn expected_bytes(&self) -> usize {
        let bytes = TABLE.iter().zip(&self.families).map(|(entry, family)| {
            let lines = match entry.kind {
                Kind::Counter => 1,
                Kind::Histogram(bounds) => bounds.len() + 4,
            };
            family
                .iter()
                .map(|sample| {
                    lines * (sample.labels.len() + entry.prometheus.len() + 32) + 110 * sample.exemplars.len()
                })
                .sum::<usize>()
        });
        bytes.sum::<usize>().min(MAX_RESERVED)
    }

    fn family(&self, entry: &Entry, family: &[Sample], format: Format, out: &mut String) {
        let (name, kind) = match (entry.kind, format) {
            (Kind::Histogram(_), _) => (entry.prometheus, "histogram"),
            (Kind::Counter, Format::Text) => (entry.prometheus, "counter"),
            (Kind::Counter, Format::OpenMetrics) => (base(entry.prometheus), "counter"),
        };
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", entry.help);
        if format == Format::OpenMetrics && entry.unit == Unit::Seconds {
            let _ = writeln!(out, "# UNIT {name} seconds");
        }
        let bounds = bounds(entry.kind, format);
        for sample in family {
            match &sample.value {
                Value::Count(count) => {
                    let _ = writeln!(out, "{}{{{}}} {count}", entry.prometheus, sample.labels);
                }
                Value::Histogram { buckets, sum, count } => {
                    let exemplars = if format == Format::OpenMetrics { sample.exemplars.as_slice() } else { &[] };
                    let head = (entry.prometheus, &*sample.labels);
                    histogram(head, &bounds, buckets, exemplars, out);
                    let _ = write!(out, "{name}_sum{{{}}} ", sample.labels);
                    seconds(*sum, out);
                    let _ = writeln!(out, "\n{name}_count{{{}}} {count}", sample.labels);
                }
            }
            if format == Format::OpenMetrics {
                let _ = write!(out, "{}_created{{{}}} ", base(entry.prometheus), sample.labels);
                seconds(u128::from(sample.created.0) + u128::from(self.wall_offset), out);
                out.push('\n');
            }
        }
    }
}

/// The name of a counter's family in OpenMetrics.
fn base(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// What follows the labels on each line of a histogram, +Inf last.
fn bounds(kind: Kind, format: Format) -> Vec<String> {
    let Kind::Histogram(bounds) = kind else { return Vec::new() };
    let text = |bound: &f64| match format {
        Format::Text => format!(",le=\"{bound}\"}} "),
        Format::OpenMetrics => format!(",le=\"{bound:?}\"}} "),
    };
    bounds.iter().map(text).chain(std::iter::once(",le=\"+Inf\"} ".to_owned())).collect()
}

fn histogram(
    (name, labels): (&str, &str),
    bounds: &[String],
    buckets: &[u64; MAX_BUCKETS + 1],
    exemplars: &[Exemplar],
    out: &mut String,
) {
    let mut exemplars = exemplars.iter().peekable();
    let start = out.len();
    for part in [name, "_bucket{", labels] {
        out.push_str(part);
    }
    // The beginning is the same on all lines: what stands there already is copied.
    let head = start..out.len();
    let mut total = 0_u64;
    for (at, (bound, count)) in bounds.iter().zip(buckets).enumerate() {
        if at > 0 {
            out.extend_from_within(head.clone());
        }
        total = total.saturating_add(*count);
        out.push_str(bound);
        let _ = write!(out, "{total}");
        if let Some(exemplar) = exemplars.next_if(|one| one.bucket == at) {
            self::exemplar(exemplar, out);
        }
        out.push('\n');
    }
}

/// OpenMetrics 1.0, "Exemplars": its labels have 63 characters of the 128 that they may have.
fn exemplar(one: &Exemplar, out: &mut String) {
    let _ = write!(out, " # {{trace_id=\"{}\",span_id=\"{}\"}} ", one.trace, one.span);
    seconds(u128::from(one.value.0), out);
    out.push(' ');
    seconds(u128::from(one.at_ms) * 1_000_000, out);
}

/// Nanoseconds as seconds, exactly, without trailing zeros.
fn seconds(nanos: u128, out: &mut String) {
    decimal(nanos / 1_000_000_000, out);
    let mut fraction = nanos % 1_000_000_000;
    if fraction == 0 {
        return;
    }
    let mut width = 9;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        width -= 1;
    }
    let _ = write!(out, ".{fraction:0width$}");
}

fn decimal(value: u128, out: &mut String) {
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_nanoseconds_as_exact_seconds() {
        for (nanos, wanted) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (2_000_000_000, "2"),
            (123_456_789_012, "123.456789012"),
            (10_000_000, "0.01"),
            (u128::from(u64::MAX) * 1_000_000_000, "18446744073709551615"),
        ] {
            let mut text = String::new();
            seconds(nanos, &mut text);
            assert_eq!(text, wanted);
        }
    }

    #[test]
    fn an_exemplar_follows_the_bucket_that_it_was_counted_in() {
        use redtap_stages::flow::trace::{SpanId, TraceId};
        use redtap_stages::time::Nanos;
        let one = |bucket| Exemplar {
            trace: TraceId::new(0xab).unwrap(),
            span: SpanId::new(0xc).unwrap(),
            said: true,
            bucket,
            value: Nanos(1_250_000),
            ended: Nanos(7),
            at_ms: 1_700_000_000_040,
        };
        let bounds: Vec<String> = ["1.0", "2.0", "+Inf"].map(|bound| format!("le=\"{bound}\"}} ")).into();
        let mut buckets = [0; MAX_BUCKETS + 1];
        buckets[..3].copy_from_slice(&[4, 0, 2]);
        let mut text = String::new();
        histogram(("m", ""), &bounds, &buckets, &[one(0), one(2)], &mut text);
        let ids = "trace_id=\"000000000000000000000000000000ab\",span_id=\"000000000000000c\"";
        let shown = format!(" # {{{ids}}} 0.00125 1700000000.04");
        let lines: Vec<String> = [("1.0", "4", shown.as_str()), ("2.0", "4", ""), ("+Inf", "6", &shown)]
            .map(|(le, count, rest)| format!("m_bucket{{le=\"{le}\"}} {count}{rest}"))
            .into();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }
}
