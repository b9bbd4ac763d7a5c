//! Whole pipelines over recorded events, for the benchmarks that compare ways of running one.

use crate::events::{Events, Mix};
use anyhow::{Result, ensure};
use redtap::blueprint::Blueprint;
use redtap::runner::NoVerdicts;
use redtap::source::Source;
use redtap::tap::Tap;
use redtap::topology::{PublicationSink, Sinks, Topology};
use redtap_e2e::stopwatch::{Spent, measure};
use redtap_stages::flow::delta::Publication;
use std::sync::Arc;

/// Events in memory, about: 50 MB.
const EVENTS: usize = 230_000;
/// Measured rounds, unless told.
const ROUNDS: usize = 7;

/// Wants no publications.
#[derive(Debug)]
pub struct Discard;

impl PublicationSink for Discard {
    fn publish(&self, _: usize, publication: Publication) {
        std::hint::black_box(publication.deltas.len());
    }
}

/// Does `run` for each mix that the command line asks for: `[ROUNDS [http1|redis|all]]`.
///
/// # Errors
/// When the rounds are no number, or those of `run`.
pub fn for_each_mix(run: impl Fn(&Events, usize) -> Result<()>) -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(ROUNDS), |text| text.parse())?;
    let mixes = [("http1", Mix::Http1), ("redis", Mix::Redis), ("all", Mix::All)];
    let wanted = arguments.next();
    for (name, mix) in mixes.into_iter().filter(|(name, _)| wanted.as_deref().is_none_or(|wanted| wanted == *name)) {
        println!("\n== {name}");
        let once = Events::of(mix, 1)?.len();
        run(&Events::of(mix, (EVENTS / once.max(1)) as u64)?, rounds)?;
    }
    Ok(())
}

/// All events through a topology, a shard for each part; the exchanges that reached an `aggregate`, and what it took.
///
/// # Errors
/// When the topology does not start, or its sums do not balance.
pub fn topology(parts: &[Events], blueprint: Blueprint) -> Result<(u64, Spent)> {
    topology_shown(parts, blueprint, Arc::default(), Arc::new(Discard), || {})
}

/// The same, shown to `tap` and published to `sink`; `end` is what belongs to it once all events are through.
///
/// # Errors
/// As [`topology`].
pub fn topology_shown(
    parts: &[Events],
    blueprint: Blueprint,
    tap: Arc<Tap>,
    publications: Arc<dyn PublicationSink>,
    end: impl FnOnce(),
) -> Result<(u64, Spent)> {
    let plan = Blueprint { shards: parts.len(), ..blueprint }.check();
    let plan = plan.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let sources = parts.iter().map(|part| Box::new(part.source()) as Box<dyn Source>).collect();
    let (stopped, spent) = measure(|| -> Result<_> {
        let sinks = Sinks { publications, verdicts: Arc::new(NoVerdicts), tap };
        let stopped = Topology::start(plan, sources, sinks)?.wait();
        end();
        Ok(stopped)
    });
    let stopped = stopped?;
    let sums = stopped.conservation(None);
    ensure!(sums.settled && sums.balanced, "{sums:#?}");
    let stages = stopped.shards.iter().flat_map(|shard| &shard.stages);
    Ok((stages.filter(|stage| stage.name == "aggregate").map(|stage| stage.totals.taken).sum(), spent))
}
