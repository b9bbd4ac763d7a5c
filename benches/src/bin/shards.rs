//! Question: what do two shards cost and bring, on the same events?
//!
//! Claim: an event costs no more than 1.15 times as much with two shards as with one, and where two processors are free
//! the events pass at least 1.5 times as fast.
//!
//! Recorded real events through whole pipelines (all nine stage actors a shard), from memory. With two shards each source
//! gives the events of its connections, with both ends of one in the same shard, as in the kernel. Every way takes all events once in each round, in
//! turn, in one process; medians over the rounds. Processor time counts all threads, the drains' too, and starting and stopping;
//! wall time means something only where nothing else runs.
//!
//! How to read it: the ways differ in shards and in who has a thread. "x one" is processor time an event over that of the first
//! row of the same run; "faster" is how many times as many events a second of wall time as there.
//!
//! `cargo run --release -p redtap-benches --bin shards [ROUNDS [http1|redis|all]]`

use anyhow::{Result, ensure};
use redtap::blueprint::{Blueprint, ThreadPlan};
use redtap_benches::events::Events;
use redtap_benches::running::{for_each_mix, topology};
use redtap_e2e::stopwatch::{Spent, median};

fn main() -> Result<()> {
    for_each_mix(run)
}

fn run(events: &Events, rounds: usize) -> Result<()> {
    let two = events.dealt(2);
    let share: Vec<_> = two.iter().map(|part| 100 * part.len() / events.len().max(1)).collect();
    println!("{} events, of which the two shards have {share:?} %, {rounds} rounds", events.len());
    let one = vec![events.clone()];
    let own = ThreadPlan { per_shard: true, ..ThreadPlan::one() };
    let ways: [(&str, &[Events], ThreadPlan); 3] = [
        ("one shard, one thread", &one, ThreadPlan::one()),
        ("two shards, one thread", &two, ThreadPlan::one()),
        ("two shards, a thread each", &two, own),
    ];
    let mut spent: [Vec<Spent>; 3] = Default::default();
    let mut exchanges = None;
    // The first round warms caches and is not counted.
    for round in 0..=rounds {
        for ((name, parts, threads), spent) in ways.iter().zip(&mut spent) {
            let (seen, took) = topology(parts, Blueprint { threads: threads.clone(), ..Blueprint::default() })?;
            let expected = *exchanges.get_or_insert(seen);
            ensure!(seen == expected, "{name}: {seen} exchanges, {expected} by another way: not the same work");
            if round > 0 {
                spent.push(took);
            }
        }
    }
    report(events.len(), &ways.each_ref().map(|(name, ..)| *name), &spent);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn report(events: usize, names: &[&str], spent: &[Vec<Spent>]) {
    println!(
        "\n{:26} {:>12} {:>14} {:>12} {:>8} {:>8}",
        "", "cpu ns/event", "wall ns/event", "M events/s", "x one", "faster"
    );
    let mut first = None;
    for (name, spent) in names.iter().zip(spent) {
        let each = |ns: fn(&Spent) -> u64| median(spent.iter().map(ns).collect()) as f64 / events as f64;
        let (cpu, wall) = (each(|one| one.cpu), each(|one| one.wall));
        let (one_cpu, one_wall) = *first.get_or_insert((cpu, wall));
        println!(
            "{name:26} {cpu:>12.1} {wall:>14.1} {:>12.2} {:>8.2} {:>8.2}",
            1e3 / wall,
            cpu / one_cpu,
            one_wall / wall
        );
    }
}
