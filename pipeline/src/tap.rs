//! A tap: lets others watch single exchanges after `join`, for as long as they like.
//!
//! A [`Subscription`] is a bounded queue of batches of clones. A *live* one loses what does not fit, and counts it:
//! watching must not slow the pipeline. A *complete* one makes the pipeline wait instead; it is for recordings, whose
//! events can wait. Without subscribers a tap costs one load a batch; a running agent has one
//! while calls are kept or followed: they are a sample unless somebody follows them.
//!
//! **Bounds:** [`MAX_SUBSCRIBERS`]; each queue [`MAX_QUEUE`] batches. Counter: exchanges lost, for each subscription.

mod sample;

pub use sample::{PLAIN, SPECIAL, Sampling};

use crate::edge::{Bell, Outlet};
use crate::runner::Exit;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use parking_lot::Mutex;
use redtap_stages::flow::joined::Joined;
use redtap_stages::time::Nanos;
use sample::Sample;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

/// Most subscriptions at a time, one tap.
pub const MAX_SUBSCRIBERS: usize = 8;
/// Most batches that a subscription can hold.
pub const MAX_QUEUE: usize = 1_024;

/// What happens when a subscription is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fullness {
    /// The subscriber misses exchanges.
    Lose,
    /// The pipeline waits for the subscriber.
    Wait,
}

/// Why there is no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// Too many.
    #[error("{MAX_SUBSCRIBERS} others are watching already")]
    TooMany,
    /// The queue would hold nothing or too much.
    #[error("a queue of {0} batches; it must hold 1 to {MAX_QUEUE}")]
    Queue(usize),
}

/// One subscriber's queue. Dropping it ends the subscription.
pub struct Subscription {
    queue: Receiver<Vec<Joined>>,
    lost: Arc<AtomicU64>,
    tap: Arc<Tap>,
}

/// Where subscribers and the pipeline meet.
#[derive(Default)]
pub struct Tap {
    subscribers: Mutex<Vec<Subscriber>>,
    count: AtomicUsize,
    /// The pipeline waits for a complete subscription and wants `bells` rung.
    waits: AtomicBool,
    /// Exits that show to it; when the last one is gone, so are the subscriptions.
    exits: AtomicUsize,
    closed: AtomicBool,
    bells: Mutex<Vec<Bell>>,
}

struct Subscriber {
    queue: Sender<Vec<Joined>>,
    lost: Arc<AtomicU64>,
    fullness: Fullness,
    /// Only a part is shown.
    sample: Option<Sample>,
}

impl Tap {
    /// Begins to watch: `queue` batches are kept until they are taken.
    ///
    /// # Errors
    /// When there are too many subscriptions, or `queue` is out of bounds.
    pub fn subscribe(self: &Arc<Self>, queue: usize, fullness: Fullness) -> Result<Subscription, TapError> {
        self.add(queue, fullness, None)
    }

    /// Begins to watch a part of the exchanges, as [`Sampling`] says; what does not fit is lost.
    ///
    /// # Errors
    /// As [`Self::subscribe`].
    pub fn subscribe_to_part(
        self: &Arc<Self>,
        queue: usize,
        sampling: Arc<Sampling>,
    ) -> Result<Subscription, TapError> {
        self.add(queue, Fullness::Lose, Some(Sample::new(sampling)))
    }

    fn add(
        self: &Arc<Self>,
        queue: usize,
        fullness: Fullness,
        sample: Option<Sample>,
    ) -> Result<Subscription, TapError> {
        if queue == 0 || queue > MAX_QUEUE {
            return Err(TapError::Queue(queue));
        }
        let mut subscribers = self.subscribers.lock();
        if subscribers.len() >= MAX_SUBSCRIBERS {
            return Err(TapError::TooMany);
        }
        let (sender, receiver) = crossbeam_channel::bounded(queue);
        let lost = Arc::new(AtomicU64::new(0));
        // A tap of a pipeline that has ended gives a subscription that ends at once.
        if !self.closed.load(Ordering::Acquire) {
            subscribers.push(Subscriber { queue: sender, lost: Arc::clone(&lost), fullness, sample });
            self.count.store(subscribers.len(), Ordering::Release);
        }
        Ok(Subscription { queue: receiver, lost, tap: Arc::clone(self) })
    }

