//! Question: what does it cost to hand a batch on: over an edge within one thread, over an edge between two, and with the turn
//! of a runner around it?
//!
//! Claim: a batch over an edge within a thread costs under 100 ns, and a turn of a runner whose stage only passes on under 500 ns;
//! at 256 records a batch that is 2 ns a record. Batches are recycled; they hold 256 numbers. Processor time a batch, medians
//! over the rounds; between two threads, of both together.
//!
//! `cargo run --release -p redtap-benches --bin edge [ROUNDS]`

use anyhow::{Result, ensure};
use redtap::edge::{EdgeCapacity, edge};
use redtap::runner::{NoVerdicts, Parts, Runner, TICK, Turn, Turns as _};
use redtap_benches::pass::{Batch, Pass, RECORDS, fill, take};
use redtap_e2e::stopwatch::{measure, median};
use redtap_stages::time::Nanos;
use std::sync::Arc;

/// Measured rounds, unless told.
const ROUNDS: usize = 7;
/// Batches in one round.
const BATCHES: u64 = 200_000;

/// What is done, and the records that arrived.
type Way = (&'static str, fn() -> u64);

/// Filling alone: what the others do besides.
fn filling() -> u64 {
    let mut batch = Batch::default();
    (0..BATCHES)
        .map(|_| {
            fill(std::hint::black_box(&mut batch));
            let n = batch.len() as u64;
            batch.clear();
            n
        })
        .sum()
}

fn one_thread() -> u64 {
    let (mut outlet, mut inlet) = edge::<Batch>(EdgeCapacity::DEFAULT);
    (0..BATCHES)
        .map(|at| {
            let mut batch = outlet.blank();
            fill(&mut batch);
            outlet.send(Nanos(at), batch).map_or(0, |()| take(&mut inlet))
        })
        .sum()
}

fn two_threads() -> u64 {
    let (mut outlet, mut inlet) = edge::<Batch>(EdgeCapacity::DEFAULT);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for at in 0..BATCHES {
                let mut batch = outlet.blank();
                fill(&mut batch);
                while let Err(back) = outlet.send(Nanos(at), batch) {
                    batch = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut records = 0;
        while !inlet.is_finished() {
            match take(&mut inlet) {
                0 => std::thread::yield_now(),
                n => records += n,
            }
        }
        records
    })
}

fn turns() -> u64 {
    let (mut first, inlet) = edge::<Batch>(EdgeCapacity::DEFAULT);
    let (exit, mut last) = edge::<Batch>(EdgeCapacity::DEFAULT);
    let fresh = Box::new(Pass::default);
    let parts = Parts { fresh, inlet, exit, verdicts: Arc::new(NoVerdicts), hook: None, tick_every: TICK };
    let (mut runner, _controls) = Runner::new(parts);
    (0..BATCHES)
        .map(|at| {
            let mut batch = first.blank();
            fill(&mut batch);
            let moved = first.send(Nanos(at), batch).is_ok() && runner.turn() == Turn::Worked;
            if moved { take(&mut last) } else { 0 }
        })
        .sum()
}

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let ways: [Way; 4] = [
        ("filling a batch, no edge", filling),
        ("an edge within a thread", one_thread),
        ("an edge between two threads", two_threads),
        ("two edges and a turn", turns),
    ];
    let mut spent = ways.map(|_| Vec::new());
    for round in 0..=rounds {
        for ((name, way), spent) in ways.iter().zip(&mut spent) {
            let (records, took) = measure(way);
            ensure!(records == BATCHES * RECORDS as u64, "{name}: {records} records arrived");
            if round > 0 {
                spent.push(took.cpu);
            }
        }
    }
    println!("{:28} {:>14} {:>15}", "", "cpu ns/batch", "less filling");
    let mut filling = None;
    for ((name, _), spent) in ways.iter().zip(spent) {
        let each = median(spent) as f64 / BATCHES as f64;
        let filling = *filling.get_or_insert(each);
        println!("{name:28} {each:>14.1} {:>15.1}", each - filling);
    }
    Ok(())
}
