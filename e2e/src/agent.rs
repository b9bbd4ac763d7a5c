//! The binary under test, confined to a sandbox.

use crate::prometheus::Metrics;
use crate::sandbox::{Sandbox, free_port, get};
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running `redtap run`.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// What it is told besides what a caller says of it: exact counts under load are what most tests are about.
pub const EXACT: [&str; 2] = ["--governor-cpu", "0"];

/// Where the binary is: `REDTAP_BIN`, else the release build of this tree.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("REDTAP_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release/redtap"), PathBuf::from)
}

/// The arguments with [`EXACT`], unless they say otherwise: the governor's own tests do.
fn exact<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let own: &[&str] = if arguments.contains(&"--governor-cpu") { &[] } else { &EXACT };
    [own, arguments].concat()
}

impl Agent {
    /// Starts it on the sandbox's cgroup with further arguments, and waits until it is ready. It has no budget of processor time
    /// unless they give it one ([`EXACT`]).
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        Self::start_as(Command::new(binary()), sandbox, &exact(arguments))
    }

    /// The same as it is shipped: nothing is said of its budget.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_shipped(sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        Self::start_as(Command::new(binary()), sandbox, arguments)
    }

    /// As [`Self::start`], with the agent itself in the cgroup that it watches.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start_inside(sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        let binary = binary();
        Self::start_as(
            sandbox.command(binary.to_str().context("a path that is not text")?, &[])?,
            sandbox,
            &exact(arguments),
        )
    }

    fn start_as(mut command: Command, sandbox: &Sandbox, arguments: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let log = sandbox.folder().join(format!("agent-{port}.log"));
        let out = std::fs::File::create(&log)?;
        let child = command
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--cgroup")
            .arg(sandbox.cgroup())
            .args(arguments)
            .current_dir(sandbox.folder())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {}: build it with `cargo build --release`", binary().display()))?;
        let mut agent = Self { child, port, log };
        agent.wait_ready()?;
        Ok(agent)
    }

    fn wait_ready(&mut self) -> Result<()> {
        for _ in 0..1000 {
            if let Ok((200, _)) = get(self.port, "/readyz", "*/*") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the agent does not become ready:\n{}", self.log())
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port of its HTTP endpoint.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Scrapes it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, body) = get(self.port, "/metrics", "text/plain")?;
        ensure!(status == 200, "/metrics answers {status}: {body}");
        Ok(Metrics::parse(&body))
    }

    /// Scrapes until `done` says so or 20 s have gone by; the last scrape either way. What the pipeline holds for a moment
    /// (5 ms in the ring, a second before a publication) has time to arrive; what is lost does not.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics_until(&self, done: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let mut metrics = self.metrics()?;
        for _ in 0..200 {
            if done(&metrics) {
                // One more publication: a count that overshoots must be seen as well.
                std::thread::sleep(Duration::from_millis(1_500));
                return self.metrics();
            }
            std::thread::sleep(Duration::from_millis(100));
            metrics = self.metrics()?;
        }
        Ok(metrics)
    }

    /// `/api/v1/status`.
    ///
    /// # Errors
    /// When it does not answer with JSON.
    pub fn status(&self) -> Result<serde_json::Value> {
        let (status, body) = get(self.port, "/api/v1/status", "application/json")?;
        ensure!(status == 200, "/api/v1/status answers {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Ends it with SIGKILL.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill9(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in order and waits; what it printed.
    ///
    /// # Errors
    /// When it does not end within 10 s, or with an error.
    pub fn stop(mut self) -> Result<String> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait()? {
                let log = self.log();
                ensure!(status.success(), "the agent ended with {status}:\n{log}");
                ensure!(log.contains("balanced=true"), "its sums differ:\n{log}");
                return Ok(log);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the agent does not end:\n{}", self.log())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a failed test is about: what was lost on the way, and what the agent says.
            if let Ok((200, body)) = get(self.port, "/metrics", "text/plain") {
                let telling =
                    |line: &&str| line.starts_with("redtap_") && !line.contains("_bucket") && !line.ends_with(" 0");
                body.lines().filter(telling).for_each(|line| eprintln!("{line}"));
            }
            eprintln!("{}", self.log());
        }
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