    /// Subscriptions now.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Adds what wakes one of the pipelines that show to this tap.
    pub(crate) fn add_bell(&self, bell: Bell) {
        self.bells.lock().push(bell);
    }

    /// Offers a batch to all; false, and nobody has it, if one of them must be waited for.
    pub(crate) fn offer(&self, batch: &[Joined]) -> bool {
        let mut subscribers = self.subscribers.lock();
        let full = |all: &[Subscriber]| all.iter().any(|one| one.fullness == Fullness::Wait && one.queue.is_full());
        if full(&subscribers) {
            // Flag, fence, second look, as in `edge`.
            self.waits.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if full(&subscribers) {
                return false;
            }
            self.waits.store(false, Ordering::Relaxed);
        }
        subscribers.retain_mut(|one| {
            // One who has no room is not copied for.
            if one.queue.is_full() && one.sample.is_none() {
                one.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                return true;
            }
            let shown = one.sample.as_mut().map_or_else(|| batch.to_vec(), |sample| sample.pick(batch));
            if shown.is_empty() {
                return true;
            }
            let count = shown.len() as u64;
            match one.queue.try_send(shown) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    one.lost.fetch_add(count, Ordering::Relaxed);
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
        self.count.store(subscribers.len(), Ordering::Release);
        true
    }

    /// No more will come.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.subscribers.lock().clear();
        self.count.store(0, Ordering::Release);
    }

    fn taken(&self) {
        fence(Ordering::SeqCst);
        if self.waits.load(Ordering::Relaxed) && self.waits.swap(false, Ordering::Relaxed) {
            self.bells.lock().iter().for_each(|bell| bell());
        }
    }
}

impl Subscription {
    /// The next batch; waits at most `at_most`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Disconnected`] when all has been taken and no more will come.
    pub fn next(&self, at_most: Duration) -> Result<Vec<Joined>, RecvTimeoutError> {
        let batch = self.queue.recv_timeout(at_most)?;
        self.tap.taken();
        Ok(batch)
    }

    /// Exchanges that did not fit.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The queue itself is found disconnected by the next offer; one that waits for it must look now.
        self.queue = crossbeam_channel::never();
        self.tap.subscribers.lock().retain(|one| !Arc::ptr_eq(&one.lost, &self.lost));
        self.tap.count.store(self.tap.subscribers.lock().len(), Ordering::Release);
        self.tap.taken();
    }
}

/// The exit of `join`: shows every batch to the tap before it hands it on.
#[derive(Debug)]
pub struct Tapped {
    outlet: Outlet<Vec<Joined>>,
    tap: Arc<Tap>,
}

impl Tapped {
    /// Shows to `tap` what goes into `outlet`.
    #[must_use]
    pub fn new(outlet: Outlet<Vec<Joined>>, tap: Arc<Tap>) -> Self {
        tap.exits.fetch_add(1, Ordering::Relaxed);
        Self { outlet, tap }
    }
}

impl Exit<Vec<Joined>> for Tapped {
    fn blank(&mut self) -> Vec<Joined> {
        self.outlet.blank()
    }

    fn send(&mut self, at: Nanos, batch: Vec<Joined>) -> Result<(), Vec<Joined>> {
        let watched = !batch.is_empty() && self.tap.subscribers() > 0;
        // Room is looked for first: a batch must not be shown twice, and room that is there stays.
        if watched && (!self.outlet.find_room() || !self.tap.offer(&batch)) {
            return Err(batch);
        }
        self.outlet.send(at, batch)
    }

    fn is_closed(&self) -> bool {
        self.outlet.is_closed()
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        if self.tap.exits.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tap.close();
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("subscribers", &self.subscribers()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("waiting", &self.queue.len()).field("lost", &self.lost()).finish()
    }
}
