//! Alarms over synthetic histories of series.

use super::*;
use crate::registry::{Sample, Snapshot, Value};
use redtap_stages::flow::delta::Series;
use redtap_stages::metric::{MAX_BUCKETS, Metric, TABLE};
use redtap_stages::symbol::Interner;
use redtap_stages::time::Nanos;
use std::sync::Arc;

const SECOND: u64 = 1_000;

/// A series, its labels as text, and how far it has counted.
type Counted = (Arc<Series>, Arc<str>, u64);

/// Series that are counted up by hand; by service, route and error.
#[derive(Default)]
struct World {
    series: BTreeMap<(String, String, String), Counted>,
}

impl World {
    fn serve(&mut self, service: &str, route: &str, error: &str, count: u64) {
        let key = (service.to_owned(), route.to_owned(), error.to_owned());
        let entry = self.series.entry(key).or_insert_with(|| {
            let mut interner = Interner::default();
            let mut labels =
                vec![("http.request.method", interner.intern("GET")), ("http.route", interner.intern(route))];
            if !error.is_empty() {
                labels.push(("error.type", interner.intern(error)));
            }
            let metric = Metric::HttpServerRequestDuration;
            let series = Series { metric, service: interner.intern(service), labels };
            (Arc::new(series), format!("{service}{route}{error}").into(), 0)
        });
        entry.2 += count;
    }

    fn gathered(&self) -> Gathered {
        let mut families: Vec<Vec<Sample>> = TABLE.iter().map(|_| Vec::new()).collect();
        for (series, labels, count) in self.series.values() {
            let mut buckets = [0; MAX_BUCKETS + 1];
            buckets[0] = *count;
            let value = Value::Histogram { buckets, sum: 0, count: *count };
            let (series, labels) = (Arc::clone(series), Arc::clone(labels));
            families[series.metric as usize].push(Sample {
                series,
                labels,
                created: Nanos::ZERO,
                value,
                exemplars: Vec::new(),
            });
        }
        Gathered { traffic: Snapshot { families, ..Snapshot::default() }, ..Gathered::default() }
    }
}

fn rule(fields: &[(&str, &str)]) -> Rule {
    let text = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Rule::read("Test", &text).unwrap().unwrap()
}

fn errors(per: &str) -> Rule {
    rule(&[
        ("kind", "error_ratio"),
        ("threshold", "10%"),
        ("window", "30s"),
        ("min_requests", "10"),
        ("for", "5s"),
        ("keep_firing_for", "5s"),
        ("per", per),
        ("labels.team", "web"),
    ])
}

/// Runs so many seconds, `each` before each evaluation; all notices, with the second.
fn run(
    evaluator: &mut Evaluator,
    world: &mut World,
    seconds: std::ops::Range<u64>,
    each: impl Fn(&mut World, u64),
) -> Vec<(u64, Notice)> {
    let mut all = Vec::new();
    for second in seconds {
        each(world, second);
        let notices = evaluator.evaluate(second * SECOND, &world.gathered());
        all.extend(notices.into_iter().map(|notice| (second, notice)));
    }
    all
}

#[test]
fn fires_after_its_time_and_resolves_when_the_window_has_passed() {
    let (mut evaluator, mut world) = (Evaluator::new(vec![errors("service")], BTreeMap::new()), World::default());
    let told = run(&mut evaluator, &mut world, 0..200, |world, second| {
        world.serve("shop", "/a", "", 10);
        world.serve("shop", "/a", "500", if (50..60).contains(&second) { 10 } else { 0 });
        world.serve("other", "/a", "", 10);
    });
    let told: Vec<(u64, bool, &str)> =
        told.iter().map(|(at, one)| (*at, one.resolved, one.alarm.service.as_str())).collect();
    // 10 errors a second among 300 requests of the window: above 10 % in the fourth second; as few again 27 s after the last.
    assert_eq!(told, [(58, false, "shop"), (92, true, "shop")]);
    let board = evaluator.board();
    assert_eq!((board.firing.len(), board.history.len()), (0, 1));
    let alarm = &board.history[0];
    assert_eq!((alarm.since_ms, alarm.until_ms), (58_000, Some(92_000)));
    assert_eq!(alarm.unit, Some(super::super::Unit::Ratio));
    let labels: Vec<(&str, &str)> = alarm.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let wanted =
        [("alertname", "Test"), ("kind", "http"), ("service_name", "shop"), ("severity", "warning"), ("team", "web")];
    assert_eq!(labels, wanted);
}

