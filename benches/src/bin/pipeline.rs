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

use anyhow::{Result, ensure};
use redtap::blueprint::{Blueprint, ThreadPlan};
use redtap::engine::Engines;
use redtap_benches::events::Events;
use redtap_benches::floor;
use redtap_benches::running::{for_each_mix, topology};
use redtap_e2e::stopwatch::{Spent, measure, median};

fn main() -> Result<()> {
    for_each_mix(run)
}

fn run(events: &Events, rounds: usize) -> Result<()> {
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
                Some((engine, threads)) => topology(
                    std::slice::from_ref(events),
                    Blueprint { engine: *engine, threads: threads.clone(), ..Blueprint::default() },
                )?,
            };
            let expected = *exchanges.get_or_insert(seen);
            ensure!(seen == expected, "{seen} exchanges, {expected} by another way: not the same work");
            if round > 0 {
                spent.push(took);
            }
        }
    }
    report(events, &ways.each_ref().map(|(name, _)| *name), &spent, exchanges.unwrap_or(0));
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
