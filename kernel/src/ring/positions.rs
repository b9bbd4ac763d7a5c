//! Which stretches of the ring are lent out, and up to where they have all come back.
//!
//! One issuer takes tickets, in order; any thread gives them back, in any order. The consumer position moves only over
//! a prefix of returned stretches, so the kernel never writes into memory that somebody still reads. Lock-free: a
//! return is one swap, and whoever sees the oldest ticket returned moves the position on.
//!
//! Absent: memory maps and records (see [`super`]). The word that the kernel reads is the caller's: it is handed new
//! positions through a closure, so that the protocol runs unchanged under loom
//! (`RUSTFLAGS="--cfg loom" cargo test -p redtap-kernel --lib loom`).

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A place of the table whose stretch is still lent out. No stretch ends at position 0: each is at least a header long.
const LENT: u64 = 0;

/// Number of a lent stretch, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// The table of lent stretches: at most `N` at a time.
#[derive(Debug)]
pub(crate) struct Positions<const N: usize> {
    /// Tickets given out so far. Written by the issuer only.
    issued: AtomicU64,
    /// The oldest ticket that is not known to be back; `oldest <= issued <= oldest + N`.
    oldest: AtomicU64,
    /// By ticket modulo `N`: where the stretch ended, once it is back.
    ends: [AtomicU64; N],
}

