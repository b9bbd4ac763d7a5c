//! Question: what does the registry cost: a publication in which every series gained, and a scrape of all, at 100, 10 000,
//! 100 000 and 200 000 series (the most there can be)? And for how long does a scrape hold the lock that publications need?
//!
//! Claim: both grow with the number of series and no faster: a series costs at 100 000 at most twice what it costs at 10 000. A scrape goes
//! the very way of `/metrics`: a copy, made under the lock, and text made of it (nothing is compressed there).
//! Every series has the labels of an HTTP server's, in services of 100. Processor time a series, medians over the rounds; all
//! sizes take turns in one process.
//!
//! `cargo run --release -p redtap-benches --bin registry [ROUNDS]`

use anyhow::{Result, ensure};
use redtap::registry::{Format, Registry, RegistrySettings};
use redtap_e2e::stopwatch::{measure, median};
use redtap_stages::flow::delta::{Delta, Gain, HistogramGain, Publication, Series};
use redtap_stages::metric::{MAX_BUCKETS, Metric};
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::sync::Arc;

/// Measured rounds, unless told.
const ROUNDS: usize = 5;
const SIZES: [usize; 4] = [100, 10_000, 100_000, 200_000];
/// Series of one service.
const OF_SERVICE: usize = 100;

struct Bench {
    series: Vec<Arc<Series>>,
    registry: Registry,
    /// Seconds so far.
    at: u64,
    publish: Vec<u64>,
    render: Vec<u64>,
    copy: Vec<u64>,
    /// The time that passed meanwhile, with the lock held.
    held: Vec<u64>,
    text: String,
}

impl Bench {
    fn new(size: usize) -> Self {
        let mut names = Interner::with_capacity(2 * size + 64);
        let series = (0..size).map(|n| {
            let labels = vec![
                ("http.request.method", names.intern("GET")),
                ("http.route", names.intern(&format!("/api/v1/route{}", n % OF_SERVICE))),
                ("http.response.status_code", names.intern("200")),
                ("url.scheme", names.intern("http")),
            ];
            let service = names.intern(&format!("service-{}", n / OF_SERVICE));
            Arc::new(Series { metric: Metric::HttpServerRequestDuration, service, labels })
        });
        let series = series.collect();
        let registry = Registry::new(RegistrySettings::default());
        Self {
            series,
            registry,
            at: 0,
            publish: Vec::new(),
            render: Vec::new(),
            copy: Vec::new(),
            held: Vec::new(),
            text: String::new(),
        }
    }

    fn publication(&mut self) -> Publication {
        self.at += 1;
        let deltas = self.series.iter().map(|series| {
            let mut gain =
                HistogramGain { buckets: [0; MAX_BUCKETS + 1], sum: 7_000_000, count: 1, seen: 1, scaled: 0 };
            gain.buckets.iter_mut().take(1).for_each(|bucket| *bucket = 1);
            Delta { series: Arc::clone(series), gain: Gain::Histogram(Box::new(gain)) }
        });
        Publication { at: Nanos::from_secs(self.at), deltas: deltas.collect() }
    }

    fn round(&mut self) -> Result<()> {
        let publication = self.publication();
        let (_, spent) = measure(|| self.registry.publish(&publication));
        self.publish.push(spent.cpu);
        self.text.clear();
        let (snapshot, copy) = measure(|| self.registry.snapshot());
        let (_, spent) = measure(|| snapshot.render(Format::Text, &mut self.text));
        self.render.push(spent.cpu);
        self.copy.push(copy.cpu);
        self.held.push(copy.wall);
        let count = self.text.matches("_count{").count();
        ensure!(count == self.series.len(), "{count} of {} series were rendered", self.series.len());
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let mut benches = SIZES.map(Bench::new);
    // The first round makes the series and is not counted.
    for round in 0..=rounds {
        benches.iter_mut().try_for_each(Bench::round)?;
        if round == 0 {
            benches.iter_mut().for_each(|bench| {
                bench.publish.clear();
                bench.render.clear();
                bench.copy.clear();
                bench.held.clear();
            });
        }
    }
    println!(
        "{:>8} {:>18} {:>15} {:>17} {:>12} {:>12} {:>20}",
        "series",
        "publish ns/series",
        "copy ns/series",
        "text ns/series",
        "bytes/series",
        "scrape, ms",
        "lock held, ms (most)"
    );
    for Bench { series, publish, render, copy, held, text, .. } in benches {
        let each = |ns: &[u64]| median(ns.to_vec()) as f64 / series.len() as f64;
        let bytes = text.len() / series.len();
        let (publish, copy, render) = (each(&publish), each(&copy), each(&render));
        let most = held.iter().max().copied().unwrap_or(0) as f64 / 1e6;
        println!(
            "{:>8} {publish:>18.1} {copy:>15.1} {render:>17.1} {bytes:>12} {:>12.1} {:>12.1} ({most:.1})",
            series.len(),
            (copy + render) * series.len() as f64 / 1e6,
            median(held) as f64 / 1e6,
        );
    }
    Ok(())
}
