//! The exit of `flush`: hands publications to the sink.
//!
//! A sink that panics costs the publication, which is counted, and nothing else. The exchanges in what is handed over
//! are counted here, where they leave the pipeline.

use crate::conservation::Delivered;
use crate::runner::Exit;
use parking_lot::Mutex;
use redtap_stages::flow::delta::{Delta, Gain, Publication};
use redtap_stages::metric::Metric;
use redtap_stages::time::Nanos;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Takes what the stages publish.
pub trait PublicationSink: Send + Sync {
    /// Takes one publication of `shard`. Called about once a second, and once at the end; must not block for long.
    fn publish(&self, shard: usize, publication: Publication);
}

/// Exchanges in a delta. Each is counted in the histogram of one series, besides the edges of the service graph.
pub(crate) fn exchanges(delta: &Delta) -> u64 {
    match (delta.series.metric, &delta.gain) {
        (
            Metric::ServiceGraphRequests
            | Metric::ServiceGraphFailed
            | Metric::ServiceGraphServer
            | Metric::ServiceGraphClient,
            _,
        )
        | (_, Gain::Count(_)) => 0,
        (_, Gain::Histogram(gain)) => gain.seen,
    }
}

/// Of the exchanges in a delta, those that stood for others as well, and how many others.
fn scaled(delta: &Delta) -> (u64, u64) {
    match &delta.gain {
        Gain::Histogram(gain) if exchanges(delta) > 0 => (gain.scaled, gain.count.saturating_sub(gain.seen)),
        Gain::Histogram(_) | Gain::Count(_) => (0, 0),
    }
}

/// What became of the publications.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<Mutex<Delivered>>);

impl Fate {
    pub(super) fn so_far(&self) -> Delivered {
        *self.0.lock()
    }
}

pub(super) struct Publications {
    shard: usize,
    sink: Arc<dyn PublicationSink>,
    spare: Vec<Publication>,
    fate: Fate,
}

impl Publications {
    pub(super) fn new(shard: usize, sink: Arc<dyn PublicationSink>) -> Self {
        Self { shard, sink, spare: Vec::new(), fate: Fate::default() }
    }

    pub(super) fn fate(&self) -> Fate {
        self.fate.clone()
    }
}

impl Exit<Vec<Publication>> for Publications {
    fn blank(&mut self) -> Vec<Publication> {
        std::mem::take(&mut self.spare)
    }

    fn send(&mut self, _: Nanos, mut batch: Vec<Publication>) -> Result<(), Vec<Publication>> {
        for publication in batch.drain(..) {
            let exchanges: u64 = publication.deltas.iter().map(exchanges).sum();
            let (scaled, extrapolated) =
                publication.deltas.iter().map(scaled).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            let publish = || self.sink.publish(self.shard, publication);
            let taken = catch_unwind(AssertUnwindSafe(publish)).is_ok();
            let mut fate = self.fate.0.lock();
            if taken {
                fate.exchanges += exchanges;
                fate.scaled += scaled;
                fate.extrapolated += extrapolated;
            } else {
                fate.lost += exchanges;
                fate.publications_lost += 1;
            }
        }
        self.spare = batch;
        Ok(())
    }

    fn is_closed(&self) -> bool {
        false
    }
}

impl fmt::Debug for Publications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publications").field("shard", &self.shard).finish_non_exhaustive()
    }
}
