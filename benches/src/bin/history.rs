//! Question: what does the history cost: a recording (with the copy of the registry that it needs), bytes a point and in all,
//! and a report of the last day, at 1 000 and 10 000 series?
//!
//! Claim: a recording takes less than 2 us a series; and the default of 32 MiB holds the hour and the day of 1 000 series that
//! gain in every step. Every series has the labels of an HTTP server's and gains 32 requests a step in four buckets; 1 000
//! series do so for a day, 10 000 for an hour (in 512 MiB, so that nothing is dropped). Processor time, medians.
//!
//! `cargo run --release -p redtap-benches --bin history`

use anyhow::{Context as _, Result, ensure};
use redtap::history::{FINE, History};
use redtap::registry::{Registry, RegistrySettings};
use redtap::reports::{Making, Range, Reports};
use redtap_e2e::stopwatch::{measure, median};
use redtap_stages::flow::delta::{Delta, Gain, HistogramGain, Publication, Series};
use redtap_stages::metric::{MAX_BUCKETS, Metric};
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Series of one service.
const OF_SERVICE: usize = 100;
/// A multiple of a minute.
const T0: i64 = 1_699_999_980;

fn all(size: usize) -> Vec<Arc<Series>> {
    let mut names = Interner::with_capacity(2 * size + 64);
    let one = |n: usize| {
        let labels = vec![
            ("http.request.method", names.intern("GET")),
            ("http.route", names.intern(&format!("/api/v1/route{}", n % OF_SERVICE))),
            ("http.response.status_code", names.intern("200")),
            ("url.scheme", names.intern("http")),
        ];
        let service = names.intern(&format!("service-{}", n / OF_SERVICE));
        Arc::new(Series { metric: Metric::HttpServerRequestDuration, service, labels })
    };
    (0..size).map(one).collect()
}

fn publication(all: &[Arc<Series>], step: u64) -> Publication {
    let gain = |at: usize| {
        let mut buckets = [0; MAX_BUCKETS + 1];
        // Four buckets in a row, beginning at one that differs by series; the counts by step.
        for (bucket, n) in buckets.iter_mut().skip(at % 6).zip([16 - step % 4, 10 + step % 3, 4, 2 + step % 2]) {
            *bucket = n;
        }
        let count = buckets.iter().sum();
        Gain::Histogram(Box::new(HistogramGain { buckets, sum: 7_000_000, count, seen: count, scaled: 0 }))
    };
    let deltas = all.iter().enumerate().map(|(at, series)| Delta { series: Arc::clone(series), gain: gain(at) });
    Publication { at: Nanos::from_secs(step), deltas: deltas.collect() }
}

/// The history's futures are ready at once.
fn now<T>(mut making: Making<'_, T>) -> Result<T> {
    match making.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(report) => Ok(report?),
        Poll::Pending => anyhow::bail!("a report that waits"),
    }
}

fn run(size: usize, seconds: u64, memory: usize) -> Result<()> {
    let series = all(size);
    let (registry, history) = (Registry::new(RegistrySettings::default()), History::new(memory));
    let steps = seconds / u64::from(FINE);
    let (mut copies, mut records) = (Vec::new(), Vec::new());
    for step in 1..=steps {
        registry.publish(&publication(&series, step));
        let (snapshot, copy) = measure(|| registry.snapshot());
        let end = T0 + i64::try_from(step * u64::from(FINE))?;
        let ((), record) = measure(|| history.record(end, &snapshot));
        copies.push(copy.cpu);
        records.push(record.cpu);
    }
    let stats = history.stats();
    ensure!(stats.dropped == 0 && stats.refused == 0, "it does not fit: {stats:?}");
    let to = T0 + i64::try_from(seconds)?;
    let step = if seconds > 3_600 { 360 } else { 15 };
    let range = Range { from: to - i64::try_from(seconds)?, to, step };
    let (services, all_of_them) = measure(|| now(history.services(range)));
    let (service, one_of_them) = measure(|| now(history.service("service-3", range)));
    ensure!(services?.services.len() == size / OF_SERVICE && service?.is_some(), "all services are there");
    let worst = records.iter().max().copied().context("no recordings")?;
    let (copy, record) = (median(copies), median(records));
    let points = stats.steps * size as u64;
    println!("{size} series, {seconds} s:");
    println!("  copy of the registry  {:>8} us", copy / 1_000);
    println!("  recording             {:>8} us (longest {} us, which makes a minute)", record / 1_000, worst / 1_000);
    println!("  bytes a point         {:>8.2}", stats.bytes as f64 / points as f64);
    println!("  in all                {:>8.1} MiB, {} steps", stats.bytes as f64 / f64::from(1 << 20), stats.steps);
    println!("  report: services      {:>8} us", all_of_them.cpu / 1_000);
    println!("  report: one service   {:>8} us", one_of_them.cpu / 1_000);
    ensure!(copy + record < 2_000 * size as u64, "more than 2 us a series");
    Ok(())
}

fn main() -> Result<()> {
    run(1_000, 86_400, 32 << 20)?;
    run(10_000, 3_600, 512 << 20)
}
