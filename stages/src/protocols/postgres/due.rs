//! What the server owes: one entry for each request that waits for its answer, in order, runs of equal ones as one.

use super::MAX_DUE;
use std::collections::VecDeque;

/// How an answer is known to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A log-in: by `ReadyForQuery` or `ErrorResponse`.
    Startup,
    /// A wish for encryption: one byte.
    Encryption,
    /// By `ReadyForQuery`.
    Ready,
    /// An `Execute` that no `Sync` follows at once: by `CommandComplete` and the like.
    Execute,
    /// Other messages of an extended query, behind a `Flush`: by that many confirmations.
    Unit(u16),
    /// A `Sync` that is no request of its own: by `ReadyForQuery`, and nobody is told.
    Mark,
    /// A request of which the end was not seen: by `CommandComplete` and the like, or by `ReadyForQuery`.
    Cut,
}

impl Due {
    /// True if its answer ends in `ReadyForQuery`.
    pub(super) fn ends_batch(self) -> bool {
        matches!(self, Self::Startup | Self::Ready | Self::Mark)
    }
}

/// The entries. At most [`MAX_DUE`] runs.
#[derive(Debug, Default)]
pub(super) struct Queue {
    runs: VecDeque<(Due, u32)>,
    /// The bound was reached: nothing more is followed until all that is remembered was answered.
    blind: bool,
}

impl Queue {
    /// Adds one. False at the bound: its answer will not be followed.
    pub(super) fn push(&mut self, due: Due) -> bool {
        self.blind &= !self.runs.is_empty();
        let full = self.runs.len() >= MAX_DUE;
        match self.runs.back_mut() {
            Some((last, count)) if *last == due && *count < u32::MAX && !self.blind => *count += 1,
            _ if self.blind || full => {
                self.blind = true;
                return false;
            }
            _ => self.runs.push_back((due, 1)),
        }
        true
    }

    pub(super) fn front(&self) -> Option<Due> {
        self.runs.front().map(|(due, _)| *due)
    }

    pub(super) fn back(&self) -> Option<Due> {
        self.runs.back().map(|(due, _)| *due)
    }

    pub(super) fn pop(&mut self) -> Option<Due> {
        let (due, count) = self.runs.front_mut()?;
        let due = *due;
        *count -= 1;
        if *count == 0 {
            self.runs.pop_front();
        }
        Some(due)
    }

    /// The `Sync` of the `Execute` that came last: its answer ends with that of the `Sync`.
    pub(super) fn synced(&mut self) {
        if let Some((Due::Execute, count)) = self.runs.back_mut() {
            *count -= 1;
            if *count == 0 {
                self.runs.pop_back();
            }
            self.push(Due::Ready);
        }
    }

    /// One confirmation less is due of the unit in front. True if that was the last.
    pub(super) fn confirmed(&mut self) -> bool {
        match self.runs.front().copied() {
            Some((Due::Unit(left), count)) if left > 1 => {
                self.pop();
                if count > 0 {
                    self.runs.push_front((Due::Unit(left - 1), 1));
                }
                false
            }
            Some((Due::Unit(_), _)) => true,
            _ => false,
        }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.blind = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_over_runs() {
        let mut queue = Queue::default();
        for due in [Due::Execute, Due::Execute, Due::Execute, Due::Unit(2), Due::Unit(2)] {
            assert!(queue.push(due));
        }
        assert_eq!(queue.runs.len(), 2);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Due::Execute); 3]);
        assert!(!queue.confirmed());
        assert!(queue.confirmed());
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Due::Unit(1)), Some(Due::Unit(2)), None]);
    }

    #[test]
    fn the_last_execute_ends_with_its_sync() {
        let mut queue = Queue::default();
        queue.push(Due::Execute);
        queue.push(Due::Execute);
        queue.synced();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Due::Execute), Some(Due::Ready), None]);
    }

    #[test]
    fn at_the_bound_it_follows_no_more_until_all_is_answered() {
        let mut queue = Queue::default();
        for n in 0..MAX_DUE {
            assert!(queue.push(if n % 2 == 0 { Due::Ready } else { Due::Execute }));
        }
        assert!(!queue.push(Due::Ready));
        assert!(!queue.push(Due::Execute), "not even one like the last");
        while queue.pop().is_some() {
            assert!(queue.runs.is_empty() || !queue.push(Due::Ready));
        }
        assert!(queue.push(Due::Ready));
    }
}
