//! Question: what does it cost to wake a stage actor from another thread?
//!
//! Claim: a doorbell that finds the actor asleep costs at most 1.5 times what a plain unpark of a sleeping thread does. (Under load
//! no bell rings at all: an edge rings only for who said that he sleeps. So this is what a batch costs when little happens.)
//!
//! One thread sends a batch to a stage that only hands on, on another thread, and sleeps until it comes back; then the next. So both
//! sleep each time, and each batch has two wake-ups: of the stage, in the way that is measured, and of the thread that asked
//! (an unpark, always). Three ways: stage actors (a message into the mailbox, which wakes the arbiter out of epoll), the fused loop
//! (an unpark), and an edge without any bell, where both sides look again and again.
//!
//! How to read it: "sending" is what the sender feels, the middle one of all sends of a round: less the row without a bell it is
//! the price of ringing. "cpu" is processor time of both threads a batch there and back, wake-ups and turns included; without a bell
//! it says only how long both looked. "wall" is there and back. Medians over the rounds, the ways in turn.
//!
//! `cargo run --release -p redtap-benches --bin doorbell [ROUNDS]`

use anyhow::{Context as _, Result, ensure};
use redtap::chain::{Chain, Place};
use redtap::edge::{EdgeCapacity, Inlet, Outlet, edge};
use redtap::engine::{Engine, Engines};
use redtap::runner::{NoVerdicts, TICK};
use redtap_benches::pass::{Batch, Pass, RECORDS, fill, take};
use redtap_e2e::stopwatch::{Spent, measure, median, now};
use redtap_stages::time::Nanos;
use std::sync::Arc;
use std::time::Duration;

/// Measured rounds, unless told.
const ROUNDS: usize = 7;
/// Batches in one round.
const BATCHES: u64 = 20_000;
/// How long an answer is slept for at once, should a wake-up be lost: then the round is wrong, and slow, but it ends.
const PATIENCE: Duration = Duration::from_millis(100);

/// Sends [`BATCHES`], each once the one before is back; ns of the middle one of the sends. `wait` is called until an answer is there.
fn ask(outlet: &mut Outlet<Batch>, inlet: &mut Inlet<Batch>, wait: fn()) -> Result<u64> {
    let mut sends = Vec::with_capacity(usize::try_from(BATCHES)?);
    for at in 0..BATCHES {
        let mut batch = outlet.blank();
        fill(&mut batch);
        let began = now();
        let sent = outlet.send(Nanos(at), batch);
        sends.push(now() - began);
        ensure!(sent.is_ok(), "an empty edge refused a batch");
        let records = loop {
            match take(inlet) {
                0 => wait(),
                n => break n,
            }
        };
        ensure!(records == RECORDS as u64, "{records} records came back");
    }
    Ok(median(sends))
}

/// Through a chain of one stage that `engine` turns.
fn rung(engine: Engines) -> Result<(u64, Spent)> {
    let mut chain = Chain::new(EdgeCapacity::DEFAULT, Arc::new(NoVerdicts));
    let (mut outlet, inlet) = chain.edge::<Batch>();
    let place = Place { fresh: Box::new(Pass::default), tick_every: TICK, hook: None };
    let (mut answers, _remote) = chain.link(inlet, place);
    let asking = std::thread::current();
    answers.view().set_data_bell(Box::new(move || asking.unpark()));
    let mut engine = Engine::start(engine, vec![chain], |_, _| 0)?;
    let (sending, spent) = measure(|| ask(&mut outlet, &mut answers, || std::thread::park_timeout(PATIENCE)));
    drop(outlet);
    engine.wait(Some(Duration::from_secs(10)))?;
    ensure!(engine.join(), "the stage's thread fell over");
    Ok((sending?, spent))
}

fn actor() -> Result<(u64, Spent)> {
    rung(Engines::Actors)
}

fn fused() -> Result<(u64, Spent)> {
    rung(Engines::Fused)
}

/// The same between two threads that never sleep.
fn no_bell() -> Result<(u64, Spent)> {
    let (mut outlet, mut inlet) = edge::<Batch>(EdgeCapacity::DEFAULT);
    let (mut back, mut answers) = edge::<Batch>(EdgeCapacity::DEFAULT);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while !inlet.is_finished() {
                match inlet.take() {
                    // There is room: one batch is under way at a time.
                    Some((at, batch)) => drop(back.send(at, batch)),
                    None => std::thread::yield_now(),
                }
            }
        });
        let (sending, spent) = measure(|| ask(&mut outlet, &mut answers, std::thread::yield_now));
        drop(outlet);
        Ok((sending?, spent))
    })
}

/// A way of handing batches on: its name, and how to take a round of it.
type Way = (&'static str, fn() -> Result<(u64, Spent)>);

#[expect(clippy::cast_precision_loss, reason = "printed with one digit")]
fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    let ways: [Way; 3] =
        [("no bell, both look", no_bell), ("fused loop, an unpark", fused), ("stage actor, a doorbell", actor)];
    let mut taken = ways.map(|_| (vec![], vec![], vec![]));
    for round in 0..=rounds {
        for ((name, way), (sending, cpu, wall)) in ways.iter().zip(&mut taken) {
            let (send, spent) = way().with_context(|| (*name).to_owned())?;
            if round > 0 {
                sending.push(send);
                cpu.push(spent.cpu);
                wall.push(spent.wall);
            }
        }
    }
    println!("{:24} {:>12} {:>14} {:>14}", "", "sending, ns", "cpu ns/batch", "wall ns/batch");
    for ((name, _), (sending, cpu, wall)) in ways.iter().zip(taken) {
        let each = |ns| median(ns) as f64 / BATCHES as f64;
        println!("{name:24} {:>12} {:>14.1} {:>14.1}", median(sending), each(cpu), each(wall));
    }
    Ok(())
}
