//! Single calls: tied together, the newest kept, all of them shown to who follows.
//!
//! One thread (`redtap-calls`) takes exchanges from the [`crate::tap`], ties them ([`tie`]) and keeps the newest ([`kept`]). While nobody follows
//! it is shown a part of them only ([`crate::tap::Sampling`]), so that it costs the same at any rate; a follower has it shown all. If none
//! are to be kept and nobody follows, it is not subscribed to the tap at all, and sleeps.
//! Life cycle: [`Calls::start`] -> running -> [`Calls::stop`], which puts out what is held and ends all followers.
//!
//! **Invariant:** nothing on the data path waits for this: what does not fit is lost and counted, and a call that may belong to a lost one
//! is not tied.
//!
//! Bounds: [`QUEUE`] batches from the tap, [`MAX_FOLLOWERS`] followers of [`FOLLOWED`] calls each, and those of the rooms. Metrics: none of its own;
//! [`Calls::counts`] is in `/api/v1/status`. Absent: HTTP, formats, anything on disk.

pub mod exemplars;
pub mod filter;
mod held;
pub mod ids;
pub mod kept;
pub mod opened;
pub mod process;
pub mod sockets;
pub mod tie;

use crate::clock;
use crate::tap::{Sampling, Subscription, Tap, TapError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use exemplars::Exemplars;
use filter::CallFilter;
use ids::Names;
use kept::Kept;
use parking_lot::Mutex;
use redtap_stages::flow::trace::SpanId;
use redtap_stages::time::Nanos;
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tie::{Call, Open, Tie, TieCounts};
use tokio::sync::mpsc;

/// Batches from the tap that may wait.
pub const QUEUE: usize = 64;
/// Who follows at a time.
pub const MAX_FOLLOWERS: usize = 16;
/// Calls that a follower may be behind.
pub const FOLLOWED: usize = 2_048;
/// Calls that one who follows all of them may be behind: twice as many as are held, which may all go out at once.
pub const FOLLOWED_ALL: usize = 2 * tie::MAX_HELD;
/// How often it is looked after what has changed for held calls; so many times less often with each [`MANY`] of them.
const LOOK: Nanos = Nanos::from_millis(20);
/// Calls of which it may be that something has changed for all, and whose look then takes about a tenth of that.
const MANY: usize = 1_024;
/// How often it is asked what is open, while something depends on that.
const ASK: Nanos = Nanos::from_millis(250);

/// Tells what is being answered.
pub trait Opened: Send + 'static {
    /// Asks. The answer comes later, or never.
    fn ask(&mut self);
    /// The answer to the last question, once, when it is there.
    fn answer(&mut self) -> Option<Open>;
}

/// What became of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallCounts {
    /// Taken from the tap.
    pub taken: u64,
    /// Not taken because nobody followed and there were many.
    pub sampled_out: u64,
    /// Lost because they came faster than they could be taken.
    pub lost: u64,
    /// Tied by what requests said.
    pub tied_said: u64,
    /// Tied by thread.
    pub tied_thread: u64,
    /// Tied by socket.
    pub tied_socket: u64,
    /// Not tied because more than one request might have been the cause.
    pub ambiguous: u64,
    /// Not tied because too many were held.
    pub crowded_out: u64,
    /// Held now.
    pub held: u64,
    /// Kept now.
    pub kept: u64,
    /// Memory of those, bytes.
    pub kept_bytes: u64,
    /// Followers now; one that is gone is noticed when it is next written to.
    pub followers: u64,
    /// Followers so far.
    pub followed: u64,
    /// Not shown to followers that were too slow.
    pub follower_left_out: u64,
}

/// Why nobody more can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// Too many.
    #[error("{MAX_FOLLOWERS} others follow already; try again later")]
    TooMany,
    /// It is being stopped.
    #[error("the agent is being stopped")]
    Stopped,
    /// The pipeline shows exchanges to too many.
    #[error(transparent)]
    Tap(#[from] TapError),
}

