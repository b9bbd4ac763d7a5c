//! The exit of `flush`: hands publications to the sink.
//!
//! A sink that panics costs the publication, which is counted, and nothing else.

use crate::runner::Exit;
use redtap_stages::flow::delta::Publication;
use redtap_stages::time::Nanos;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes what the stages publish.
pub trait PublicationSink: Send + Sync {
    /// Takes one publication of `shard`. Called about once a second, and once at the end; must not block for long.
    fn publish(&self, shard: usize, publication: Publication);
}

/// Publications that the sink did not survive.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost(Arc<AtomicU64>);

impl Lost {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(super) struct Publications {
    shard: usize,
    sink: Arc<dyn PublicationSink>,
    spare: Vec<Publication>,
    lost: Lost,
}

impl Publications {
    pub(super) fn new(shard: usize, sink: Arc<dyn PublicationSink>) -> Self {
        Self { shard, sink, spare: Vec::new(), lost: Lost::default() }
    }

    pub(super) fn lost(&self) -> Lost {
        self.lost.clone()
    }
}

impl Exit<Vec<Publication>> for Publications {
    fn blank(&mut self) -> Vec<Publication> {
        std::mem::take(&mut self.spare)
    }

    fn send(&mut self, _: Nanos, mut batch: Vec<Publication>) -> Result<(), Vec<Publication>> {
        for publication in batch.drain(..) {
            let publish = || self.sink.publish(self.shard, publication);
            if catch_unwind(AssertUnwindSafe(publish)).is_err() {
                self.lost.0.fetch_add(1, Ordering::Relaxed);
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
