//! The live table of `run` on a terminal: services and their rate, errors and duration over the last seconds.
//!
//! Drawn anew once a second over the last one, never larger than the terminal. Absent: input.

use redtap::registry::{Snapshot, Value};
use redtap_stages::metric::{Kind, MAX_BUCKETS, Metric, TABLE};
use redtap_stages::time::Nanos;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;

/// How far back rates and durations look.
const WINDOW: Nanos = Nanos::from_secs(10);
/// Most snapshots kept: one a draw.
const MAX_KEPT: usize = 16;
/// The size of a terminal that does not tell its own.
const SIZE: (usize, usize) = (80, 24);

/// Sums of one row since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    count: u64,
    errors: u64,
    buckets: [u64; MAX_BUCKETS + 1],
}

impl Sums {
    /// What came since `earlier`; everything if the series began anew.
    fn since(&self, earlier: &Self) -> Self {
        if self.count < earlier.count {
            return *self;
        }
        let mut buckets = self.buckets;
        for (now, then) in buckets.iter_mut().zip(earlier.buckets) {
            *now = now.saturating_sub(then);
        }
        Self { count: self.count - earlier.count, errors: self.errors.saturating_sub(earlier.errors), buckets }
    }

    /// Upper bound of the bucket that the quantile lies in, seconds; `None` above the last bound or without any.
    fn quantile(&self, bounds: &[f64], share: f64) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of a window"
        )]
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bound, count) in bounds.iter().zip(self.buckets) {
            seen += count;
            if seen >= wanted {
                return Some(*bound);
            }
        }
        None
    }
}

type Rows = BTreeMap<(String, Metric), Sums>;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    kept: VecDeque<(Nanos, Rows)>,
    drawn: bool,
}

impl Table {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Draws what `snapshot` says, over what was drawn before.
    pub(crate) fn draw(&mut self, snapshot: &Snapshot, now: Nanos) {
        let text = self.text(snapshot, now, size());
        // Home, text with every line's rest erased, then everything below erased.
        let start = if self.drawn { "\x1b[H" } else { "\x1b[2J\x1b[H" };
        self.drawn = true;
        let text = text.replace('\n', "\x1b[K\r\n");
        let mut out = std::io::stdout().lock();
        // A terminal that is gone is no reason to stop watching.
        let _ = write!(out, "{start}{text}\x1b[J").and_then(|()| out.flush());
    }

    /// Leaves the last table standing.
    pub(crate) fn leave(self) {
        if self.drawn {
            println!();
        }
    }

    fn text(&mut self, snapshot: &Snapshot, now: Nanos, (width, height): (usize, usize)) -> String {
        let rows = sums(snapshot);
        while self.kept.len() >= MAX_KEPT || self.kept.get(1).is_some_and(|(at, _)| now.since(*at) >= WINDOW) {
            self.kept.pop_front();
        }
        let empty = (Nanos::ZERO, Rows::new());
        let (then, earlier) = self.kept.front().unwrap_or(&empty);
        let seconds = if self.kept.is_empty() { 0.0 } else { now.since(*then).as_secs_f64() };
        let mut lines: Vec<(u64, String)> = rows
            .iter()
            .map(|((service, metric), sums)| {
                let key = (service.clone(), *metric);
                let gained = sums.since(earlier.get(&key).unwrap_or(&Sums::default()));
                (gained.count, line(service, *metric, &gained, seconds, sums.count))
            })
            .collect();
        lines.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut text = String::new();
        let head = format!(
            "{:<24} {:<11} {:>8} {:>6} {:>8} {:>8} {:>9}",
            "service", "side", "req/s", "err %", "p50", "p99", "total"
        );
        let room = height.saturating_sub(2).max(1);
        let more = lines.len().saturating_sub(room);
        for line in std::iter::once(&head).chain(lines.iter().take(room).map(|(_, line)| line)) {
            text.extend(line.chars().take(width));
            text.push('\n');
        }
        if more > 0 {
            let _ = write!(text, "and {more} more");
        } else if lines.is_empty() {
            text.push_str("no request seen yet");
        }
        self.kept.push_back((now, rows));
        text
    }
}

