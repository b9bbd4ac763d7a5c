//! The ways out that send: what all exporters share. Each exporter is a room beside this file (`export/`).
//!
//! One thread (`redtap-export`) with one runtime drives every exporter as a task of its own. An exporter asks for what
//! there is ([`Gather`]) at its own pace, keeps what it could not deliver yet within bounds of its own, and counts in an
//! [`Account`] what became of it. Life cycle: [`Exporters::start`] -> running -> [`Exporters::stop`], which lets each
//! send what it has, but not for longer than it is told.
//!
//! **Invariant:** nothing on the data path waits for what an exporter waits for: they read copies
//! ([`crate::registry::Registry::snapshot`], whose lock is held while it copies) and live subscriptions of the [`crate::tap`], which lose what does not fit and count it.
//!
//! Metrics: `redtap_export_*` of each account, by exporter and reason. Absent: what is sent, and in which format.

mod account;
pub mod backoff;
pub mod client;
pub mod otlp;
pub mod remote_write;

pub use account::{Account, AccountTotals, Reason};

use crate::registry::Snapshot;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// One of the agent's own metrics with one set of labels, as [`crate::self_metrics`] tells it to exporters.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnSample {
    /// As on `/metrics`.
    pub name: Cow<'static, str>,
    /// Without a particular order.
    pub labels: Vec<(&'static str, String)>,
    /// It only grows; else it is a gauge.
    pub counter: bool,
    /// What it says now.
    pub value: f64,
}

/// Everything there is to send, as of one moment.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// Wall clock, milliseconds since the epoch.
    pub at_ms: i64,
    /// The traffic.
    pub traffic: Snapshot,
    /// The agent's own metrics.
    pub own: Vec<OwnSample>,
}

/// Tells exporters what there is.
pub trait Gather: Send + Sync + 'static {
    /// All of it, now: a copy.
    fn gather(&self) -> Gathered;
}

/// Told to end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns once exporters are to send what they have and end.
    pub async fn asked(&mut self) {
        // An error means that the handle is gone, which is a wish to end as well.
        let _ = self.0.wait_for(|ending| *ending).await;
    }

    /// True if [`Self::asked`] would return at once.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.borrow()
    }
}

/// Has a thread beside the exporters' do what computes for long or waits for a disk, so that other exporters go on meanwhile. A panic
/// of it is the caller's. Each caller waits for what it asked, so there are never more such threads than tasks.
async fn aside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(fault) => match fault.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Not begun any more: the runtime ends, and the caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The work of one exporter, until it is asked to end. It runs on the exporters' thread alone, so it need not be `Send`.
pub type Work = Pin<Box<dyn Future<Output = ()>>>;

/// An exporter that is ready to run.
pub struct Exporter {
    /// What it did, for the metrics.
    pub account: Arc<Account>,
    /// Makes its work, on the exporters' thread and inside their runtime.
    pub begin: Box<dyn FnOnce(Ending) -> Work + Send>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("account", &self.account).finish_non_exhaustive()
    }
}

/// All exporters, running.
#[derive(Debug)]
pub struct Exporters {
    accounts: Vec<Arc<Account>>,
    ending: watch::Sender<bool>,
    deadline: watch::Sender<Option<Duration>>,
    thread: Option<JoinHandle<()>>,
}

impl Exporters {
    /// Starts them all on a new thread; without exporters, none.
    ///
    /// # Errors
    /// The runtime or the thread cannot be made.
    pub fn start(exporters: Vec<Exporter>) -> io::Result<Self> {
        let accounts = exporters.iter().map(|exporter| Arc::clone(&exporter.account)).collect();
        let (ending, asked) = watch::channel(false);
        let (deadline, within) = watch::channel(None);
        let thread = if exporters.is_empty() {
            None
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let run = move || {
                runtime.block_on(drive(exporters, Ending(asked), within));
                // What still blocks (a look-up of a name, a disk that hangs) is not waited for.
                runtime.shutdown_background();
            };
            Some(std::thread::Builder::new().name("redtap-export".to_owned()).spawn(run)?)
        };
        Ok(Self { accounts, ending, deadline, thread })
    }

