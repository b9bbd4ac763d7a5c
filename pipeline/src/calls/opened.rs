//! What is being answered, from the `pair` stages of a running topology.

use super::Opened;
use super::tie::Open;
use crate::clock;
use crate::topology::ShardControls;
use parking_lot::Mutex;
use redtap_stages::pair::OpenRequest;
use std::sync::Arc;

/// Requests that one shard is asked about; with more, nobody knows all of them, and nothing is tied that depends on that.
pub const MAX_OPEN: usize = 4_096;

/// Answers of the shards to one question.
type Answers = Arc<Mutex<Vec<(Vec<OpenRequest>, bool)>>>;

/// How much the kernel could not tell so far.
pub type Lost = Box<dyn Fn() -> u64 + Send>;

/// Asks all shards.
pub struct Shards {
    shards: Vec<ShardControls>,
    lost: Lost,
    open: Open,
    answers: Answers,
    asked: usize,
}

impl Shards {
    /// Of a topology.
    #[must_use]
    pub fn new(shards: Vec<ShardControls>, lost: Lost) -> Self {
        Self { shards, lost, open: Open::default(), answers: Answers::default(), asked: 0 }
    }
}

impl Opened for Shards {
    fn ask(&mut self) {
        self.open = Open { at: clock::monotonic(), complete: true, requests: Vec::new(), lost: 0 };
        // Late answers to the question before go where nobody looks.
        self.answers = Answers::default();
        self.asked = 0;
        for shard in &self.shards {
            let answers = Arc::clone(&self.answers);
            let said = shard.pair.apply(move |pair| answers.lock().push(pair.open_requests(MAX_OPEN)));
            // One that has much to do refuses: the next question comes soon.
            self.open.complete &= said.is_ok();
            self.asked += usize::from(said.is_ok());
        }
    }

    fn answer(&mut self) -> Option<Open> {
        if self.asked == 0 || self.answers.lock().len() < self.asked {
            return None;
        }
        self.asked = 0;
        let mut open = std::mem::take(&mut self.open);
        // Now: what was lost up to the question is counted by now.
        open.lost = (self.lost)();
        for (requests, complete) in self.answers.lock().drain(..) {
            open.requests.extend(requests);
            open.complete &= complete;
        }
        Some(open)
    }
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shards").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
