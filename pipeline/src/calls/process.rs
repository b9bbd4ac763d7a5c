//! What is known of one process: the requests that it answered lately, and whether its threads say who caused a call.
//!
//! A thread says it where each request has a thread to itself. That cannot be asked for, so it is learned, and unlearned for good:
//! - two requests of one thread at the same time (an event loop), an answer from another thread than the one that took the
//!   request in (goroutines, pools), or an answer to the process's own call that another thread takes in than sent it: threads are **shared**;
//! - `TRUST` requests that overlapped others, each with a thread to itself: threads are **exclusive**, until the contrary shows.
//!
//! Bounds: [`MAX_SERVED`] requests, [`MAX_STEPS`] answers. What falls out sooner than it should makes the time before it unknown, and nothing is tied there.

use redtap_stages::flow::exchange::Exchange;
use redtap_stages::flow::trace::{SpanId, TraceContext};
use redtap_stages::time::Nanos;
use std::collections::VecDeque;

/// Requests answered that are remembered.
pub const MAX_SERVED: usize = 2_048;
/// Answers to calls of which it is remembered who took them in.
pub const MAX_STEPS: usize = 256;
/// Overlapping requests on threads of their own after which threads are trusted.
const TRUST: u32 = 16;
/// Requests that a new one is compared with.
const COMPARED: usize = 64;
/// Calls after which a process that never answered any request is taken for one that only asks ...
const ONLY_ASKS: u32 = 16;
/// ... once it has been known for so long. An answer may come here later than the calls that were made for it: `join` may wait
/// for the other end ([`super::tie::LAG`]).
const ONLY_ASKS_AFTER: Nanos = Nanos::SECOND;

/// What the threads of a process say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Not known yet.
    Unknown,
    /// Each request has one to itself.
    Exclusive,
    /// They serve many requests at a time, or hand them over.
    Shared,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Which.
    pub span: SpanId,
    /// The thread that took it in.
    pub tid: u32,
    /// From its first byte.
    pub start: Nanos,
    /// To the last byte of its answer; of one that got none, until that was known.
    pub end: Nanos,
    /// It got one: its end is exact, and says something of threads.
    pub answered: bool,
    /// What it said.
    pub context: Option<TraceContext>,
}

impl Served {
    /// It was open at that moment.
    #[must_use]
    pub fn covers(&self, at: Nanos) -> bool {
        self.start <= at && at < self.end
    }
}

/// A thread that took in the answer to a call, and so went on with the request that caused the call.
#[derive(Debug, Clone, Copy)]
struct Step {
    request: SpanId,
    tid: u32,
    at: Nanos,
}

/// A process.
#[derive(Debug, Default)]
pub struct Process {
    served: VecDeque<Served>,
    shared: bool,
    overlapped: u32,
    asked: u32,
    answers: bool,
    /// Something that began before may be missing.
    missed: Nanos,
    /// Threads on which answers to calls that a request caused were taken in.
    steps: VecDeque<Step>,
    /// When it was started, in whatever unit that was said.
    born: Option<u64>,
    /// When it was first heard of.
    first: Option<Nanos>,
    /// When it was last heard of.
    pub last: Nanos,
}

impl Process {
    /// One of which nothing from before that moment is known.
    #[must_use]
    pub fn new(missed: Nanos) -> Self {
        Self { missed, ..Self::default() }
    }

    /// When it was started: at another time than was said before, it is another process.
    pub fn born(&mut self, at: u64) {
        if self.born.is_some_and(|before| before != at) {
            *self = Self::new(self.missed);
        }
        self.born = Some(at);
    }

    /// What its threads say.
    #[must_use]
    pub fn threads(&self) -> Threads {
        match (self.shared, self.overlapped >= TRUST) {
            (true, _) => Threads::Shared,
            (false, true) => Threads::Exclusive,
            (false, false) => Threads::Unknown,
        }
    }

    /// It asks often and has never answered anything: its calls are caused by nothing that can be seen.
    #[must_use]
    pub fn only_asks(&self, now: Nanos) -> bool {
        !self.answers && self.asked >= ONLY_ASKS && self.first.is_some_and(|first| now.since(first) >= ONLY_ASKS_AFTER)
    }

    /// It is heard of.
    pub fn heard(&mut self, now: Nanos) {
        self.first.get_or_insert(now);
        self.last = now;
    }

    /// Nothing that was open at that moment is missing, as far as is known.
    #[must_use]
    pub fn is_complete_since(&self, at: Nanos) -> bool {
        self.missed < at
    }

    /// It asked somebody.
    pub fn asks(&mut self, exchange: &Exchange) {
        self.asked = self.asked.saturating_add(1);
        self.shared |= handed_over(exchange);
    }

    /// It answered a request.
    pub fn serves(&mut self, exchange: &Exchange, span: SpanId, now: Nanos) {
        let tid = exchange.asked_by;
        let exact = exchange.end.or(exchange.answered);
        let (end, answered) = (exact.unwrap_or(now), exact.is_some() || exchange.one_way);
        self.answers = true;
        self.shared |= handed_over(exchange);
        let mut overlaps = false;
        for other in self.served.iter().rev().take(COMPARED) {
            let both = answered && other.answered && other.start < end && exchange.start < other.end;
            self.shared |= both && other.tid == tid && tid != 0;
            overlaps |= both && other.tid != tid;
        }
        let alone = tid != 0 && exchange.answered_by == tid;
        self.overlapped = self.overlapped.saturating_add(u32::from(overlaps && alone));
        if self.served.len() >= MAX_SERVED
            && let Some(oldest) = self.served.pop_front()
        {
            self.missed = self.missed.max(oldest.end);
        }
        let context = exchange.trace.as_deref().copied();
        self.served.push_back(Served { span, tid, start: exchange.start, end, answered, context });
    }

    /// A request caused this call.
    pub fn caused(&mut self, call: &Exchange, request: SpanId) {
        let Some(at) = call.end.or(call.answered).filter(|_| call.answered_by != 0) else { return };
        if self.steps.len() >= MAX_STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(Step { request, tid: call.answered_by, at });
    }

    /// That thread took in the answer to a call of this request before that moment: where work moves from thread to thread (goroutines),
    /// what waited for the answer goes on there.
    #[must_use]
    pub fn went_on(&self, request: SpanId, tid: u32, at: Nanos) -> bool {
        let is_one = |step: &Step| step.request == request && step.tid == tid && step.at <= at;
        tid != 0 && self.steps.iter().rev().any(is_one)
    }

    /// Requests that were open at that moment and are over.
    pub fn covering(&self, at: Nanos) -> impl Iterator<Item = &Served> {
        self.served.iter().filter(move |served| served.covers(at))
    }

    /// Forgets what ended before that.
    pub fn forget(&mut self, before: Nanos) {
        while self.served.front().is_some_and(|served| served.end < before) {
            self.served.pop_front();
        }
        while self.steps.front().is_some_and(|step| step.at < before) {
            self.steps.pop_front();
        }
    }
}

/// Another thread went on with it than began it.
fn handed_over(exchange: &Exchange) -> bool {
    exchange.asked_by != 0 && exchange.answered_by != 0 && exchange.asked_by != exchange.answered_by
}
