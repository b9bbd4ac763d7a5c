//! An edge: the single-producer, single-consumer queue of recycled batches between two stages.
//!
//! Batches travel one way through a lock-free ring of stated capacity; when the consumer is done with one it travels back,
//! empty, through a second ring and is filled again, so that a steady flow allocates nothing. Each batch carries a
//! stamp: the time up to which everything upstream has been seen. Time thus reaches a stage in order with its data
//! (see [`crate::runner`]).
//!
//! Neither end ever blocks. A full edge refuses, an empty one gives nothing, and the side that had to turn away says so
//! in a flag; the other side rings that side's [`Bell`] when it next makes progress, and only then: under load no bell
//! rings at all.
//!
//! **Invariant:** what is sent is taken, once, in order: `sent = taken + in flight`. An edge never drops a batch; what still
//! lies in it when the consumer is gone stays visible as in flight.
//!
//! Absent: actix, threads, waiting. Counters: batches and records sent and taken, refusals, batches made.

use redtap_stages::stage::Batch;
use redtap_stages::time::Nanos;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// Wakes whoever sleeps at the other end of an edge. Must not block; may be rung once too often.
pub type Bell = Box<dyn Fn() + Send + Sync>;

/// How many batches an edge holds: 1 to [`EdgeCapacity::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeCapacity(usize);

impl EdgeCapacity {
    /// The largest one, batches.
    pub const MAX: usize = 1024;
    /// Eight batches.
    pub const DEFAULT: Self = Self(8);

    /// A capacity of `batches`; `None` outside the bounds.
    #[must_use]
    pub const fn new(batches: usize) -> Option<Self> {
        if batches == 0 || batches > Self::MAX { None } else { Some(Self(batches)) }
    }

    /// In batches.
    #[must_use]
    pub const fn batches(self) -> usize {
        self.0
    }
}

impl Default for EdgeCapacity {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A new edge: the end that sends and the end that takes.
#[must_use]
pub fn edge<B: Batch>(capacity: EdgeCapacity) -> (Outlet<B>, Inlet<B>) {
    let (data_in, data_out) = RingBuffer::new(capacity.0);
    // Every batch of the edge is in the data ring, in the hands of one of the two ends, or here: it always fits.
    let (empty_in, empty_out) = RingBuffer::new(capacity.0 + 2);
    let shared = Arc::new(Shared { capacity: capacity.0, ..Shared::default() });
    let outlet = Outlet { data: data_in, empties: empty_out, shared: Arc::clone(&shared) };
    (outlet, Inlet { data: data_out, empties: empty_in, shared })
}

/// The sending end.
pub struct Outlet<B: Batch> {
    data: Producer<Stamped<B>>,
    empties: Consumer<B>,
    shared: Arc<Shared>,
}

/// The taking end.
pub struct Inlet<B: Batch> {
    data: Consumer<Stamped<B>>,
    empties: Producer<B>,
    shared: Arc<Shared>,
}

/// Looks at an edge from outside: numbers and bells. Cheap to clone.
#[derive(Clone)]
pub struct EdgeView(Arc<Shared>);

/// The numbers of an edge at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EdgeTotals {
    /// Batches it can hold.
    pub capacity: usize,
    /// Batches in it.
    pub depth: u64,
    /// Records in it.
    pub records_in_flight: u64,
    /// Batches sent so far.
    pub batches_sent: u64,
    /// Records sent so far.
    pub records_sent: u64,
    /// Records taken so far.
    pub records_taken: u64,
    /// Times that it was full when something was to be sent.
    pub refused: u64,
    /// Batches that had to be allocated, since none had come back.
    pub batches_made: u64,
}

struct Stamped<B> {
    at: Nanos,
    batch: B,
}

#[derive(Default)]
struct Shared {
    capacity: usize,
    /// The consumer found nothing and wants `data_bell` rung.
    consumer_sleeps: AtomicBool,
    /// The producer found no room and wants `space_bell` rung.
    producer_waits: AtomicBool,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
    data_bell: OnceLock<Bell>,
    space_bell: OnceLock<Bell>,
    // Each of these has one writer.
    batches_sent: AtomicU64,
    records_sent: AtomicU64,
    refused: AtomicU64,
    batches_made: AtomicU64,
    batches_taken: AtomicU64,
    records_taken: AtomicU64,
}

impl<B: Batch> Outlet<B> {
    /// An empty batch to fill: one that came back, else a new one.
    pub fn blank(&mut self) -> B {
        self.empties.pop().unwrap_or_else(|_| {
            add(&self.shared.batches_made, 1);
            B::default()
        })
    }

    /// Sends `batch`, which holds all that happened up to `at`.
    ///
    /// # Errors
    /// Gives the batch back when the edge is full, or when the other end [is gone](Self::is_closed). In the first case
    /// the space bell will ring once there is room.
    pub fn send(&mut self, at: Nanos, batch: B) -> Result<(), B> {
        if self.is_closed() || !self.find_room() {
            return Err(batch);
        }
        // Counted before it can be taken, so that an observer never sees more taken than sent.
        add(&self.shared.batches_sent, 1);
        add(&self.shared.records_sent, batch.len() as u64);
        if let Err(PushError::Full(stamped)) = self.data.push(Stamped { at, batch }) {
            debug_assert!(false, "room that was there can only be taken by this end");
            return Err(stamped.batch);
        }
        fence(Ordering::SeqCst);
        ring_if(&self.shared.consumer_sleeps, &self.shared.data_bell);
        Ok(())
    }

