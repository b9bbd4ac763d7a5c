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

/// Like entries in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    due: Due,
    count: u32,
    /// The last of them is [`Due::Ready`] instead.
    synced: bool,
}

/// What was asked once the bound was reached.
#[derive(Debug, Clone, Copy)]
struct Beyond {
    last: Due,
    /// `ReadyForQuery` messages that will answer it.
    readies: u32,
}

impl Beyond {
    fn of(due: Due) -> Self {
        Self { last: due, readies: u32::from(due.ends_batch()) }
    }

    fn push(&mut self, due: Due) {
        self.last = due;
        self.readies = self.readies.saturating_add(u32::from(due.ends_batch()));
    }
}

/// The entries. At most [`MAX_DUE`] runs.
#[derive(Debug, Default)]
pub(super) struct Queue {
    runs: VecDeque<Run>,
    /// Confirmations that came of the unit in front.
    confirmed: u16,
    /// The bound was reached: nothing more is followed until all that was asked is answered.
    beyond: Option<Beyond>,
}

impl Queue {
    /// Adds one. False at the bound: its answer will not be followed.
    pub(super) fn push(&mut self, due: Due) -> bool {
        if let Some(beyond) = self.beyond.as_mut() {
            beyond.push(due);
            return false;
        }
        let full = self.runs.len() >= MAX_DUE;
        match self.runs.back_mut() {
            Some(last) if last.due == due && !last.synced && last.count < u32::MAX => last.count += 1,
            _ if full => {
                self.beyond = Some(Beyond::of(due));
                return false;
            }
            _ => self.runs.push_back(Run { due, count: 1, synced: false }),
        }
        true
    }

    pub(super) fn front(&self) -> Option<Due> {
        self.runs.front().map(|run| run.due)
    }

    /// What was asked last, followed or not.
    pub(super) fn back(&self) -> Option<Due> {
        match self.beyond {
            Some(beyond) => Some(beyond.last),
            None => self.runs.back().map(|run| if run.synced { Due::Ready } else { run.due }),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Due> {
        self.confirmed = 0;
        let run = self.runs.front_mut()?;
        let due = run.due;
        run.count -= 1;
        match run.count {
            0 => _ = self.runs.pop_front(),
            1 if run.synced => *run = Run { due: Due::Ready, count: 1, synced: false },
            _ => {}
        }
        Some(due)
    }

    /// The `Sync` of the `Execute` that came last: its answer ends with that of the `Sync`. Needs no
    /// room, because that request went out as one whose answer is followed.
    pub(super) fn synced(&mut self) {
        if self.back() != Some(Due::Execute) {
            return;
        }
        if let Some(beyond) = self.beyond.as_mut() {
            beyond.push(Due::Ready);
            return;
        }
        match self.runs.back_mut() {
            Some(run) if run.count > 1 => run.synced = true,
            _ => {
                self.runs.pop_back();
                self.push(Due::Ready);
            }
        }
    }

    /// One more confirmation came of the unit in front. True if that was the last.
    pub(super) fn confirmed(&mut self) -> bool {
        let Some(Due::Unit(replies)) = self.front() else { return false };
        self.confirmed = self.confirmed.saturating_add(1);
        self.confirmed >= replies
    }

    /// True if requests went out that are not followed, and not all of them are known to be answered.
    pub(super) fn is_blind(&self) -> bool {
        self.beyond.is_some()
    }

    /// A `ReadyForQuery` came that answers nothing that is followed. What was asked behind the last `Sync` is not answered by it.
    pub(super) fn ready_beyond(&mut self) {
        self.beyond = match self.beyond {
            Some(Beyond { last, readies }) if readies > 1 || readies == 1 && !last.ends_batch() => {
                Some(Beyond { last, readies: readies - 1 })
            }
            _ => None,
        };
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        (self.confirmed, self.beyond) = (0, None);
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
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Due::Unit(2)), Some(Due::Unit(2)), None]);
    }

    #[test]
    fn the_last_execute_ends_with_its_sync() {
        let mut queue = Queue::default();
        queue.push(Due::Execute);
        queue.push(Due::Execute);
        queue.synced();
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(Due::Execute), Some(Due::Ready), None]);
    }

    /// At the bound; the last run is of `last` entries.
    fn full(last: Due, count: u32) -> Queue {
        let mut queue = Queue::default();
        for n in 1..MAX_DUE {
            assert!(queue.push(if n % 2 == 0 { Due::Ready } else { Due::Mark }));
        }
        (0..count).for_each(|_| assert!(queue.push(last)));
        assert_eq!(queue.runs.len(), MAX_DUE);
        queue
    }

    #[test]
    fn a_sync_finds_room_at_the_bound() {
        for count in 1..4 {
            let mut queue = full(Due::Execute, count);
            queue.synced();
            assert_eq!(queue.back(), Some(Due::Ready));
            assert!(!queue.is_blind());
            assert_eq!(queue.runs.len(), MAX_DUE);
            (1..MAX_DUE).for_each(|_| _ = queue.pop());
            (1..count).for_each(|_| assert_eq!(queue.pop(), Some(Due::Execute)));
            assert_eq!([queue.pop(), queue.pop()], [Some(Due::Ready), None]);
        }
    }

    #[test]
    fn a_confirmation_needs_no_room() {
        let mut queue = full(Due::Unit(2), 2);
        (1..MAX_DUE).for_each(|_| _ = queue.pop());
        assert_eq!([queue.confirmed(), queue.confirmed()], [false, true]);
        assert_eq!(queue.runs.len(), 1);
        queue.pop();
        assert!(!queue.confirmed(), "the next one waits for its own");
    }

    #[test]
    fn at_the_bound_it_follows_no_more_until_all_is_answered() {
        let mut queue = full(Due::Execute, 1);
        assert!(!queue.push(Due::Ready));
        assert!(!queue.push(Due::Execute), "not even one like the last");
        while queue.pop().is_some() {
            assert!(!queue.push(Due::Execute));
        }
        queue.ready_beyond();
        assert!(!queue.push(Due::Execute), "those behind the last sync are not answered");
        queue.synced();
        assert!(!queue.push(Due::Ready));
        queue.ready_beyond();
        assert!(!queue.push(Due::Mark));
        queue.ready_beyond();
        queue.ready_beyond();
        assert!(queue.push(Due::Ready), "three were due");
    }
}
