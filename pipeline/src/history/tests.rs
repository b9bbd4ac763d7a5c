//! Laws of the history as a whole: sums, bounds, what comes back.

use super::block::{BUCKETS, Gain, add};
use super::*;
use crate::registry::{Sample, Value};
use crate::reports::Range;
use proptest::prelude::*;
use redtap_stages::flow::delta::Series;
use redtap_stages::metric::Metric;
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A multiple of a minute.
const T0: i64 = 1_699_999_980;

fn series(names: &mut Interner, route: &str) -> Arc<Series> {
    let labels = vec![("http.route", names.intern(route)), ("http.response.status_code", names.intern("200"))];
    Arc::new(Series { metric: Metric::HttpServerRequestDuration, service: names.intern("shop"), labels })
}

fn sample(series: &Arc<Series>, created: u64, buckets: Gain) -> Sample {
    let value = Value::Histogram { buckets, sum: 0, count: buckets.iter().sum() };
    Sample {
        series: Arc::clone(series),
        labels: "service_name=\"shop\"".into(),
        created: Nanos(created),
        value,
        exemplars: Vec::new(),
    }
}

fn snapshot(samples: Vec<Sample>) -> Snapshot {
    Snapshot { families: vec![samples], ..Snapshot::default() }
}

fn one(at: usize, n: u64) -> Gain {
    let mut gain: Gain = [0; BUCKETS];
    gain[at] = n;
    gain
}

/// What the steps of one kind hold, by route.
fn held(history: &History, coarse: bool) -> BTreeMap<String, Gain> {
    let inner = history.inner.lock();
    let names = inner.dictionary.names();
    let tier = if coarse { &inner.coarse } else { &inner.fine };
    let mut sums = BTreeMap::new();
    for (id, gain) in tier.blocks.iter().flat_map(Block::entries) {
        let named = names[usize::try_from(id).unwrap()].as_ref().expect("a step names only what has a name");
        add(sums.entry(named.label("http.route").to_owned()).or_insert([0; BUCKETS]), &gain);
    }
    sums
}