#[test]
fn of_endpoints_each_has_its_own_and_few_requests_are_no_reason() {
    let (mut evaluator, mut world) = (Evaluator::new(vec![errors("endpoint")], BTreeMap::new()), World::default());
    let told = run(&mut evaluator, &mut world, 0..60, |world, second| {
        world.serve("shop", "/good", "", 100);
        world.serve("shop", "/bad", "503", 1);
        world.serve("shop", "/rare", "503", u64::from(second % 20 == 0));
    });
    let endpoints: Vec<&str> = told.iter().map(|(_, one)| one.alarm.labels["endpoint"].as_str()).collect();
    assert_eq!(endpoints, ["/bad"]);
}

#[test]
fn silence_is_noticed_also_when_the_series_is_forgotten() {
    let silence =
        rule(&[("kind", "silence"), ("window", "20s"), ("over", "2m"), ("for", "0s"), ("keep_firing_for", "0s")]);
    let (mut evaluator, mut world) = (Evaluator::new(vec![silence], BTreeMap::new()), World::default());
    let told = run(&mut evaluator, &mut world, 0..100, |world, second| {
        if second < 30 {
            world.serve("shop", "/a", "", 5);
        } else if second == 60 {
            world.series.clear();
        }
    });
    assert_eq!(told.iter().map(|(at, one)| (*at, one.resolved)).collect::<Vec<_>>(), [(50, false)]);
}

#[test]
fn an_error_is_new_once_and_a_service_is_not() {
    let new = rule(&[
        ("kind", "new_error"),
        ("over", "30s"),
        ("min_requests", "3"),
        ("for", "0s"),
        ("keep_firing_for", "0s"),
    ]);
    let (mut evaluator, mut world) = (Evaluator::new(vec![new], BTreeMap::new()), World::default());
    let told = run(&mut evaluator, &mut world, 0..150, |world, second| {
        world.serve("shop", "/a", "", 1);
        world.serve("shop", "/a", "500", 1);
        if second >= 60 {
            world.serve("shop", "/a", "503", 1);
        }
        if second >= 100 {
            world.serve("young", "/a", "500", 1);
        }
    });
    let told: Vec<(u64, bool, &str)> =
        told.iter().map(|(at, one)| (*at, one.resolved, one.alarm.labels["error_type"].as_str())).collect();
    assert_eq!(told, [(62, false, "503"), (90, true, "503")]);
}

#[test]
fn a_restart_neither_repeats_nor_forgets() {
    let (mut first, mut world) = (Evaluator::new(vec![errors("service")], BTreeMap::new()), World::default());
    let failing = |world: &mut World, _| world.serve("shop", "/a", "500", 10);
    let told = run(&mut first, &mut world, 0..20, failing);
    assert_eq!(told.len(), 1);
    let text = serde_json::to_string(&first.kept()).unwrap();
    // Its counters begin anew.
    let mut world = World::default();
    let mut second = Evaluator::new(vec![errors("service")], BTreeMap::new());
    assert_eq!(second.restore(serde_json::from_str(&text).unwrap(), 25 * SECOND), []);
    assert_eq!(second.board().firing, first.board().firing, "shown at once");
    assert_eq!(run(&mut second, &mut world, 25..40, failing), []);
    // All is well, and the window of 30 s has not been seen yet: nothing is resolved too early.
    let told = run(&mut second, &mut world, 40..120, |world, _| world.serve("shop", "/a", "", 100));
    assert_eq!(told.iter().map(|(_, one)| one.resolved).collect::<Vec<_>>(), [true]);
    assert!(told[0].0 >= 55 + 5, "{}", told[0].0);
    // Of a rule that there is no more.
    let mut third = Evaluator::new(Vec::new(), BTreeMap::new());
    let told = third.restore(serde_json::from_str(&text).unwrap(), 30 * SECOND);
    assert_eq!(told.iter().map(|one| one.resolved).collect::<Vec<_>>(), [true]);
}

#[test]
fn more_groups_than_there_is_room_for_are_counted() {
    let (mut evaluator, mut world) = (Evaluator::new(vec![errors("service")], BTreeMap::new()), World::default());
    for number in 0..super::super::groups::MAX_GROUPS + 10 {
        world.serve(&format!("service-{number}"), "/", "", 1);
    }
    evaluator.evaluate(0, &world.gathered());
    let stats = evaluator.stats();
    assert_eq!((stats.groups, stats.groups_refused), (super::super::groups::MAX_GROUPS as u64, 10));
    // What nothing happens in any more makes room.
    world.series.clear();
    evaluator.evaluate(3_600 * SECOND, &world.gathered());
    assert_eq!(evaluator.stats().groups, 0);
}