impl<const N: usize> Positions<N> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self {
            issued: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            ends: std::array::from_fn(|_| AtomicU64::new(LENT)),
        }
    }

    /// Takes the next ticket; `None` while `N` are out. For one thread at a time (the ring is `&mut` there).
    pub(crate) fn issue(&self) -> Option<Ticket> {
        if self.is_full() {
            return None;
        }
        let ticket = self.issued.load(Ordering::Relaxed);
        self.place(ticket)?.store(LENT, Ordering::Relaxed);
        // Release: who sees the ticket issued sees its place cleared.
        self.issued.store(ticket.wrapping_add(1), Ordering::Release);
        Some(Ticket(ticket))
    }

    /// Whether `N` stretches are out. Only another thread's return can make it false, only the issuer true.
    pub(crate) fn is_full(&self) -> bool {
        // Acquire: the place of the next ticket was read for the last time before `oldest` passed its earlier user.
        let oldest = self.oldest.load(Ordering::Acquire);
        self.issued.load(Ordering::Relaxed).wrapping_sub(oldest) >= N as u64
    }

    /// Gives back `ticket`, whose stretch ended at `end`, and calls `publish` with every position that is now free to
    /// be passed. Calls of several threads may arrive out of order: `publish` keeps the maximum.
    pub(crate) fn give_back(&self, ticket: Ticket, end: u64, publish: impl Fn(u64)) {
        let Some(place) = self.place(ticket.0) else {
            return;
        };
        // AcqRel: what this thread read of the stretch comes before its position is passed, by whichever thread.
        place.swap(end, Ordering::AcqRel);
        // Two threads that return neighbours at once: without a full barrier each may miss the other's swap and both
        // leave the position where it was.
        fence(Ordering::SeqCst);
        self.advance(publish);
    }

    /// Stretches lent out or not yet passed.
    pub(crate) fn outstanding(&self) -> u64 {
        self.issued.load(Ordering::Relaxed).saturating_sub(self.oldest.load(Ordering::Relaxed))
    }

    fn advance(&self, publish: impl Fn(u64)) {
        // Ends: every round sees `oldest` one further, by this thread or another, and at most N tickets are out.
        loop {
            let oldest = self.oldest.load(Ordering::Acquire);
            if oldest >= self.issued.load(Ordering::Acquire) {
                return;
            }
            let Some(place) = self.place(oldest) else {
                return;
            };
            let end = place.load(Ordering::Acquire);
            if end == LENT {
                return;
            }
            // Tickets are never used twice: if `oldest` is still the same, the place was not given to a later ticket
            // in between, and `end` is this one's.
            let next = oldest.wrapping_add(1);
            if self.oldest.compare_exchange(oldest, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                publish(end);
            }
        }
    }

    fn place(&self, ticket: u64) -> Option<&AtomicU64> {
        let place = ticket.checked_rem(N as u64)?;
        self.ends.get(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn published(positions: &Positions<4>, ticket: Ticket, end: u64) -> Vec<u64> {
        let seen = Mutex::new(Vec::new());
        positions.give_back(ticket, end, |end| seen.lock().unwrap().push(end));
        seen.into_inner().unwrap()
    }

    #[test]
    fn moves_only_over_a_contiguous_returned_prefix() {
        let positions = Positions::<4>::new();
        let [a, b, c] = std::array::from_fn(|_| positions.issue().unwrap());
        assert_eq!(published(&positions, b, 20), []);
        assert_eq!(published(&positions, a, 10), [10, 20]);
        assert_eq!(positions.outstanding(), 1);
        assert_eq!(published(&positions, c, 30), [30]);
        assert_eq!(positions.outstanding(), 0);
    }

    #[test]
    fn refuses_a_ticket_while_the_table_is_full() {
        let positions = Positions::<4>::new();
        let tickets: [Ticket; 4] = std::array::from_fn(|_| positions.issue().unwrap());
        assert_eq!(positions.issue(), None);
        // The youngest back: the oldest still holds the table.
        assert_eq!(published(&positions, tickets[3], 40), []);
        assert_eq!(positions.issue(), None);
        assert_eq!(published(&positions, tickets[0], 10), [10]);
        assert!(positions.issue().is_some());
        assert_eq!(positions.issue(), None);
    }

    #[test]
    fn a_reused_place_is_not_taken_for_returned() {
        let positions = Positions::<1>::new();
        let ticket = positions.issue().unwrap();
        positions.give_back(ticket, 8, |_| ());
        let again = positions.issue().unwrap();
        positions.advance(|end| panic!("{end} published while lent"));
        assert_ne!(ticket, again);
        assert_eq!(positions.issue(), None);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A ring of two records of 8 bytes, with the kernel's part played by the model's main thread.
    struct Model {
        positions: Positions<2>,
        consumer: AtomicU64,
        memory: [UnsafeCell<u64>; 2],
    }

    impl Model {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                positions: Positions::new(),
                consumer: AtomicU64::new(0),
                memory: [UnsafeCell::new(1), UnsafeCell::new(2)],
            })
        }

        fn read_and_give_back(&self, ticket: Ticket, cell: usize) {
            let value = self.memory[cell].with(|p| {
                // SAFETY: loom's cell: a conflicting access fails the model instead.
                unsafe { *p }
            });
            assert_eq!(value, cell as u64 + 1, "overwritten while lent");
            self.positions.give_back(ticket, (cell as u64 + 1) * 8, |end| {
                self.consumer.fetch_max(end, Ordering::Release);
            });
        }

        /// What the kernel does before it writes a record over an old one: it looks at the consumer position (acquire).
        fn overwrite_what_is_free(&self) {
            let free = self.consumer.load(Ordering::Acquire);
            for cell in 0..2 {
                if free >= (cell as u64 + 1) * 8 {
                    self.memory[cell].with_mut(|p| {
                        // SAFETY: loom's cell: a conflicting access fails the model instead.
                        unsafe { *p = 99 }
                    });
                }
            }
        }
    }

    #[test]
    fn loom_two_threads_return_neighbours_while_the_kernel_writes() {
        loom::model(|| {
            let model = Model::new();
            let first = model.positions.issue().unwrap();
            let second = model.positions.issue().unwrap();
            let one = {
                let m = model.clone();
                thread::spawn(move || m.read_and_give_back(first, 0))
            };
            let two = {
                let m = model.clone();
                thread::spawn(move || m.read_and_give_back(second, 1))
            };
            model.overwrite_what_is_free();
            one.join().unwrap();
            two.join().unwrap();
            // Nobody may be left behind: both are back, so both are passed.
            assert_eq!(model.consumer.load(Ordering::Acquire), 16);
            assert_eq!(model.positions.outstanding(), 0);
        });
    }

    #[test]
    fn loom_the_issuer_reuses_a_place_while_another_thread_returns() {
        loom::model(|| {
            let positions = Arc::new(Positions::<1>::new());
            let consumer = Arc::new(AtomicU64::new(0));
            let first = positions.issue().unwrap();
            let returning = {
                let (positions, consumer) = (positions.clone(), consumer.clone());
                thread::spawn(move || {
                    positions.give_back(first, 8, |end| {
                        consumer.fetch_max(end, Ordering::Release);
                    });
                })
            };
            let second = positions.issue();
            let second_is_out = second.is_some();
            returning.join().unwrap();
            assert_eq!(consumer.load(Ordering::Acquire), 8, "a stretch that is still lent was passed");
            assert_eq!(positions.outstanding(), u64::from(second_is_out));
            if let Some(second) = second {
                positions.give_back(second, 16, |end| {
                    consumer.fetch_max(end, Ordering::Release);
                });
            }
            let expected = if second_is_out { 16 } else { 8 };
            assert_eq!(consumer.load(Ordering::Acquire), expected);
        });
    }
}