/// What may happen between two recordings.
#[derive(Debug, Clone)]
enum Event {
    /// A series of some route gains.
    Gain(usize, usize, u64),
    /// The registry forgets it; it may come back, from zero.
    Expire(usize),
    /// The agent does not record for so many steps.
    Pause(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..6_usize, 0..BUCKETS, 1..1_000_u64).prop_map(|(route, bucket, n)| Event::Gain(route, bucket, n)),
        1 => (0..6_usize).prop_map(Event::Expire),
        1 => (1..30_i64).prop_map(Event::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_sums_are_what_the_counters_gained(rounds in prop::collection::vec(prop::collection::vec(event(), 0..4), 1..60)) {
        let history = History::new(1 << 20);
        let mut names = Interner::with_capacity(100);
        let all: Vec<_> = (0..6).map(|route| series(&mut names, &route.to_string())).collect();
        let mut counters: Vec<Option<(u64, Gain)>> = vec![None; 6];
        let mut wanted: BTreeMap<String, Gain> = BTreeMap::new();
        let mut now = T0;
        for (round, events) in rounds.iter().enumerate() {
            let mut expired = Vec::new();
            for event in events {
                match event {
                    // What is gained and forgotten within one step, nobody saw.
                    Event::Gain(route, ..) if expired.contains(route) => {}
                    Event::Gain(route, bucket, n) => {
                        let created = u64::try_from(round).unwrap();
                        add(&mut counters[*route].get_or_insert((created, [0; BUCKETS])).1, &one(*bucket, *n));
                        add(wanted.entry(route.to_string()).or_insert([0; BUCKETS]), &one(*bucket, *n));
                    }
                    Event::Expire(route) => expired.push(*route),
                    Event::Pause(steps) => now += steps * i64::from(FINE),
                }
            }
            let samples = counters.iter().zip(&all).filter_map(|(counter, series)| {
                counter.map(|(created, buckets)| sample(series, created, buckets))
            });
            now += i64::from(FINE);
            history.record(now, &snapshot(samples.collect()));
            expired.into_iter().for_each(|route| counters[route] = None);
        }
        prop_assert_eq!(history.stats().dropped, 0);
        prop_assert_eq!(history.stats().refused, 0);
        // 60 rounds with pauses stay within an hour only sometimes; the day holds them all, once its last minute is over.
        history.record(now + 60, &Snapshot::default());
        history.record(now + 120, &Snapshot::default());
        prop_assert_eq!(held(&history, true), wanted);
    }

    #[test]
    fn memory_stays_within_its_bound(
        steps in prop::collection::vec((0..400_usize, 1..200_usize, 1..u64::MAX / 1_000_000), 1..60),
    ) {
        let history = History::new(1 << 20);
        let mut now = T0;
        for (first, count, n) in steps {
            let mut names = Interner::with_capacity(2_000);
            let samples = (first..first + count).map(|route| {
                let series = series(&mut names, &format!("/{}", "x".repeat(900 + route)));
                sample(&series, 0, [n; BUCKETS])
            });
            now += i64::from(FINE);
            history.record(now, &snapshot(samples.collect()));
            let stats = history.stats();
            prop_assert!(stats.bytes <= 1 << 20, "{stats:?}");
        }
        let inner = history.inner.lock();
        let cost = |tier: &Tier| tier.blocks.iter().map(Block::cost).sum::<usize>();
        prop_assert_eq!((inner.fine.cost, inner.coarse.cost), (cost(&inner.fine), cost(&inner.coarse)));
    }
}

#[test]
fn a_step_without_a_recording_is_not_a_step_without_requests() {
    let history = History::new(1 << 20);
    let mut names = Interner::with_capacity(10);
    let shop = series(&mut names, "/");
    let told = |now, n| history.record(now, &snapshot(vec![sample(&shop, 0, one(0, n))]));
    told(T0 + 5, 10);
    told(T0 + 10, 10);
    // The step from 10 to 15 is missed.
    told(T0 + 20, 30);
    assert_eq!(history.stats().missed, 1);
    let view = history.view(Range { from: T0, to: T0 + 25, step: 5 }).unwrap();
    let report = services::services(&view);
    let row = &report.services[0];
    assert_eq!(row.over_time.requests_per_second, [Some(2.0), Some(0.0), None, Some(4.0), None]);
    assert_eq!(row.over_time.error_ratio, [Some(0.0), None, None, Some(0.0), None]);
    let red = row.served.unwrap();
    assert_eq!((red.requests, red.requests_per_second), (30.0, 2.0), "a second that was recorded");
}

#[test]
fn a_clock_that_is_set_back_drops_the_future_and_one_that_stands_loses_nothing() {
    let history = History::new(1 << 20);
    let mut names = Interner::with_capacity(10);
    let shop = series(&mut names, "/");
    let told = |now, n| history.record(now, &snapshot(vec![sample(&shop, 0, one(0, n))]));
    for step in 1..=24 {
        told(T0 + 5 * step, u64::try_from(step).unwrap());
    }
    told(T0 + 121, 100);
    assert_eq!(history.stats().recordings, 24, "the step is there already");
    told(T0 + 65, 107);
    // Of the second minute, twelve fine steps and the minute itself.
    assert_eq!(history.stats().dropped, 13);
    assert_eq!(held(&history, false)["/"][0], 12 + 107 - 24);
    assert_eq!(held(&history, true)["/"][0], 12);
}

#[test]
fn is_saved_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let mut names = Interner::with_capacity(10);
    let (a, b) = (series(&mut names, "/a"), series(&mut names, "/b"));
    let history = History::new(1 << 20);
    assert!(!history.load(&path).unwrap());
    for step in 1..=30 {
        let n = u64::try_from(step).unwrap();
        history.record(T0 + 5 * step, &snapshot(vec![sample(&a, 0, one(1, n)), sample(&b, 0, one(2, 2 * n))]));
    }
    history.save(&path).unwrap();
    let again = History::new(1 << 20);
    assert!(again.load(&path).unwrap());
    assert_eq!((held(&again, false), held(&again, true)), (held(&history, false), held(&history, true)));
    // The agent started anew: its counters begin at zero.
    again.record(T0 + 600, &snapshot(vec![sample(&b, 9, one(2, 5))]));
    assert_eq!(held(&again, false)["/b"][2], 65);
    assert_eq!(again.stats().series, 2, "under the same name");
    std::fs::write(&path, b"redtap history\n\x01 and more").unwrap();
    let error = History::new(1 << 20).load(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{} is damaged: cut, or its checksum is another", path.display()));
}

#[test]
fn a_name_that_a_file_has_twice_is_one_series() {
    let named =
        || Some(Arc::new(series::Named::new(Metric::HttpServerRequestDuration, "shop", "", &[("http.route", "/")])));
    let fine = vec![Block::of(T0, [(0, one(0, 1)), (1, one(0, 2)), (2, one(0, 4))])];
    let kept = file::Kept { names: vec![named(), None, named()], fine, coarse: Vec::new() };
    let history = History::new(1 << 20);
    history.inner.lock().restore(kept);
    assert_eq!(held(&history, false), BTreeMap::from([("/".to_owned(), one(0, 5))]), "what has no name is left out");
}

#[test]
fn an_hour_is_kept_in_fine_steps_and_a_day_in_coarse_ones() {
    let history = History::new(16 << 20);
    let steps = 2 * 86_400 / i64::from(FINE);
    for step in 1..=steps {
        history.record(T0 + step * i64::from(FINE), &Snapshot::default());
    }
    let inner = history.inner.lock();
    assert_eq!((inner.fine.blocks.len(), inner.coarse.blocks.len()), (732, 1_440));
    assert_eq!(inner.stats.dropped, 0, "what is old is not dropped before its time");
}
