//! The drain: one thread a shard that asks a source for batches and feeds them into the first edge.
//!
//! On a clock of [`POLL`], or of [`QUIET_POLL`] where nothing has happened for a while: the source is asked until it gives
//! no more, then waited for, so that what comes meanwhile comes together (the kernel wakes it early when its ring fills).
//! When the edge is full the batch in hand waits and the rest stays in the ring; nothing is ever dropped
//! here. When nothing happens, time is sent on alone every [`HEARTBEAT`], or [`QUIET_HEARTBEAT`], which is what moves time-outs and
//! publications downstream.
//!
//! Ends when it is told to stop and everything up to then is fed, or when the source ends: the edge closes, and the
//! stages finish one after another.
//!
//! A quiet shard costs 1 s / [`QUIET_POLL`] = 10 wake-ups a second here and 1 s / [`QUIET_HEARTBEAT`] = 5 in the actors.

use crate::edge::{EdgeView, Outlet};
use crate::source::{Filled, Lease, Source, SourceTotals};
use parking_lot::Mutex;
use redtap_stages::flow::event::EventBatch;
use redtap_stages::stage::Batch;
use redtap_stages::time::Nanos;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often an idle source is asked.
pub const POLL: Duration = Duration::from_millis(5);
/// How often a source is asked that had nothing for [`QUIET_POLLS`].
pub const QUIET_POLL: Duration = Duration::from_millis(100);
/// Polls in a row without a record after which a source counts as quiet: half a second.
pub const QUIET_POLLS: u32 = 100;
/// How often time is sent on when nothing happens.
pub const HEARTBEAT: Nanos = Nanos::from_millis(50);
/// The same of a quiet source: often enough for publications, which are the most frequent of what is due by time.
pub const QUIET_HEARTBEAT: Nanos = Nanos::from_millis(200);
/// How long the drain sleeps before a full edge, if nobody wakes it.
const FULL_EDGE_WAIT: Duration = Duration::from_millis(5);

/// The numbers of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainTotals {
    /// Those of its source.
    pub source: SourceTotals,
    /// Records fed into the first edge.
    pub fed: u64,
    /// Records that could not be fed, because the first stage was gone.
    pub unsendable: u64,
    /// Batches that found the edge full.
    pub blocked: u64,
    /// Times that it waited for the source.
    pub waits: u64,
    /// Up to when everything was fed.
    pub now: Nanos,
    /// The thread has ended: nothing more will be fed.
    pub ended: bool,
}

/// A running drain.
#[derive(Debug)]
pub struct Drain {
    stop: Arc<AtomicBool>,
    totals: Arc<Mutex<DrainTotals>>,
    thread: JoinHandle<()>,
}

impl Drain {
    /// Starts the thread of `shard`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(shard: usize, source: Box<dyn Source>, outlet: Outlet<EventBatch<Lease>>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let totals = Arc::new(Mutex::default());
        let view = outlet.view();
        let feeder = Feeder {
            source,
            outlet,
            stop: Arc::clone(&stop),
            published: Arc::clone(&totals),
            totals: DrainTotals::default(),
            idle_polls: 0,
        };
        let thread = thread::Builder::new().name(format!("redtap-drain-{shard}")).spawn(move || feeder.run())?;
        Self::wake_on_space(&view, &thread);
        Ok(Self { stop, totals, thread })
    }

    /// Asks it to feed what has happened so far and to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }

    /// The numbers now. Shared, so that they can be read after the end.
    #[must_use]
    pub fn totals(&self) -> Arc<Mutex<DrainTotals>> {
        Arc::clone(&self.totals)
    }

    /// Waits for the end; false if the thread panicked.
    #[must_use]
    pub fn join(self) -> bool {
        self.thread.join().is_ok()
    }

    fn wake_on_space(view: &EdgeView, thread: &JoinHandle<()>) {
        let drain = thread.thread().clone();
        view.set_space_bell(Box::new(move || drain.unpark()));
    }
}

struct Feeder {
    source: Box<dyn Source>,
    outlet: Outlet<EventBatch<Lease>>,
    stop: Arc<AtomicBool>,
    published: Arc<Mutex<DrainTotals>>,
    totals: DrainTotals,
    /// Polls in a row that gave nothing.
    idle_polls: u32,
}

impl Feeder {
    fn run(mut self) {
        let mut batch = self.outlet.blank();
        loop {
            if self.stop.load(Ordering::Acquire) {
                self.source.stop();
            }
            let (filled, wait) = match self.source.fill(&mut batch) {
                Filled::Records(now) | Filled::Time(now) => (Some(now), false),
                Filled::Nothing(now) => {
                    let beat = if self.idle_polls > QUIET_POLLS { QUIET_HEARTBEAT } else { HEARTBEAT };
                    let due = now.since(self.totals.now) >= beat;
                    (due.then_some(now), true)
                }
                Filled::End(now) => {
                    self.feed(now, batch);
                    break;
                }
            };
            if let Some(now) = filled {
                if !self.feed(now, batch) {
                    break;
                }
                batch = self.outlet.blank();
            }
            if wait {
                self.totals.waits += 1;
                self.publish();
                self.idle_polls = self.idle_polls.saturating_add(1);
                self.source.wait(if self.idle_polls > QUIET_POLLS { QUIET_POLL } else { POLL });
            }
        }
        self.totals.ended = true;
        self.publish();
    }

    /// Feeds one batch, however long that takes; false if nobody will ever take it.
    fn feed(&mut self, now: Nanos, mut batch: EventBatch<Lease>) -> bool {
        self.totals.now = now;
        let records = batch.len() as u64;
        if records > 0 {
            self.idle_polls = 0;
        }
        while let Err(back) = self.outlet.send(now, batch) {
            if self.outlet.is_closed() {
                self.totals.unsendable += records;
                return false;
            }
            self.totals.blocked += 1;
            self.publish();
            batch = back;
            thread::park_timeout(FULL_EDGE_WAIT);
        }
        self.totals.fed += records;
        true
    }

    fn publish(&mut self) {
        self.totals.source = self.source.totals();
        *self.published.lock() = self.totals;
    }
}
