//! The thread that records: at each multiple of 5 s of the wall clock it copies the registry.
//!
//! Life cycle: [`Recorder::start`] -> running -> [`Recorder::stop`], which records what is left, saves, and ends.
//! Absent: anything that the pipeline waits for, but for the moment in which the registry is copied, as for a scrape.

use super::{FINE, History, wall_seconds};
use crate::clock;
use crate::registry::Registry;
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the history is saved while the agent runs.
pub const SAVE_EVERY: Duration = Duration::from_secs(600);
/// After a step's end: publications of that second have been taken by then.
const AFTER: Duration = Duration::from_millis(50);

/// The running thread.
#[derive(Debug)]
pub struct Recorder {
    /// Dropping it ends the thread.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Starts to record `registry`; with a path, the history is saved there.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(history: Arc<History>, registry: Arc<Registry>, path: Option<PathBuf>) -> io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let thread = std::thread::Builder::new().name("redtap-history".to_owned()).spawn(move || {
            let mut saved = clock::monotonic();
            while stopped.recv_timeout(until_next()) == Err(RecvTimeoutError::Timeout) {
                history.record(wall_seconds(), &registry.snapshot());
                let now = clock::monotonic();
                if path.is_some() && Duration::from_nanos(now.since(saved).0) >= SAVE_EVERY {
                    saved = now;
                    save(&history, path.as_deref());
                }
            }
            // The step that is not over yet: at its end there will be nobody to record it.
            history.record(wall_seconds() + i64::from(FINE), &registry.snapshot());
            save(&history, path.as_deref());
        })?;
        Ok(Self { stop, thread })
    }

    /// Records and saves once more, and ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

fn save(history: &History, path: Option<&Path>) {
    let Some(path) = path else { return };
    if let Err(error) = history.save(path) {
        tracing::warn!("the history is not saved: {error}");
    }
}

/// Time until a little after the end of the present step.
fn until_next() -> Duration {
    let step = u64::from(FINE) * 1_000_000_000;
    let wall = u64::try_from(i128::from(clock::monotonic().0) + i128::from(clock::wall_offset_ns())).unwrap_or(0);
    Duration::from_nanos(step - wall % step) + AFTER
}
