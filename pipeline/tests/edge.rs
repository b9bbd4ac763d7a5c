//! The laws of an edge: nothing is lost, order is kept, memory comes back, and nobody sleeps through a change.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use proptest::prelude::*;
use redtap::edge::{EdgeCapacity, edge};
use redtap_stages::time::Nanos;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn capacity(batches: usize) -> EdgeCapacity {
    EdgeCapacity::new(batches).unwrap()
}

#[test]
fn refuses_a_capacity_of_nothing_or_of_too_much() {
    assert_eq!(EdgeCapacity::new(0), None);
    assert_eq!(EdgeCapacity::new(EdgeCapacity::MAX + 1), None);
    assert_eq!(EdgeCapacity::new(EdgeCapacity::MAX).map(EdgeCapacity::batches), Some(1024));
}

#[test]
fn gives_a_batch_back_when_it_is_full_and_takes_it_later() {
    let (mut outlet, mut inlet) = edge::<Vec<u32>>(capacity(2));
    outlet.send(Nanos(1), vec![1]).unwrap();
    outlet.send(Nanos(2), vec![2]).unwrap();
    assert!(!outlet.has_room());
    assert_eq!(outlet.send(Nanos(3), vec![3]), Err(vec![3]));
    assert_eq!(outlet.view().totals().refused, 1);
    assert_eq!(inlet.take(), Some((Nanos(1), vec![1])));
    outlet.send(Nanos(3), vec![3]).unwrap();
    assert_eq!(inlet.take(), Some((Nanos(2), vec![2])));
    assert_eq!(inlet.take(), Some((Nanos(3), vec![3])));
    assert_eq!(inlet.take(), None);
}

#[test]
fn uses_the_memory_of_a_batch_again() {
    let (mut outlet, mut inlet) = edge::<Vec<u64>>(capacity(4));
    let mut memory = None;
    for round in 0..100 {
        let mut batch = outlet.blank();
        batch.extend(0..200);
        let place = batch.as_ptr();
        assert_eq!(*memory.get_or_insert(place), place, "round {round} got other memory");
        outlet.send(Nanos(round), batch).unwrap();
        let (_, batch) = inlet.take().unwrap();
        inlet.give_back(batch);
    }
    assert_eq!(outlet.view().totals().batches_made, 1);
}

#[test]
fn makes_no_more_batches_than_it_has_places_and_hands() {
    let (mut outlet, mut inlet) = edge::<Vec<u32>>(capacity(3));
    for round in 0..50_u32 {
        let held = loop {
            let mut batch = outlet.blank();
            batch.push(round);
            if let Err(batch) = outlet.send(Nanos::ZERO, batch) {
                break batch;
            }
        };
        let (_, batch) = inlet.take().unwrap();
        inlet.give_back(batch);
        outlet.send(Nanos::ZERO, held).unwrap();
    }
    let made = outlet.view().totals().batches_made;
    assert!(made <= 5, "{made} batches for three places and two hands");
}

#[test]
fn tells_the_consumer_of_the_end_only_after_the_last_batch() {
    let (mut outlet, mut inlet) = edge::<Vec<u32>>(capacity(2));
    outlet.send(Nanos::ZERO, vec![7]).unwrap();
    assert!(!inlet.is_finished());
    drop(outlet);
    assert!(!inlet.is_finished(), "one batch is left");
    assert!(inlet.take().is_some());
    assert!(inlet.is_finished());
}

#[test]
fn refuses_what_nobody_will_take() {
    let (mut outlet, inlet) = edge::<Vec<u32>>(capacity(2));
    drop(inlet);
    assert!(outlet.is_closed());
    assert_eq!(outlet.send(Nanos::ZERO, vec![1]), Err(vec![1]));
}