    /// True if a batch can be sent now. Stays true until this end sends.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.data.is_full()
    }

    /// The other end is gone: nothing sent will ever be taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.consumer_gone.load(Ordering::Acquire)
    }

    /// The view from outside.
    #[must_use]
    pub fn view(&self) -> EdgeView {
        EdgeView(Arc::clone(&self.shared))
    }

    /// As [`Self::has_room`], and if there is none, has the space bell rung once there is.
    pub(crate) fn find_room(&self) -> bool {
        if self.has_room() {
            return true;
        }
        // Say that we wait, then look again: without the second look, a consumer that made room between the first look
        // and the flag would never ring. The fence orders the flag before the look; `Inlet::take` has its twin.
        self.shared.producer_waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let found = self.has_room();
        if found {
            self.shared.producer_waits.store(false, Ordering::Relaxed);
        } else {
            add(&self.shared.refused, 1);
        }
        found
    }
}

impl<B: Batch> Inlet<B> {
    /// The next batch and its stamp. After `None` the data bell rings when something comes.
    pub fn take(&mut self) -> Option<(Nanos, B)> {
        let stamped = match self.data.pop() {
            Ok(stamped) => stamped,
            Err(_) => {
                // As in `Outlet::find_room`: flag, fence, second look.
                self.shared.consumer_sleeps.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                let stamped = self.data.pop().ok()?;
                self.shared.consumer_sleeps.store(false, Ordering::Relaxed);
                stamped
            }
        };
        add(&self.shared.batches_taken, 1);
        add(&self.shared.records_taken, stamped.batch.len() as u64);
        fence(Ordering::SeqCst);
        ring_if(&self.shared.producer_waits, &self.shared.space_bell);
        Some((stamped.at, stamped.batch))
    }

    /// Empties `batch` (which lets go of its lease) and sends its memory back to be used again.
    pub fn give_back(&mut self, mut batch: B) {
        batch.recycle();
        // Never full, see `edge`; and if the producer is gone the batch ends here.
        drop(self.empties.push(batch));
    }

    /// Nothing is left and nothing will come.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // In this order: what was sent before the producer left is seen by the second look.
        self.shared.producer_gone.load(Ordering::Acquire) && self.data.is_empty()
    }

    /// The view from outside.
    #[must_use]
    pub fn view(&self) -> EdgeView {
        EdgeView(Arc::clone(&self.shared))
    }
}

impl EdgeView {
    /// Sets what wakes the consumer. Only the first call counts; ring once after setting, for what came before.
    pub fn set_data_bell(&self, bell: Bell) {
        drop(self.0.data_bell.set(bell));
    }

    /// Sets what wakes the producer. Only the first call counts.
    pub fn set_space_bell(&self, bell: Bell) {
        drop(self.0.space_bell.set(bell));
    }

    /// The numbers now. Taken is read before sent, so that nothing in flight is ever negative.
    #[must_use]
    pub fn totals(&self) -> EdgeTotals {
        let shared = &self.0;
        let batches_taken = shared.batches_taken.load(Ordering::Acquire);
        let records_taken = shared.records_taken.load(Ordering::Acquire);
        let batches_sent = shared.batches_sent.load(Ordering::Acquire);
        let records_sent = shared.records_sent.load(Ordering::Acquire);
        EdgeTotals {
            capacity: shared.capacity,
            depth: batches_sent.saturating_sub(batches_taken),
            records_in_flight: records_sent.saturating_sub(records_taken),
            batches_sent,
            records_sent,
            records_taken,
            refused: shared.refused.load(Ordering::Relaxed),
            batches_made: shared.batches_made.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for EdgeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.totals().fmt(f)
    }
}

impl<B: Batch> fmt::Debug for Outlet<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outlet").field(&self.view()).finish()
    }
}

impl<B: Batch> fmt::Debug for Inlet<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inlet").field(&self.view()).finish()
    }
}

impl<B: Batch> Drop for Outlet<B> {
    fn drop(&mut self) {
        self.shared.producer_gone.store(true, Ordering::Release);
        ring(&self.shared.data_bell);
    }
}

impl<B: Batch> Drop for Inlet<B> {
    fn drop(&mut self) {
        self.shared.consumer_gone.store(true, Ordering::Release);
        ring(&self.shared.space_bell);
    }
}

/// Adds to a counter that only the caller writes: no read-modify-write is needed.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release);
}

fn ring_if(asked: &AtomicBool, bell: &OnceLock<Bell>) {
    if asked.load(Ordering::Relaxed) && asked.swap(false, Ordering::Relaxed) {
        ring(bell);
    }
}

fn ring(bell: &OnceLock<Bell>) {
    if let Some(bell) = bell.get() {
        bell();
    }
}
