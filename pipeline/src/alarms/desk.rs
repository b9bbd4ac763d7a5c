//! Where alarms are laid out: what the evaluator put there is read by the endpoint, the metrics and the receivers.
//!
//! Bounds: [`MAX_UNTOLD`] notices a receiver; the oldest goes first and is counted in its account.

use super::{Board, Notice};
use crate::export::{Account, Reason};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Most notices that wait for one receiver.
pub const MAX_UNTOLD: usize = 1_024;

/// The desk. Share it in an `Arc`.
#[derive(Debug, Default)]
pub struct Desk {
    board: ArcSwap<Board>,
    state_failures: AtomicU64,
}

impl Desk {
    /// What there is now.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        self.board.load_full()
    }

    /// What there is from now on.
    pub fn show(&self, board: Board) {
        let failures = self.state_failures.load(Ordering::Relaxed);
        self.board.store(Arc::new(Board { stats: super::Stats { state_failures: failures, ..board.stats }, ..board }));
    }

    /// The state could not be read or written.
    pub fn state_failed(&self) {
        self.state_failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one receiver is to be told yet.
#[derive(Debug)]
pub struct Outbox {
    /// What became of it.
    pub account: Arc<Account>,
    untold: Mutex<Untold>,
    wake: Notify,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Untold {
    /// Each with its number.
    notices: VecDeque<(u64, Notice)>,
    next: u64,
}

impl Outbox {
    /// Empty.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Self {
        Self { account, untold: Mutex::default(), wake: Notify::new(), ended: AtomicBool::new(false) }
    }

    /// Adds what there is to tell.
    pub fn push(&self, notices: impl IntoIterator<Item = Notice>) {
        let mut untold = self.untold.lock();
        for notice in notices {
            self.account.gathered(1);
            if untold.notices.len() >= MAX_UNTOLD {
                untold.notices.pop_front();
                self.account.undelivered(Reason::Overflow, 1);
            }
            let number = untold.next;
            untold.next += 1;
            untold.notices.push_back((number, notice));
        }
        drop(untold);
        self.wake.notify_one();
    }

    /// Returns when something was added since the last time.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The oldest ones, at most so many, and the number after the last of them.
    #[must_use]
    pub fn oldest(&self, most: usize) -> (Vec<Notice>, u64) {
        let untold = self.untold.lock();
        let taken: Vec<&(u64, Notice)> = untold.notices.iter().take(most).collect();
        let after = taken.last().map_or(0, |(number, _)| number + 1);
        (taken.into_iter().map(|(_, notice)| notice.clone()).collect(), after)
    }

    /// All before that number are done with: told, or refused.
    pub fn settle(&self, before: u64, refused: bool) {
        let mut untold = self.untold.lock();
        let mut settled = 0;
        while untold.notices.front().is_some_and(|(number, _)| *number < before) {
            untold.notices.pop_front();
            settled += 1;
        }
        if refused {
            self.account.undelivered(Reason::Refused, settled);
        } else {
            self.account.delivered(settled);
        }
    }

    /// All that is left, for another start.
    #[must_use]
    pub fn left(&self) -> Vec<Notice> {
        self.untold.lock().notices.iter().map(|(_, notice)| notice.clone()).collect()
    }

    /// Nothing more is sent; what is left is kept on disk, or not.
    pub fn end(&self, kept: bool) {
        if !kept {
            let left = std::mem::take(&mut self.untold.lock().notices);
            self.account.undelivered(Reason::Ended, left.len() as u64);
        }
        self.ended.store(true, Ordering::Release);
    }

    /// True after [`Self::end`].
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::Alarm;
    use std::collections::BTreeMap;

    fn notice(since_ms: u64) -> Notice {
        let none = String::new;
        let alarm = Alarm {
            name: none(),
            severity: none(),
            service: none(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            value: None,
            unit: None,
            since_ms,
            until_ms: None,
        };
        Notice { resolved: false, alarm }
    }

    #[test]
    fn the_oldest_goes_first_and_is_counted_once() {
        let outbox = Outbox::new(Arc::new(Account::new("test")));
        outbox.push((0..10).map(notice));
        let (sent, after) = outbox.oldest(5);
        assert_eq!(sent.iter().map(|one| one.alarm.since_ms).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        // While these were under way, three of them had to make room.
        outbox.push((10..MAX_UNTOLD as u64 + 3).map(notice));
        outbox.settle(after, false);
        let totals = outbox.account.totals();
        assert_eq!((totals.gathered, totals.delivered, totals.undelivered), (1_027, 2, [0, 3, 0, 0, 0, 0, 0]));
        assert_eq!(totals.pending, outbox.left().len() as u64);
        outbox.end(false);
        assert_eq!(outbox.account.totals().pending, 0);
    }
}
