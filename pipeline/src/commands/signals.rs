//! The signals that end a command in order: SIGINT and SIGTERM.

use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for the signals on a small runtime of its own.
pub(super) struct Signals {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on the signals do not end the process by themselves.
    pub(super) fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot make a runtime for signals")?;
        let (interrupt, terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Waits at most `at_most`; true when the end is asked for.
    pub(super) fn wait(&mut self, at_most: Duration) -> bool {
        let Self { runtime, interrupt, terminate } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                () = tokio::time::sleep(at_most) => false,
            }
        })
    }

    /// Sets `flag` when the end is asked for, or after `at_most`, or when `over` is set; from a thread of its own.
    pub(super) fn into_flag(mut self, at_most: Option<Duration>) -> Result<Arc<AtomicBool>> {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        // The thread ends with the process.
        std::thread::Builder::new().name("redtap-signals".to_owned()).spawn(move || {
            match at_most {
                Some(time) => drop(self.wait(time)),
                None => while !self.wait(Duration::from_secs(3_600)) {},
            }
            set.store(true, Ordering::Release);
        })?;
        Ok(flag)
    }
}
