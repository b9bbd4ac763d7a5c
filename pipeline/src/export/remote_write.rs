//! Prometheus remote write, 1.0 and 2.0: the traffic, `target_info` and the agent's own metrics, every interval.
//!
//! Life cycle: [`exporter`] -> begun on the exporters' thread -> every interval what is gathered becomes batches
//! (`remote_write/collect.rs`), which wait in a bounded queue in memory or on disk (`queue.rs`, `spool.rs`) for the senders,
//! one a shard (`sender.rs`), that make requests of them (`encode.rs`, `wire.rs`) in the version the receiver
//! understands (`negotiation.rs`). Asked to end, it gathers once more, marks all series as ended, and sends what is left.
//!
//! **Invariant:** `gathered = delivered + undelivered + pending`, in samples. What is kept on disk stays pending when
//! the agent ends; what is kept in memory is `ended`.
//!
//! **Invariant:** the exporters' thread only waits here: copying, encoding, compressing, and reading and writing files are done beside
//! it (`aside`), one round and one request of a shard at a time.
//!
//! Metrics: `redtap_export_*{exporter="remote_write"}`. Absent: summaries, a second receiver.

mod collect;
mod encode;
mod negotiation;
mod queue;
mod sender;
mod spool;
mod wire;

use super::client::{Client, ClientError, shown};
use super::{Account, Ending, Exporter, Gather, Work, aside};
use crate::clock;
use crate::settings::RemoteWriteSettings;
use collect::{Collected, Collector, FAR_MS, Shape};
use negotiation::Receiver;
use parking_lot::Mutex;
use queue::Queue;
use sender::{Sender, Shared};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// As the label `exporter` has it.
pub const NAME: &str = "remote_write";

/// The exporter, ready to run. Reads the certificates.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn exporter(settings: &RemoteWriteSettings, gather: Arc<dyn Gather>) -> Result<Exporter, ClientError> {
    let account = Arc::new(Account::new(NAME));
    let client = Client::new(settings.client.clone())?;
    let (settings, counted) = (settings.clone(), Arc::clone(&account));
    let began_ns = clock::monotonic().0.saturating_add_signed(clock::wall_offset_ns());
    let began_ms = i64::try_from(began_ns / 1_000_000).unwrap_or(0);
    let begin = move |ending| -> Work {
        let run = Run { settings, client, gather, account: counted, began_ms };
        Box::pin(run.run(ending))
    };
    Ok(Exporter { account, begin: Box::new(begin) })
}

struct Run {
    settings: RemoteWriteSettings,
    client: Client,
    gather: Arc<dyn Gather>,
    account: Arc<Account>,
    began_ms: i64,
}

/// Whatever ends the exporter, what is only in memory is counted.
struct Left(Arc<Mutex<Queue>>);

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(mut queue) = self.0.try_lock() {
            queue.end();
            return;
        }
        // Who has the queue may wait for a disk that hangs: this thread, and the end of all other exporters, does not.
        let queue = Arc::clone(&self.0);
        let end = move || queue.lock().end();
        if let Err(error) = std::thread::Builder::new().name("redtap-spool".to_owned()).spawn(end) {
            tracing::error!("remote write cannot count what it leaves: {error}");
        }
    }
}