#[test]
fn rings_only_who_was_turned_away() {
    let (mut outlet, mut inlet) = edge::<Vec<u32>>(capacity(1));
    let (data, space) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for (count, set) in [(&data, true), (&space, false)] {
        let count = Arc::clone(count);
        let bell: redtap::edge::Bell = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        if set { outlet.view().set_data_bell(bell) } else { outlet.view().set_space_bell(bell) }
    }
    let rung = || (data.load(Ordering::Relaxed), space.load(Ordering::Relaxed));

    outlet.send(Nanos::ZERO, vec![1]).unwrap();
    assert_eq!(rung(), (0, 0), "nobody had looked");
    inlet.take().unwrap();
    assert_eq!(rung(), (0, 0), "nobody waited for room");
    assert_eq!(inlet.take(), None);
    outlet.send(Nanos::ZERO, vec![2]).unwrap();
    assert_eq!(rung(), (1, 0), "the consumer had found nothing");
    assert!(outlet.send(Nanos::ZERO, vec![3]).is_err());
    inlet.take().unwrap();
    assert_eq!(rung(), (1, 1), "the producer had found no room");
    drop(outlet);
    assert_eq!(rung(), (2, 1), "the end is news");
}

/// Two threads that sleep whenever they are turned away and are woken by nothing but the bells: a lost wake-up hangs this
/// test, a lost or doubled batch fails it.
#[test]
fn nobody_sleeps_through_a_change() {
    const BATCHES: u32 = 200_000;
    for places in [1, 2, 8] {
        let (mut outlet, mut inlet) = edge::<Vec<u32>>(capacity(places));
        let view = outlet.view();
        let producer = thread::current();
        view.set_space_bell(Box::new(move || producer.unpark()));
        let consumer = thread::spawn(move || {
            let mut next = 0;
            loop {
                if let Some((at, batch)) = inlet.take() {
                    assert_eq!((at, batch.as_slice()), (Nanos(u64::from(next)), [next, next].as_slice()));
                    next += 1;
                    inlet.give_back(batch);
                } else if inlet.is_finished() {
                    return next;
                } else {
                    thread::park();
                }
            }
        });
        let waker = consumer.thread().clone();
        view.set_data_bell(Box::new(move || waker.unpark()));
        for number in 0..BATCHES {
            let mut batch = outlet.blank();
            batch.extend([number, number]);
            while let Err(back) = outlet.send(Nanos(u64::from(number)), batch) {
                batch = back;
                thread::park();
            }
        }
        drop(outlet);
        assert_eq!(consumer.join().unwrap(), BATCHES);
        let totals = view.totals();
        assert_eq!((totals.depth, totals.records_in_flight), (0, 0));
        assert_eq!(totals.records_taken, 2 * u64::from(BATCHES));
    }
}

proptest! {
    /// Any order of sends, takes and returns: what comes out is what went in, in order, and the numbers say so.
    #[test]
    fn behaves_as_a_bounded_queue(places in 1_usize..5, steps in prop::collection::vec(0_u8..3, 1..200)) {
        let (mut outlet, mut inlet) = edge::<Vec<u32>>(capacity(places));
        let (mut model, mut hands, mut sent, mut taken) = (VecDeque::new(), Vec::new(), 0_u32, 0_u64);
        for step in steps {
            match step {
                0 => {
                    let batch = vec![sent; sent as usize % 3];
                    match outlet.send(Nanos(u64::from(sent)), batch.clone()) {
                        Ok(()) => model.push_back((Nanos(u64::from(sent)), batch)),
                        Err(back) => {
                            prop_assert_eq!(back, batch);
                            prop_assert_eq!(model.len(), places);
                        }
                    }
                    sent += 1;
                }
                1 => {
                    let got = inlet.take();
                    prop_assert_eq!(&got, &model.pop_front());
                    if let Some((_, batch)) = got {
                        taken += batch.len() as u64;
                        hands.push(batch);
                    }
                }
                _ => if let Some(batch) = hands.pop() { inlet.give_back(batch) },
            }
            let totals = outlet.view().totals();
            prop_assert_eq!(totals.depth as usize, model.len());
            prop_assert_eq!(totals.records_taken, taken);
            prop_assert_eq!(totals.records_in_flight as usize, model.iter().map(|(_, batch)| batch.len()).sum::<usize>());
        }
    }
}
