//! Question: how many instructions does each stage take, and all nine in one loop?
//!
//! Instructions do not depend on what else the machine does, so they can be held against a committed number:
//! `cargo xtask instructions` runs this and compares with `benches/baseline.toml`. Recorded real events
//! ([`redtap_benches::alone`]): HTTP/1 (nginx, wrk, curl) and Redis (redis-benchmark, pipelines among them), both ends of each
//! connection. Under callgrind; only what the function of a benchmark does is counted, not what its argument took to make.

#![allow(missing_docs, reason = "the macros make items without")]
#![expect(clippy::disallowed_methods, reason = "the main of the macro ends with its exit code")]

use gungraun::{LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use redtap_benches::alone::{Alone, Recorded};
use redtap_benches::events::{Events, Mix};
use redtap_benches::floor::Floor;
use redtap_stages::stage::Stage;
use std::hint::black_box;

/// Rounds that are measured, behind the one that warms up.
const ROUNDS: u64 = 3;

#[expect(clippy::expect_used, reason = "the recording is part of the program")]
fn recorded(mix: Mix) -> Recorded {
    Recorded::load(mix, ROUNDS).expect("the committed recording")
}

/// A benchmark of one stage on both mixes.
macro_rules! stage {
    ($name:ident) => {
        #[library_benchmark]
        #[bench::http1(recorded(Mix::Http1).$name().warmed())]
        #[bench::redis(recorded(Mix::Redis).$name().warmed())]
        fn $name<S: Stage>(mut alone: Alone<S>) -> (usize, Alone<S>) {
            (black_box(alone.run()), alone)
        }
    };
}

stage!(decode);
stage!(identify);
stage!(parse);
stage!(pair);
stage!(filter);
stage!(converge);
stage!(join);
stage!(aggregate);
stage!(flush);

#[library_benchmark]
#[bench::http1(recorded(Mix::Http1).floor())]
#[bench::redis(recorded(Mix::Redis).floor())]
#[bench::all(recorded(Mix::All).floor())]
fn floor((mut floor, events): (Floor, Events)) -> (Floor, Events) {
    black_box(floor.feed::<false>(events.source()));
    (floor, events)
}

library_benchmark_group!(
    name = stages,
    benchmarks = [decode, identify, parse, pair, filter, converge, join, aggregate, flush, floor]
);

main!(config = LibraryBenchmarkConfig::default(), library_benchmark_groups = stages);
