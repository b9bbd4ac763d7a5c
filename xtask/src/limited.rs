//! A command with a time limit: what it said is there afterwards, whether it ended or had to be ended.

use anyhow::{Context, Result};
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked after.
const POLL: Duration = Duration::from_millis(20);
/// How long to wait for the rest of what it said once it is gone: what it started may hold on to its output.
const REST: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// None if it did not end in time, and was killed. (It alone: what it started is not known here.)
    pub(crate) status: Option<ExitStatus>,
}

/// Runs `command`, for `limit` at most.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
    let (stdout, stderr) = (Said::listen(child.stdout.take()), Said::listen(child.stderr.take()));
    let mut status = None;
    within(limit, || {
        status = child.try_wait().transpose();
        status.is_some()
    });
    let status = status.transpose()?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    within(REST, || stdout.is_over() && stderr.is_over());
    Ok(Ended { stdout: stdout.so_far(), stderr: stderr.so_far(), status })
}

/// Asks again and again until `is_over`, for `limit` at most.
fn within(limit: Duration, mut is_over: impl FnMut() -> bool) {
    let mut left = limit;
    while !is_over() && !left.is_zero() {
        std::thread::sleep(POLL);
        left = left.saturating_sub(POLL);
    }
}

/// What comes out of a pipe. Its thread ends with the pipe.
struct Said {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Said {
    fn listen(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&bytes);
        let thread = std::thread::spawn(move || {
            let Some(mut pipe) = pipe else { return };
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                let more = buffer.get(..length).unwrap_or_default();
                heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(more);
            }
        });
        Self { bytes, thread }
    }

    fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (String, String, Option<bool>) {
        let ended = run(Command::new("sh").args(["-c", script]), limit).expect("a shell");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(ended.stdout), text(ended.stderr), ended.status.map(|status| status.success()))
    }

    #[test]
    fn one_that_ends_in_time_is_as_it_is() {
        let long = Duration::from_secs(60);
        assert_eq!(shell("echo out; echo err >&2", long), ("out\n".to_owned(), "err\n".to_owned(), Some(true)));
        assert_eq!(shell("exit 3", long), (String::new(), String::new(), Some(false)));
    }

    #[test]
    fn one_that_hangs_is_ended_and_what_it_said_is_kept() {
        let ended = shell("echo begun; exec sleep 600", Duration::from_secs(2));
        assert_eq!(ended, ("begun\n".to_owned(), String::new(), None));
    }
}
