//! The contract that all nine stages keep.
//!
//! A stage takes one batch and fills one batch, synchronously. It owns no thread, queue or clock. What it does not pass
//! on it counts, with a reason out of a closed list that is also the metric's label, in its [`Ledger`]:
//!
//! **Invariant:** `taken = passed + held + rejected`, at every return.
//!
//! Life cycle: `process` any number of times, `tick` at least once a second while running, `drain` once at the end, after
//! which `held` is zero.

use crate::abi::Verdict;
use crate::time::Nanos;

/// A container that travels on an edge and is used again.
pub trait Batch: Default + Send + 'static {
    /// Records in it.
    fn len(&self) -> usize;

    /// True without records.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes it empty, keeping its memory, and lets go of any lease it holds.
    fn recycle(&mut self);

    /// What the kernel should know of the connections in it. The runner hands them on before it passes the batch on.
    fn verdicts(&self) -> &[Verdict];
}

/// The batch of everything that owns its bytes.
impl<T: Send + 'static> Batch for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn recycle(&mut self) {
        clear(self);
    }

    fn verdicts(&self) -> &[Verdict] {
        &[]
    }
}

/// Items that an empty batch keeps memory for; one that grew beyond gives the rest back.
pub const KEPT_ITEMS: usize = 4_096;

/// Empties `items`, keeping memory for at most [`KEPT_ITEMS`].
pub fn clear<T>(items: &mut Vec<T>) {
    items.clear();
    items.shrink_to(KEPT_ITEMS);
}

/// The closed list of reasons for which a stage does not pass a record on. Use [`reasons!`](crate::reasons).
pub trait Reason: Copy + Send + 'static {
    /// All labels, in the order of the indices.
    const LABELS: &'static [&'static str];

    /// Position in `LABELS`.
    fn index(self) -> usize;
}

/// Declares an enum of reject reasons, its metric labels and its [`Reason`] implementation.
#[macro_export]
macro_rules! reasons {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident => $label:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name { $($(#[$vmeta])* $variant),* }

        impl $crate::stage::Reason for $name {
            const LABELS: &'static [&'static str] = &[$($label),*];
            fn index(self) -> usize { self as usize }
        }
    };
}

/// Most reasons a stage can have.
pub const MAX_REASONS: usize = 12;

/// What a stage did with what it was given. Plain numbers: the runner publishes them after each turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ledger {
    /// Records taken from the input.
    pub taken: u64,
    /// Records whose content went on, in whatever form.
    pub passed: u64,
    /// Records kept for later.
    pub held: u64,
    /// Records not passed on, by [`Reason::index`].
    pub rejected: [u64; MAX_REASONS],
    /// Records put out (one input may give none or many).
    pub emitted: u64,
    labels: &'static [&'static str],
}

impl Ledger {
    /// An empty ledger for the reasons `R`.
    #[must_use]
    pub const fn new<R: Reason>() -> Self {
        const { assert!(R::LABELS.len() <= MAX_REASONS) };
        Self { taken: 0, passed: 0, held: 0, rejected: [0; MAX_REASONS], emitted: 0, labels: R::LABELS }
    }

    /// Counts `n` records not passed on because of `reason`. The caller has counted them as taken.
    pub fn reject<R: Reason>(&mut self, reason: R, n: u64) {
        debug_assert!(R::LABELS == self.labels, "a reason of another stage");
        if let Some(count) = self.rejected.get_mut(reason.index()) {
            *count += n;
        }
    }

    /// Rejected records of one reason.
    #[must_use]
    pub fn rejected_for<R: Reason>(&self, reason: R) -> u64 {
        self.rejected.get(reason.index()).copied().unwrap_or(0)
    }

    /// Label and count of each reason.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.labels.iter().copied().zip(self.rejected)
    }

    /// `taken = passed + held + rejected`.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.taken == self.passed + self.held + self.rejected.iter().sum::<u64>()
    }
}

/// One stage. No default bodies: a forgotten one must not compile.
pub trait Stage: Send + 'static {
    /// What it takes.
    type In: Batch;
    /// What it gives.
    type Out: Batch;

    /// Name in metrics, logs and thread names.
    const NAME: &'static str;

    /// Takes all of `input` (which is left to be recycled by the caller) and appends to `out`. Never fails: what cannot be
    /// passed on is counted.
    fn process(&mut self, now: Nanos, input: &mut Self::In, out: &mut Self::Out);

    /// Gives what time alone makes ready: time-outs, periodic publication, expiry.
    fn tick(&mut self, now: Nanos, out: &mut Self::Out);

    /// Gives everything held. Afterwards `held` is zero.
    fn drain(&mut self, now: Nanos, out: &mut Self::Out);

    /// What it did so far.
    fn ledger(&self) -> Ledger;
}