/// Calls as they are tied, those that are wanted.
#[derive(Debug)]
pub struct Followed {
    /// The calls; ends when the agent does.
    pub calls: mpsc::Receiver<Arc<Call>>,
    left_out: Arc<AtomicU64>,
    sampling: Arc<Sampling>,
}

impl Followed {
    /// Calls that did not fit since this was last asked.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.sampling.all.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Follower {
    filter: CallFilter,
    calls: mpsc::Sender<Arc<Call>>,
    left_out: Arc<AtomicU64>,
}

#[derive(Default)]
struct Followers {
    all: Vec<Follower>,
    /// Where the thread waits for a subscription, while nobody wants calls.
    asleep: Option<Sender<Subscription>>,
}

/// What the thread and those who ask share.
struct Shared {
    kept: Mutex<Kept>,
    followers: Mutex<Followers>,
    sampling: Arc<Sampling>,
    counts: Mutex<CallCounts>,
    followed: AtomicU64,
    left_out: AtomicU64,
    /// Of subscriptions that have ended, and of all.
    lost: AtomicU64,
    stop: AtomicBool,
}

/// The calls.
pub struct Calls {
    shared: Arc<Shared>,
    tap: Arc<Tap>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Calls {
    /// Watches `tap` from a new thread, keeps the newest `keep`, and offers them as exemplars.
    ///
    /// # Errors
    /// The tap has no room, or the thread cannot be made.
    pub fn start(
        tap: &Arc<Tap>,
        keep: usize,
        opened: Option<Box<dyn Opened>>,
        exemplars: Option<Exemplars>,
    ) -> io::Result<Self> {
        let sampling = Arc::new(Sampling::default());
        let (sender, subscriptions) = crossbeam_channel::bounded(1);
        let mut followers = Followers { all: Vec::new(), asleep: Some(sender) };
        let keeps = keep > 0 || exemplars.is_some();
        if keeps {
            let subscription = tap.subscribe_to_part(QUEUE, Arc::clone(&sampling)).map_err(io::Error::other)?;
            followers.awake(subscription);
        }
        let wall_offset = clock::wall_offset_ns();
        let shared = Arc::new(Shared {
            kept: Mutex::new(Kept::new(keep)),
            followers: Mutex::new(followers),
            sampling,
            counts: Mutex::default(),
            followed: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let started = clock::monotonic().0.saturating_add_signed(wall_offset);
        let mut watch = Watch {
            shared: Arc::clone(&shared),
            tie: Tie::new(Names::new(Nanos(started))),
            keeps,
            before: 0,
            opened,
            exemplars,
            stopping: None,
            looked: Nanos::ZERO,
            asked: Nanos::ZERO,
            told: 0,
            out: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("redtap-calls".to_owned()).spawn(move || watch.run(subscriptions))?;
        Ok(Self { shared, tap: Arc::clone(tap), thread: Mutex::new(Some(thread)) })
    }

    /// What to add to the times of calls to get nanoseconds since the epoch, as of now: it changes with the wall clock and with each
    /// suspend.
    #[must_use]
    pub fn wall_offset(&self) -> i64 {
        clock::wall_offset_ns()
    }

    /// The newest calls that are wanted and still kept, newest last.
    #[must_use]
    pub fn newest(&self, filter: &CallFilter, limit: usize) -> Vec<Arc<Call>> {
        self.shared.kept.lock().newest(filter, limit)
    }

    /// A call that is still kept, and all kept ones of its trace.
    #[must_use]
    pub fn tree(&self, span: SpanId) -> Option<(Arc<Call>, Vec<Arc<Call>>)> {
        self.shared.kept.lock().tree(span)
    }

    /// Begins to follow.
    ///
    /// # Errors
    /// Too many do, or everything is being stopped.
    pub fn follow(&self, filter: CallFilter) -> Result<Followed, FollowError> {
        self.follow_within(filter, FOLLOWED)
    }

    /// Begins to follow all calls.
    ///
    /// # Errors
    /// As [`Self::follow`].
    pub fn follow_all(&self) -> Result<Followed, FollowError> {
        self.follow_within(CallFilter::default(), FOLLOWED_ALL)
    }

    fn follow_within(&self, filter: CallFilter, room: usize) -> Result<Followed, FollowError> {
        let mut followers = self.shared.followers.lock();
        if self.shared.stop.load(Ordering::Acquire) {
            return Err(FollowError::Stopped);
        }
        followers.all.retain(|one| !one.calls.is_closed());
        if followers.all.len() >= MAX_FOLLOWERS {
            return Err(FollowError::TooMany);
        }
        if followers.asleep.is_some() {
            // Here, so that nothing is missed that comes after this has returned.
            followers.awake(self.tap.subscribe_to_part(QUEUE, Arc::clone(&self.shared.sampling))?);
        }
        let (calls, receiver) = mpsc::channel(room);
        let left_out = Arc::new(AtomicU64::new(0));
        followers.all.push(Follower { filter, calls, left_out: Arc::clone(&left_out) });
        let sampling = Arc::clone(&self.shared.sampling);
        sampling.all.fetch_add(1, Ordering::Relaxed);
        self.shared.followed.fetch_add(1, Ordering::Relaxed);
        Ok(Followed { calls: receiver, left_out, sampling })
    }

    /// What became of calls so far.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        let (kept, bytes) = self.shared.kept.lock().size();
        CallCounts {
            sampled_out: self.shared.sampling.left_out.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
            kept: kept as u64,
            kept_bytes: bytes as u64,
            followers: self.shared.followers.lock().all.iter().filter(|one| !one.calls.is_closed()).count() as u64,
            followed: self.shared.followed.load(Ordering::Relaxed),
            follower_left_out: self.shared.left_out.load(Ordering::Relaxed),
            ..*self.shared.counts.lock()
        }
    }

    /// Puts out what is held, ends all followers and the thread.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        // Who sleeps finds that nothing comes any more.
        self.shared.followers.lock().asleep = None;
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl Followers {
    /// Gives the thread, which waits for it, something to do.
    fn awake(&mut self, subscription: Subscription) {
        if let Some(sleeper) = self.asleep.take() {
            // There is room for the one that it waits for. If the thread is gone, the subscription goes too.
            let _ = sleeper.try_send(subscription);
        }
    }
}

/// When a process was started, in ticks since the start of the system (proc(5), the 22nd field of `stat`); `None` if it is gone.
fn birth(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in brackets, which may contain anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// The thread.
struct Watch {
    shared: Arc<Shared>,
    tie: Tie,
    opened: Option<Box<dyn Opened>>,
    /// Calls are wanted even if nobody follows.
    keeps: bool,
    exemplars: Option<Exemplars>,
    /// When it was first seen that it is to stop.
    stopping: Option<Nanos>,
    looked: Nanos,
    asked: Nanos,
    /// Exchanges that were known to be missing.
    told: u64,
    /// Exchanges lost by subscriptions before this one.
    before: u64,
    out: Vec<Call>,
}

impl Watch {
    fn run(&mut self, mut subscriptions: Receiver<Subscription>) {
        while let Ok(subscription) = subscriptions.recv() {
            // What went by meanwhile nobody knows.
            self.tie.missed(clock::monotonic());
            let Some(next) = self.watch(subscription) else { break };
            subscriptions = next;
        }
        self.shared.stop.store(true, Ordering::Release);
        self.shared.followers.lock().all.clear();
    }

    /// Until the end (none), or until nobody wants calls: then the next subscription comes through what is given back.
    fn watch(&mut self, subscription: Subscription) -> Option<Receiver<Subscription>> {
        loop {
            let ended = match subscription.next(Duration::from_nanos(LOOK.0)) {
                Ok(batch) => {
                    let now = clock::monotonic();
                    for joined in batch {
                        let pid = joined.converged.exchange.conn.owner.pid;
                        if self.tie.wants_birth(pid, now)
                            && let Some(at) = birth(pid)
                        {
                            self.tie.born(pid, at, now);
                        }
                        self.tie.take(joined, now, &mut self.out);
                    }
                    // What is queued is taken to its end; where more and more comes, not for ever.
                    self.shared.stop.load(Ordering::Acquire)
                        && now.since(*self.stopping.get_or_insert(now)) >= Nanos::SECOND
                }
                Err(RecvTimeoutError::Timeout) => self.shared.stop.load(Ordering::Acquire),
                Err(RecvTimeoutError::Disconnected) => true,
            };
            let now = clock::monotonic();
            let lost = self.before + subscription.lost();
            self.shared.lost.store(lost, Ordering::Relaxed);
            let missing = lost + self.shared.sampling.left_out.load(Ordering::Relaxed);
            if missing > self.told {
                self.told = missing;
                self.tie.missed(now);
            }
            let asleep = if ended { None } else { self.sleep() };
            if ended || asleep.is_some() {
                self.tie.drain(now, &mut self.out);
            } else if now.since(self.looked).0 / LOOK.0 > (self.tie.held() / MANY) as u64 {
                self.looked = now;
                self.look(now);
            }
            if let Some(exemplars) = &mut self.exemplars {
                if !self.out.is_empty() {
                    exemplars.take(now, self.out.iter(), clock::wall_offset_ns());
                }
                exemplars.offer(now, ended);
            }
            self.hand_out();
            if ended {
                return None;
            }
            if asleep.is_some() {
                self.before = lost;
                return asleep;
            }
        }
    }

    /// Whether to sleep, and then where the next subscription comes from.
    fn sleep(&self) -> Option<Receiver<Subscription>> {
        if self.keeps || self.shared.sampling.all.load(Ordering::Relaxed) > 0 {
            return None;
        }
        // One begins to follow only under the same lock.
        let mut followers = self.shared.followers.lock();
        if self.shared.sampling.all.load(Ordering::Relaxed) > 0 || self.shared.stop.load(Ordering::Acquire) {
            return None;
        }
        let (sender, subscriptions) = crossbeam_channel::bounded(1);
        followers.asleep = Some(sender);
        Some(subscriptions)
    }

    fn look(&mut self, now: Nanos) {
        if let Some(open) = self.opened.as_mut().and_then(|opened| opened.answer()) {
            self.tie.opened(open);
        }
        if self.tie.held() > 0 {
            self.tie.settle(now, &mut self.out);
        }
        if self.tie.held() > 0 && self.tie.wants_open() && now.since(self.asked) >= ASK {
            self.asked = now;
            self.opened.iter_mut().for_each(|opened| opened.ask());
        }
    }

    fn hand_out(&mut self) {
        let TieCounts { taken, said, thread, socket, ambiguous, crowded_out } = self.tie.counts();
        *self.shared.counts.lock() = CallCounts {
            taken,
            tied_said: said,
            tied_thread: thread,
            tied_socket: socket,
            ambiguous,
            crowded_out,
            held: self.tie.held() as u64,
            ..CallCounts::default()
        };
        if self.out.is_empty() {
            return;
        }
        let calls: Vec<_> = self.out.drain(..).map(Arc::new).collect();
        self.shared.followers.lock().all.retain(|one| {
            for call in calls.iter().filter(|call| one.filter.wants(call)) {
                match one.calls.try_send(Arc::clone(call)) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        one.left_out.fetch_add(1, Ordering::Relaxed);
                        self.shared.left_out.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return false,
                }
            }
            !one.calls.is_closed()
        });
        let mut kept = self.shared.kept.lock();
        calls.into_iter().for_each(|call| kept.push(call));
    }
}

#[cfg(test)]
mod tests;
