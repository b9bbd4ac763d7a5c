//! The binary under test as a command that ends: `doctor`, `config`, `replay`, `completions`; and `record`, which ends when
//! it is told to.

use crate::agent::binary;
use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The user `nobody` of Debian.
const NOBODY: &str = "65534";

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs the binary to its end, at most 60 s.
///
/// # Errors
/// When it cannot be started.
pub fn redtap(folder: &Path, arguments: &[&str]) -> Result<Said> {
    said(Command::new("timeout").arg("60").arg(binary()).args(arguments).current_dir(folder))
}

/// The same without any privilege, as the user nobody, from a copy that nobody may read.
///
/// # Errors
/// When it cannot be copied or started.
pub fn redtap_as_nobody(folder: &Path, arguments: &[&str]) -> Result<Said> {
    let copy = folder.join("redtap");
    std::fs::copy(binary(), &copy).context("no binary: build it with `cargo build --release`")?;
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    let mut command = Command::new("timeout");
    command.args(["60", "setpriv", &user, &group, "--clear-groups"]).arg(copy).args(arguments);
    said(command.current_dir("/"))
}

fn said(command: &mut Command) -> Result<Said> {
    let output = command.stdin(Stdio::null()).output().context("no timeout(1)")?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).context("standard output is not text")?,
        err: String::from_utf8(output.stderr).context("standard error is not text")?,
    })
}

/// A running `redtap record`, confined to a sandbox.
#[derive(Debug)]
pub struct Recorder {
    child: Child,
    file: PathBuf,
    log: PathBuf,
}

impl Recorder {
    /// Starts it on the sandbox's cgroup with further arguments, and waits until it records.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        let (file, log) = (sandbox.folder().join("recording"), sandbox.folder().join("record.log"));
        let child = Command::new(binary())
            .arg("record")
            .arg(&file)
            .arg("--cgroup")
            .arg(sandbox.cgroup())
            .args(arguments)
            .current_dir(sandbox.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}: build it with `cargo build --release`", binary().display()))?;
        let mut recorder = Self { child, file, log };
        for _ in 0..1_000 {
            if recorder.log().contains("recording on rung") {
                return Ok(recorder);
            }
            if let Some(status) = recorder.child.try_wait()? {
                bail!("record ended with {status}:\n{}", recorder.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("nothing is recorded:\n{}", recorder.log())
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it with SIGTERM; its file and what it printed.
    ///
    /// # Errors
    /// When it does not end in order.
    pub fn stop(self) -> Result<(PathBuf, String)> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.wait()
    }

    /// Waits until it ends by itself (`--seconds`), at most 20 s.
    ///
    /// # Errors
    /// When it does not, or not in order.
    pub fn wait(mut self) -> Result<(PathBuf, String)> {
        for _ in 0..1_000 {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "record ended with {status}:\n{}", self.log());
                return Ok((self.file.clone(), self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("record does not end:\n{}", self.log())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// One line of `replay --records`.
#[derive(Debug, Clone)]
pub struct Record(serde_json::Value);

impl Record {
    /// A field that is a text; empty without it.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(serde_json::Value::as_str).unwrap_or("")
    }

    /// A field that is a whole number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field).and_then(serde_json::Value::as_u64)
    }

    /// Several texts, in the order asked for.
    #[must_use]
    pub fn texts<const N: usize>(&self, fields: [&str; N]) -> [String; N] {
        fields.map(|field| self.text(field).to_owned())
    }
}

/// Reads the lines that `replay --records -` prints.
///
/// # Errors
/// When one is not a JSON object.
pub fn records(lines: &str) -> Result<Vec<Record>> {
    lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            ensure!(value.is_object(), "not an object: {line}");
            Ok(Record(value))
        })
        .collect()
}

/// A running `redtap tail` that asks an agent; what it prints goes into a file.
#[derive(Debug)]
pub struct Tail {
    child: Child,
    file: PathBuf,
}

impl Tail {
    /// Starts it, and waits until the agent counts it among its followers.
    ///
    /// # Errors
    /// When it does not follow.
    pub fn start(sandbox: &Sandbox, agent: &crate::agent::Agent, name: &str, arguments: &[&str]) -> Result<Self> {
        let file = sandbox.folder().join(format!("{name}.tail"));
        let followers = || -> Result<u64> {
            let status = agent.status()?;
            Ok(status.pointer("/calls/followed").and_then(serde_json::Value::as_u64).unwrap_or(0))
        };
        let before = followers()?;
        let out = std::fs::File::create(&file)?;
        let child = Command::new(binary())
            .args(["tail", "--address", &format!("127.0.0.1:{}", agent.port())])
            .args(arguments)
            .current_dir(sandbox.folder())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        let mut tail = Self { child, file };
        for _ in 0..500 {
            if followers()? > before {
                return Ok(tail);
            }
            if let Some(status) = tail.child.try_wait()? {
                bail!("tail ended with {status}: {}", tail.text()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("tail does not follow")
    }

    /// What it printed so far.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.file)?)
    }

    /// What it printed so far, as records.
    ///
    /// # Errors
    /// When a line is none.
    pub fn records(&self) -> Result<Vec<Record>> {
        let text = self.text()?;
        // The last line may not be whole yet.
        records(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
    }

    /// Waits until so many lines were printed, at most 20 s.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_lines(&self, lines: usize) -> Result<()> {
        for _ in 0..1_000 {
            if self.text()?.lines().count() >= lines {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} lines instead of {lines}:\n{}", self.text()?.lines().count(), self.text()?)
    }

    /// Ends it as Ctrl-C does; its exit code and all that it printed.
    ///
    /// # Errors
    /// When it does not end.
    pub fn interrupt(mut self) -> Result<(Option<i32>, String)> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status.code(), self.text()?));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("tail does not end")
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
