//! Question: what does one event cost in the running pipeline, and how much of that is the pipeline itself?
//!
//! Claim: recorded real events through all nine stage actors cost at most 1.3 times what the same nine stages cost in a single
//! loop (the floor) of the same run. (Aim: 200 ns an event of HTTP/1, all nine actors on one processor.)
//!
//! Every way of running takes all events once in each round, in turn, in one process; medians over the rounds. Processor
//! time counts all threads (the drain's too). The pipeline's time includes starting and stopping it. `docs/performance.md` has
//! numbers.
//!
//! `cargo run --release -p redtap-benches --bin pipeline [ROUNDS [http1|redis|all]]`

use anyhow::{Context as _, Result, ensure};
use redtap::blueprint::{Blueprint, ThreadPlan};
use redtap::engine::Engines;
use redtap::runner::NoVerdicts;
use redtap::topology::{PublicationSink, Sinks, Topology};
use redtap_benches::events::{Events, Mix};
use redtap_benches::floor;
use redtap_e2e::stopwatch::{Spent, measure, median};
use redtap_stages::flow::delta::Publication;
use std::sync::Arc;

/// Events in memory, about: 50 MB.
const EVENTS: usize = 230_000;
/// Measured rounds, unless told.
const ROUNDS: usize = 7;

struct Discard;

impl PublicationSink for Discard {
    fn publish(&self, _: usize, publication: Publication) {
        std::hint::black_box(publication.deltas.len());
    }
}

/// All events through a topology; the exchanges that reached `aggregate`.
fn topology(events: &Events, engine: Engines, threads: ThreadPlan) -> Result<(u64, Spent)> {
    let blueprint = Blueprint { engine, threads, ..Blueprint::default() };
    let plan = blueprint.check().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let source = Box::new(events.source());
    let (stopped, spent) = measure(|| -> Result<_> {
        let sinks = Sinks { publications: Arc::new(Discard), verdicts: Arc::new(NoVerdicts), tap: Arc::default() };
        Ok(Topology::start(plan, vec![source], sinks)?.wait())
    });
    let stopped = stopped?;
    let sums = stopped.conservation(None);
    ensure!(sums.settled && sums.balanced, "{sums:#?}");
    let stages = &stopped.shards.first().context("no shard")?.stages;
    let aggregate = stages.iter().find(|stage| stage.name == "aggregate").context("no aggregate")?;
    Ok((aggregate.totals.taken, spent))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(ROUNDS), |text| text.parse())?;
    let mixes = [("http1", Mix::Http1), ("redis", Mix::Redis), ("all", Mix::All)];
    let wanted = arguments.next();
    for (name, mix) in mixes.into_iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)) {
        println!("\n== {name}");
        run(mix, rounds)?;
    }
    Ok(())
}

fn run(mix: Mix, rounds: usize) -> Result<()> {
    let once = Events::of(mix, 1)?.len();
    let events = Events::of(mix, (EVENTS / once.max(1)) as u64)?;
    println!("{} events, {} bytes an event, {rounds} rounds", events.len(), events.bytes() / events.len().max(1));
    let ways: [(&str, Option<(Engines, ThreadPlan)>); 4] = [
        ("floor: one loop", None),
        ("nine actors, one thread", Some((Engines::Actors, ThreadPlan::one()))),
        ("nine actors, two threads", Some((Engines::Actors, ThreadPlan::split()))),
        ("fused loop, one thread", Some((Engines::Fused, ThreadPlan::one()))),
    ];
    let mut spent: [Vec<Spent>; 4] = Default::default();
    let mut exchanges = None;
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        for ((_, way), spent) in ways.iter().zip(&mut spent) {
            let (seen, took) = match way {
                None => {
                    let (done, took) = measure(|| floor::run::<false>(events.source()));
                    (done.exchanges, took)
                }
                Some((engine, threads)) => topology(&events, *engine, threads.clone())?,
            };
            let expected = *exchanges.get_or_insert(seen);
            ensure!(seen == expected, "{seen} exchanges, {expected} by another way: not the same work");
            if round > 0 {
                spent.push(took);
            }
        }
    }
    report(&events, &ways.each_ref().map(|(name, _)| *name), &spent, exchanges.unwrap_or(0));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "printed with three digits")]
fn report(events: &Events, names: &[&str], spent: &[Vec<Spent>], exchanges: u64) {
    let each = |ns: u64| ns as f64 / events.len() as f64;
    println!("{exchanges} exchanges; {:.2} events an exchange\n", events.len() as f64 / exchanges.max(1) as f64);
    println!("{:26} {:>12} {:>12} {:>14} {:>9}", "", "cpu ns/event", "wall ns/event", "M events/s/core", "x floor");
    let mut floor = None;
    for (name, spent) in names.iter().zip(spent) {
        let cpu = each(median(spent.iter().map(|one| one.cpu).collect()));
        let wall = each(median(spent.iter().map(|one| one.wall).collect()));
        let floor = *floor.get_or_insert(cpu);
        println!("{name:26} {cpu:>12.1} {wall:>12.1} {:>14.2} {:>9.2}", 1e3 / cpu, cpu / floor);
    }
    println!("\nthe floor, stage by stage (wall ns/event; measuring adds some):");
    let done = floor::run::<true>(events.source());
    for (name, spent) in done.stages {
        println!("  {name:10} {:>8.1}", each(spent));
    }
}