fn line(service: &str, metric: Metric, gained: &Sums, seconds: f64, total: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let (count, errors) = (gained.count as f64, gained.errors as f64);
    let rate = if seconds > 0.0 { count / seconds } else { 0.0 };
    let share = if gained.count > 0 { 100.0 * errors / count } else { 0.0 };
    let bounds = match metric.entry().kind {
        Kind::Histogram(bounds) => bounds,
        Kind::Counter => &[],
    };
    let quantile = |share| match (gained.count, gained.quantile(bounds, share), bounds.last()) {
        (0, ..) => "-".to_owned(),
        (_, Some(bound), _) => format!("<{}", time(bound)),
        (_, None, last) => format!(">{}", time(last.copied().unwrap_or(0.0))),
    };
    let service: String =
        service.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(24).collect();
    format!(
        "{service:<24} {:<11} {rate:>8.1} {share:>6.1} {:>8} {:>8} {total:>9}",
        side(metric),
        quantile(0.5),
        quantile(0.99)
    )
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{}ms", (seconds * 1_000.0).round()) } else { format!("{seconds}s") }
}

fn side(metric: Metric) -> &'static str {
    match metric {
        Metric::HttpServerRequestDuration => "http server",
        Metric::HttpClientRequestDuration => "http client",
        Metric::DbServerOperationDuration => "db server",
        Metric::DbClientOperationDuration => "db client",
        Metric::DnsServerLookupDuration => "dns server",
        Metric::DnsLookupDuration => "dns client",
        Metric::RpcServerCallDuration => "rpc server",
        Metric::RpcClientCallDuration => "rpc client",
        Metric::MessagingServerOperationDuration => "msg broker",
        Metric::MessagingClientOperationDuration => "msg client",
        Metric::ServiceGraphRequests
        | Metric::ServiceGraphFailed
        | Metric::ServiceGraphServer
        | Metric::ServiceGraphClient => "edge",
    }
}

/// One row a service and side; edges are left out.
fn sums(snapshot: &Snapshot) -> Rows {
    let mut rows = Rows::new();
    for (entry, family) in TABLE.iter().zip(&snapshot.families) {
        if side(entry.metric) == "edge" {
            continue;
        }
        for sample in family {
            let Value::Histogram { buckets, count, .. } = &sample.value else { continue };
            let row = rows.entry((sample.series.service.as_str().to_owned(), entry.metric)).or_default();
            row.count += count;
            if sample.series.labels.iter().any(|(name, _)| *name == "error.type") {
                row.errors += count;
            }
            for (sum, n) in row.buckets.iter_mut().zip(buckets) {
                *sum += n;
            }
        }
    }
    rows
}

/// Columns and lines.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => SIZE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redtap::registry::{Registry, RegistrySettings};
    use redtap_stages::flow::delta::{Delta, Gain, HistogramGain, Publication, Series};
    use redtap_stages::symbol::Interner;
    use std::sync::Arc;

    fn publish(registry: &Registry, at: u64, service: &str, bucket: usize, count: u64, error: bool) {
        let mut interner = Interner::default();
        let labels = if error { vec![("error.type", interner.intern("500"))] } else { Vec::new() };
        let metric = Metric::HttpServerRequestDuration;
        let series = Arc::new(Series { metric, service: interner.intern(service), labels });
        let mut buckets = [0; MAX_BUCKETS + 1];
        buckets[bucket] = count;
        let gain = Gain::Histogram(Box::new(HistogramGain { buckets, sum: 0, count, seen: count, scaled: 0 }));
        registry.publish(&Publication { at: Nanos::from_secs(at), deltas: vec![Delta { series, gain }] });
    }

    #[test]
    fn shows_rate_errors_and_durations_of_the_last_seconds_busiest_first() {
        let registry = Registry::new(RegistrySettings::default());
        let mut table = Table::new();
        publish(&registry, 1, "old", 0, 1_000, false);
        table.text(&registry.snapshot(), Nanos::from_secs(1), SIZE);
        publish(&registry, 2, "shop", 0, 98, false);
        publish(&registry, 2, "shop", 6, 2, true);
        publish(&registry, 2, "shop", 14, 1, true);
        let text = table.text(&registry.snapshot(), Nanos::from_secs(3), SIZE);
        assert_eq!(
            text,
            "service                  side           req/s  err %      p50      p99     total\n\
             shop                     http server     50.5    3.0     <5ms   <250ms       101\n\
             old                      http server      0.0    0.0        -        -      1000\n"
        );
    }

    #[test]
    fn never_is_larger_than_the_terminal() {
        let registry = Registry::new(RegistrySettings::default());
        for number in 0..50 {
            publish(&registry, 1, &format!("service-{number}\u{7}"), 0, 1, false);
        }
        let text = Table::new().text(&registry.snapshot(), Nanos::from_secs(1), (30, 10));
        assert!(text.lines().count() <= 10, "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.ends_with("and 42 more"), "{text}");
        assert!(!text.contains('\u{7}'));
    }
}
