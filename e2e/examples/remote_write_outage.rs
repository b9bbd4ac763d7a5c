//! A receiver that is down for ten minutes, and an agent that is started again in the middle of that: what Prometheus holds afterwards
//! is every request that nginx answered, with every sample in order and none missing. Takes as long as it says, so it is no test:
//!
//! ```text
//! cargo build --release && cargo run --release -p redtap-e2e --example remote_write_outage [SECONDS]
//! ```
//!
//! Needs root, nginx, curl and `cargo xtask install`. Prints what it measured; ends with an error if anything is missing.

use anyhow::{Context, Result, bail, ensure};
use redtap_e2e::agent::Agent;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::store::{Product, Store};
use redtap_e2e::stopwatch::now;
use std::path::Path;
use std::time::Duration;

const COUNT: &str = "http_server_request_duration_seconds_count";
/// Between two samples of a series, seconds.
const INTERVAL: u64 = 5;
/// Requests of one stretch of traffic, and stretches a second.
const STRETCH: u64 = 20;
const SECOND: u64 = 1_000_000_000;

struct Ground {
    watched: Sandbox,
    nginx: Nginx,
    store: Store,
}

impl Ground {
    fn agent(&self) -> Result<Agent> {
        let url = self.store.write_url();
        let config =
            format!("[remote_write]\nurl = \"{url}\"\ninterval = \"{INTERVAL}s\"\nspool = \"spool\"\nshards = 2\n");
        self.watched.write("redtap.toml", &config)?;
        Agent::start(&self.watched, &[])
    }

    /// Traffic for so long, about [`STRETCH`] requests a second.
    fn load(&self, seconds: u64) -> Result<()> {
        let until = now() + seconds * SECOND;
        while now() < until {
            let url = format!("{}?[1-{STRETCH}]", self.nginx.url("/static/a.html"));
            self.watched.run("curl", &["-s", "-o", "/dev/null", &url])?;
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn answered(&self) -> Result<u64> {
        Ok(self.nginx.answered()?.values().sum())
    }

    /// Waits until the agent shows all that nginx answered since `before`, and so did a round after that.
    fn counted(&self, agent: &Agent, before: u64) -> Result<u64> {
        let wanted = self.answered()? - before;
        let shown = agent.metrics_until(|metrics| metrics.sum(COUNT, &[]) >= wanted)?.sum(COUNT, &[]);
        ensure!(shown == wanted, "the agent shows {shown} of {wanted} requests");
        std::thread::sleep(Duration::from_secs(INTERVAL + 1));
        Ok(shown)
    }
}

fn own(metrics: &Metrics, what: &str) -> u64 {
    metrics.sum(&format!("redtap_export_{what}"), &[("exporter", "remote_write")])
}

/// Says what an account says, and ends if it does not add up or anything was given up.
fn tell(when: &str, metrics: &Metrics) -> Result<()> {
    let [gathered, delivered, undelivered, pending, retries] =
        ["gathered_total", "delivered_total", "undelivered_total", "pending", "retries_total"]
            .map(|what| own(metrics, what));
    println!(
        "{when}: gathered {gathered}, delivered {delivered}, undelivered {undelivered}, pending {pending}, retries {retries}"
    );
    ensure!(gathered == delivered + undelivered + pending, "the account does not add up");
    ensure!(undelivered == 0, "samples were given up");
    Ok(())
}

fn size(folder: &Path) -> Result<u64> {
    let files = std::fs::read_dir(folder)?.map(|file| Ok(file?.metadata()?.len()));
    files.sum::<Result<u64>>()
}

fn main() -> Result<()> {
    let down: u64 = std::env::args().nth(1).map_or(Ok(600), |text| text.parse()).context("how many seconds?")?;
    let (watched, beside) = (Sandbox::new("outage")?, Sandbox::new("store")?);
    let nginx = Nginx::start(&watched, 1)?;
    let store = Store::start(&beside, Product::Prometheus)?;
    let mut ground = Ground { watched, nginx, store };
    let agent = ground.agent()?;
    ground.load(20)?;

    ground.store.kill9()?;
    let killed = now();
    println!("Prometheus is killed");
    ground.load(down / 2)?;
    let first = ground.counted(&agent, 0)?;
    tell("before the agent is started again", &agent.metrics()?)?;
    let log = agent.stop()?;
    println!("{}", log.lines().filter(|line| line.contains("remote write")).collect::<Vec<_>>().join("\n"));
    let before = ground.answered()?;
    let agent = ground.agent()?;
    ground.load(down.saturating_sub((now() - killed) / SECOND))?;
    let waiting = agent.metrics()?;
    tell("before Prometheus is started again", &waiting)?;
    println!("on disk: {} bytes", size(&ground.watched.folder().join("spool"))?);

    println!("Prometheus was down for {} s", (now() - killed) / SECOND);
    ground.store.again(&beside)?;
    let back = now();
    for _ in 0..6_000 {
        if own(&agent.metrics()?, "delivered_total") >= own(&waiting, "gathered_total") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(
        own(&agent.metrics()?, "delivered_total") >= own(&waiting, "gathered_total"),
        "what waited was not delivered within {} s",
        (now() - back) / SECOND
    );
    println!("what waited was delivered within {} ms", (now() - back) / 1_000_000);
    ground.load(20)?;
    let second = ground.counted(&agent, before)?;
    tell("at the end", &agent.metrics()?)?;
    compare(&ground, first, second)?;
    agent.stop()?;
    Ok(())
}

/// What Prometheus holds, against what the two agents showed.
fn compare(ground: &Ground, first: u64, second: u64) -> Result<()> {
    let all = ground.store.points(&format!("{COUNT}{{service_name=\"nginx\"}}"))?;
    let [points] = all.values().collect::<Vec<_>>()[..] else { bail!("not one series: {:?}", all.keys()) };
    ensure!(points.is_sorted_by(|one, next| one.0 < next.0), "not in order");
    let gaps = points.windows(2).filter_map(|pair| Some(pair.get(1)?.0 - pair.first()?.0));
    let longest = gaps.fold(0.0, f64::max);
    let last_of_lives: Vec<f64> = points
        .windows(2)
        .filter_map(|pair| pair.get(1).zip(pair.first()).filter(|(next, one)| next.1 < one.1).map(|(_, one)| one.1))
        .chain(points.last().map(|last| last.1))
        .collect();
    let stored: f64 = last_of_lives.iter().sum();
    println!(
        "{} samples of the series, at most {longest:.1} s apart; requests stored {stored} ({last_of_lives:?}), shown {} ({first} and {second}), \
         answered by nginx {}",
        points.len(),
        first + second,
        ground.answered()?
    );
    ensure!(last_of_lives == [first as f64, second as f64], "the sums differ");
    ensure!(first + second == ground.answered()?, "not all that nginx answered");
    ensure!(longest < 3.0 * INTERVAL as f64, "samples are missing");
    let refused = ground.store.metrics()?.sum("prometheus_tsdb_out_of_order_samples_total", &[]);
    ensure!(refused == 0, "{refused} samples came out of order");
    println!("nothing is missing, nothing is there twice, all in order");
    Ok(())
}