    /// What each did.
    #[must_use]
    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    /// Asks all to send what they have, and waits for them, at most so long.
    pub fn stop(mut self, at_most: Duration) {
        let _ = self.deadline.send(Some(at_most));
        let _ = self.ending.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn drive(exporters: Vec<Exporter>, ending: Ending, mut within: watch::Receiver<Option<Duration>>) {
    let tasks = tokio::task::LocalSet::new();
    let mut running = tokio::task::JoinSet::new();
    for exporter in exporters {
        let work = (exporter.begin)(ending.clone());
        let account = exporter.account;
        let task = tasks.spawn_local(work);
        // One that panics ends alone, and is counted at once; the others and the agent go on.
        running.spawn_local_on(
            async move {
                if let Err(error) = task.await {
                    account.faulted();
                    tracing::error!(
                        exporter = account.name(),
                        "this exporter ended by a fault and sends no more: {error}"
                    );
                }
            },
            &tasks,
        );
    }
    let all = tasks.run_until(async { while running.join_next().await.is_some() {} });
    let late = async {
        let told = within.wait_for(Option::is_some).await.ok().and_then(|told| *told);
        // None: the handle was dropped without a stop.
        tokio::time::sleep(told.unwrap_or_default()).await;
    };
    tokio::select! {
        () = all => {}
        () = late => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn exporter(name: &'static str, begin: impl FnOnce(Ending) -> Work + Send + 'static) -> Exporter {
        Exporter { account: Arc::new(Account::new(name)), begin: Box::new(begin) }
    }

    #[test]
    fn one_that_panics_is_counted_and_the_others_go_on_until_they_are_asked() {
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        let broken = exporter("broken", |_| Box::pin(async { panic!("of the test") }));
        let whole = exporter("whole", move |mut ending| {
            Box::pin(async move {
                ending.asked().await;
                told.store(true, Ordering::Release);
            })
        });
        let exporters = Exporters::start(vec![whole, broken]).unwrap();
        let accounts = exporters.accounts().to_vec();
        let faults = || accounts.iter().map(|account| account.totals().faults).collect::<Vec<_>>();
        // It is known while the one before it still runs.
        while faults() != [0, 1] {
            std::thread::yield_now();
        }
        exporters.stop(Duration::from_secs(60));
        assert!(done.load(Ordering::Acquire));
        assert_eq!(faults(), [0, 1]);
    }

    #[test]
    fn a_panic_beside_the_thread_is_that_of_the_exporter() {
        let broken = exporter("broken", |_| Box::pin(aside(|| panic!("of the test"))));
        let exporters = Exporters::start(vec![broken]).unwrap();
        let account = Arc::clone(&exporters.accounts()[0]);
        exporters.stop(Duration::from_secs(60));
        assert_eq!(account.totals().faults, 1);
    }

    #[test]
    fn one_that_does_not_end_is_left() {
        let stuck = exporter("stuck", |_| Box::pin(std::future::pending()));
        Exporters::start(vec![stuck]).unwrap().stop(Duration::from_millis(1));
    }

    #[test]
    fn what_blocks_a_thread_is_left_too() {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begun, beginning) = std::sync::mpsc::channel();
        let blocking = exporter("blocking", move |_| {
            Box::pin(async move {
                let work = tokio::task::spawn_blocking(move || {
                    let _ = begun.send(());
                    held.recv()
                });
                let _ = work.await;
            })
        });
        let exporters = Exporters::start(vec![blocking]).unwrap();
        beginning.recv().unwrap();
        exporters.stop(Duration::from_millis(1));
        // Only now is it let go: had it been waited for, the stop would not have come back.
        drop(hold);
    }
}