impl Run {
    async fn run(self, mut ending: Ending) {
        let shards = u16::try_from(self.settings.shards).unwrap_or(1);
        let mut round =
            Round { collector: Collector::new(self.shape(shards)), gather: self.gather.clone(), behind: false };
        let (queue, on_disk) = self.open(shards).await;
        let queue = Arc::new(Mutex::new(queue));
        let _left = Left(Arc::clone(&queue));
        tracing::info!("remote write to {} every {:?}", shown(&self.settings.client.url), self.settings.interval);
        let shared = Rc::new(Shared {
            client: self.client,
            queue,
            on_disk,
            account: self.account,
            native: self.settings.native_histograms,
            receiver: Cell::new(Receiver::new(self.settings.protocol)),
            news: Notify::new(),
            closed: Cell::new(false),
            given_up: Cell::new(false),
            failing: Cell::new(false),
            refusals: Cell::new(0),
        });
        let mut senders = JoinSet::new();
        for shard in 0..shards {
            let sender = Sender { shared: Rc::clone(&shared), shard, ending: ending.clone() };
            senders.spawn_local(sender.run());
        }
        let mut ticks = tokio::time::interval(self.settings.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ending.asked() => break,
                // None ends before it is told to, but by a fault, which is this exporter's.
                Some(Err(fault)) = senders.join_next() => {
                    if let Ok(panic) = fault.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
            round = go(&shared, round, false).await;
        }
        go(&shared, round, true).await;
        shared.closed.set(true);
        shared.news.notify_waiters();
        while senders.join_next().await.is_some() {}
    }

    fn shape(&self, shards: u16) -> Shape {
        let mut external = self.settings.external_labels.clone();
        external
            .entry("instance".to_owned())
            .or_insert_with(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        Shape {
            external,
            native: self.settings.native_histograms,
            max_samples: self.settings.max_samples,
            shards,
            began_ms: self.began_ms,
        }
    }

    /// The queue, and whether it is on disk. Reading what is there may take a while.
    async fn open(&self, shards: u16) -> (Queue, bool) {
        let most = self.settings.spool_bytes;
        if let Some(folder) = self.settings.spool.clone() {
            let (account, place) = (Arc::clone(&self.account), folder.clone());
            let open = move || Queue::on_disk(account, shards, most, &place);
            match tokio::task::spawn_blocking(open).await {
                Ok(Ok(queue)) => return (queue, true),
                Ok(Err(error)) => {
                    tracing::error!(
                        "remote write cannot use its spool {}, and keeps in memory what it cannot send: {error}",
                        folder.display()
                    );
                }
                Err(_) => tracing::error!("remote write keeps in memory what it cannot send: its spool is faulty"),
            }
        }
        (Queue::in_memory(Arc::clone(&self.account), shards, most), false)
    }
}

/// What each round does, away from the exporters' thread.
struct Round {
    collector: Collector,
    gather: Arc<dyn Gather>,
    /// The wall clock is behind what was sent: told once.
    behind: bool,
}

impl Round {
    fn go(&mut self, queue: &Mutex<Queue>, last: bool) {
        let gathered = self.gather.gather();
        let mut newest_ms = queue.lock().newest_ms();
        if newest_ms.saturating_sub(gathered.at_ms) >= FAR_MS {
            tracing::warn!(
                "the wall clock was set back by {} s: remote write goes on with its time, and the receiver may refuse what is older than what it has",
                (newest_ms - gathered.at_ms) / 1_000
            );
            queue.lock().believe(gathered.at_ms - 1);
            newest_ms = queue.lock().newest_ms();
        }
        match self.collector.collect(&gathered, newest_ms) {
            Collected::Batches(batches) => {
                let mut queue = queue.lock();
                batches.into_iter().for_each(|batch| queue.push(batch));
                if std::mem::take(&mut self.behind) {
                    tracing::info!("the wall clock has caught up with what remote write sent: it goes on");
                }
            }
            Collected::Behind { samples, by_ms } => {
                queue.lock().out_of_order(samples);
                if !std::mem::replace(&mut self.behind, true) {
                    tracing::warn!(
                        "the wall clock was set back: what remote write sent before is {by_ms} ms ahead of it, and receivers take \
                         series only in order of time; no samples are sent until it has caught up"
                    );
                }
            }
        }
        if last {
            let newest_ms = queue.lock().newest_ms();
            let markers = self.collector.end(newest_ms);
            let mut queue = queue.lock();
            markers.into_iter().for_each(|batch| queue.push(batch));
        }
    }
}

/// One round; with markers for all series if it is the last.
async fn go(shared: &Shared, mut round: Round, last: bool) -> Round {
    let queue = Arc::clone(&shared.queue);
    let done = aside(move || {
        round.go(&queue, last);
        round
    });
    let round = done.await;
    shared.news.notify_waiters();
    round
}
