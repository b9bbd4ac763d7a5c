//! What waits to be sent, of one signal: whole requests, encoded and compressed, oldest first.
//!
//! Life cycle: [`Outbox::put`] by who makes them, [`Outbox::next`] by who sends; [`Outbox::close`] when no more will come. What is
//! left when it is dropped was not sent because the agent ended.
//!
//! **Bounds:** bytes, as configured; past that the oldest that is not just being sent goes. Counted in the [`Account`]: every
//! item of a parcel is gathered when it is put, and delivered, refused or undelivered later, once.

use crate::export::{Account, Reason};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use tokio::sync::Notify;

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952.
    Gzip,
    /// Not.
    Identity,
}

impl Encoding {
    /// Encodes a whole body.
    pub(super) fn encode(self, body: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Identity => body,
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
                // Writing to memory does not fail.
                let _ = encoder.write_all(&body);
                encoder.finish().unwrap_or_default()
            }
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// As it is sent.
    pub(super) body: Bytes,
    /// Data points or spans in it.
    pub(super) items: u64,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Outbox {
    account: Arc<Account>,
    most: usize,
    waiting: RefCell<Waiting>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    closed: bool,
}

/// A parcel that is being sent. Dropped without a word, it was not sent because the agent ended.
#[derive(Debug)]
pub(super) struct Sending {
    parcel: Parcel,
    account: Arc<Account>,
    left: u64,
}

impl Outbox {
    /// At most so many bytes wait.
    pub(super) fn new(account: Arc<Account>, most: usize) -> Self {
        Self { account, most, waiting: RefCell::default(), notify: Notify::new() }
    }

    /// Adds a parcel whose items are gathered already, and drops the oldest where there is no room.
    pub(super) fn put(&self, parcel: Parcel) {
        let mut waiting = self.waiting.borrow_mut();
        waiting.bytes += parcel.body.len();
        waiting.parcels.push_back(parcel);
        while waiting.bytes > self.most {
            let Some(oldest) = waiting.parcels.pop_front() else { break };
            waiting.bytes -= oldest.body.len();
            self.account.undelivered(Reason::Overflow, oldest.items);
        }
        drop(waiting);
        self.notify.notify_one();
    }

    /// A request is sent again.
    pub(super) fn retried(&self) {
        self.account.retried();
    }

    /// No more will come.
    pub(super) fn close(&self) {
        self.waiting.borrow_mut().closed = true;
        self.notify.notify_one();
    }

    /// The oldest parcel; waits for one. `None`: all are gone and no more will come.
    pub(super) async fn next(&self) -> Option<Sending> {
        loop {
            {
                let mut waiting = self.waiting.borrow_mut();
                if let Some(parcel) = waiting.parcels.pop_front() {
                    waiting.bytes -= parcel.body.len();
                    let left = parcel.items;
                    return Some(Sending { parcel, account: Arc::clone(&self.account), left });
                }
                if waiting.closed {
                    return None;
                }
            }
            self.notify.notified().await;
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let left: u64 = self.waiting.borrow().parcels.iter().map(|parcel| parcel.items).sum();
        ended(&self.account, left);
    }
}

impl Sending {
    /// What is sent.
    pub(super) fn body(&self) -> Bytes {
        self.parcel.body.clone()
    }

    /// It was taken, but for so many items.
    pub(super) fn delivered(mut self, rejected: u64) {
        let rejected = rejected.min(self.left);
        self.account.delivered(self.left - rejected);
        self.account.undelivered(Reason::Refused, rejected);
        self.left = 0;
    }

    /// It was not taken and never will be.
    pub(super) fn refused(mut self) {
        self.account.undelivered(Reason::Refused, self.left);
        self.left = 0;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        ended(&self.account, self.left);
    }
}

fn ended(account: &Account, items: u64) {
    if items > 0 {
        account.undelivered(Reason::Ended, items);
        tracing::warn!(exporter = account.name(), items, "not sent before the end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parcel(bytes: usize, items: u64) -> Parcel {
        Parcel { body: vec![0; bytes].into(), items }
    }

    fn block<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room() {
        let account = Arc::new(Account::new("test"));
        let outbox = Outbox::new(Arc::clone(&account), 10);
        account.gathered(1 + 2 + 4);
        for items in [1, 2, 4] {
            outbox.put(parcel(5, items));
        }
        outbox.close();
        let next = block(outbox.next()).unwrap();
        next.delivered(0);
        assert_eq!(account.totals().delivered, 2, "the second: the first had to go");
        drop(outbox);
        let totals = account.totals();
        assert_eq!((totals.pending, totals.undelivered), (0, [0, 1, 4, 0, 0, 0, 0]), "refused, overflow, ended, ...");
    }

    #[test]
    fn a_receiver_that_refuses_more_than_there_was_makes_no_debt() {
        let account = Arc::new(Account::new("test"));
        let outbox = Outbox::new(Arc::clone(&account), 10);
        account.gathered(3);
        outbox.put(parcel(1, 3));
        block(outbox.next()).unwrap().delivered(7);
        let totals = account.totals();
        assert_eq!((totals.delivered, totals.undelivered[0], totals.pending), (0, 3, 0));
    }

    #[test]
    fn gzip_can_be_read_again() {
        use std::io::Read as _;
        let body = b"0123456789".repeat(100);
        let packed = Encoding::Gzip.encode(body.clone());
        assert!(packed.len() < 100);
        let mut again = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut again).unwrap();
        assert_eq!(again, body);
        assert_eq!(Encoding::Identity.encode(body.clone()), body);
    }

    proptest! {
        #[test]
        fn every_item_has_one_fate(steps in prop::collection::vec((1_usize..40, 0_u64..9, 0_u8..5), 0..60), most in 1_usize..100) {
            let account = Arc::new(Account::new("test"));
            let outbox = Outbox::new(Arc::clone(&account), most);
            for (bytes, items, what) in steps {
                account.gathered(items);
                outbox.put(parcel(bytes, items));
                prop_assert!(outbox.waiting.borrow().bytes <= most);
                if outbox.waiting.borrow().parcels.is_empty() {
                    continue;
                }
                let next = || block(outbox.next()).unwrap();
                match what {
                    0 => next().delivered(items / 2),
                    1 => next().refused(),
                    2 => drop(next()),
                    _ => {}
                }
            }
            drop(outbox);
            prop_assert_eq!(account.totals().pending, 0);
            let totals = account.totals();
            prop_assert_eq!(totals.gathered, totals.delivered + totals.undelivered.iter().sum::<u64>());
        }
    }
}
