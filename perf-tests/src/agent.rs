//! Who watches in a column of a report: nobody, redtap, or any other agent by its command line.

use crate::measure::process::{Memory, Usage};
use crate::server::Server;
use anyhow::{Context as _, Result, bail, ensure};
use redtap_e2e::agent::{Agent, EXACT};
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::stopwatch::now;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

/// How long another agent is given until it is taken to be ready: nothing says when it is.
const GRACE: Duration = Duration::from_secs(5);

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// Nobody: what the others are held against.
    None,
    /// redtap (`REDTAP_BIN`, else the release build of this tree), on the best rung or a named one, without a budget of
    /// processor time: what full capture and exact counts cost.
    Redtap(Option<String>),
    /// redtap as it is shipped: with its governor at the default budget.
    Shipped,
    /// A command line, split at spaces. `{pid}`, `{port}` and `{cgroup}` are the server's. Whom it watches is up to it.
    Other(String),
}

impl FromStr for Column {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.split_once(':') {
            _ if text == "none" => Self::None,
            _ if text == "redtap" => Self::Redtap(None),
            _ if text == "redtap:default" => Self::Shipped,
            Some(("redtap", rung)) => {
                ensure!(matches!(rung, "socket" | "syscall"), "no redtap:{rung}: socket, syscall or default");
                Self::Redtap(Some(rung.to_owned()))
            }
            _ if text.trim().is_empty() => bail!("an empty command"),
            _ => Self::Other(text.to_owned()),
        })
    }
}

impl fmt::Display for Column {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("none"),
            Self::Redtap(None) => out.write_str("redtap"),
            Self::Redtap(Some(rung)) => write!(out, "redtap:{rung}"),
            Self::Shipped => out.write_str("redtap:default"),
            Self::Other(command) => out.write_str(command),
        }
    }
}

impl Column {
    /// Starts it and waits until it is ready. With `governor`, redtap has the budget of processor time that it is shipped with,
    /// whatever the column.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(&self, governor: bool, watched: &Sandbox, server: &Server, port: u16) -> Result<Option<Watching>> {
        let began = now();
        let rung = self.rung();
        let running = match self {
            Self::None => return Ok(None),
            Self::Redtap(_) if !governor => Running::Redtap(Agent::start(watched, &rung)?),
            Self::Redtap(_) | Self::Shipped => Running::Redtap(Agent::start_shipped(watched, &rung)?),
            Self::Other(command) => Running::Other(Other(start(command, watched, server.pid(), port)?)),
        };
        Ok(Some(Watching { running, ready_ns: now() - began }))
    }

    fn rung(&self) -> Vec<&str> {
        match self {
            Self::Redtap(rung) => rung.iter().flat_map(|rung| ["--rung", rung]).collect(),
            _ => Vec::new(),
        }
    }

    /// What redtap is told that decides what it costs, for reports. (Where it listens and which cgroup it watches it is told
    /// as well.) Of others their command line says it.
    #[must_use]
    pub fn arguments(&self, governor: bool) -> String {
        let own = if matches!(self, Self::Redtap(_)) && !governor { EXACT.as_slice() } else { &[] };
        [own, &self.rung()].concat().join(" ")
    }

    /// Whether it is redtap.
    #[must_use]
    pub fn is_redtap(&self) -> bool {
        matches!(self, Self::Redtap(_) | Self::Shipped)
    }
}

fn start(command: &str, watched: &Sandbox, pid: u32, port: u16) -> Result<Child> {
    let cgroup = watched.cgroup().display().to_string();
    let words = command.split_ascii_whitespace().map(|word| {
        word.replace("{pid}", &pid.to_string()).replace("{port}", &port.to_string()).replace("{cgroup}", &cgroup)
    });
    let words: Vec<String> = words.collect();
    let (program, arguments) = words.split_first().context("an empty command")?;
    let out = std::fs::File::create(watched.folder().join("other-agent.log"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .with_context(|| format!("cannot start {command}"))?;
    std::thread::sleep(GRACE);
    if let Some(status) = child.try_wait()? {
        bail!("{command} ended with {status}");
    }
    Ok(child)
}

/// A running agent.
#[derive(Debug)]
pub struct Watching {
    running: Running,
    ready_ns: u64,
}

#[derive(Debug)]
enum Running {
    Redtap(Agent),
    Other(Other),
}

/// Another agent. Ended (it alone) when dropped.
#[derive(Debug)]
struct Other(Child);

impl Watching {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.running {
            Running::Redtap(agent) => agent.pid(),
            Running::Other(other) => other.0.id(),
        }
    }

    /// Milliseconds from its start until it was ready, to within 10; unknown of others.
    #[must_use]
    pub fn ready_ms(&self) -> Option<f64> {
        matches!(self.running, Running::Redtap(_)).then_some(self.ready_ns as f64 / 1e6)
    }

    /// What it and its children used.
    ///
    /// # Errors
    /// When it is gone.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of_family(self.pid()).context("the agent has ended")
    }

    /// Its memory.
    ///
    /// # Errors
    /// When it is gone.
    pub fn memory(&self) -> Result<Memory> {
        Memory::of(self.pid()).context("the agent has ended")
    }

    /// What redtap says of itself; nothing of others.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Option<Metrics>> {
        match &self.running {
            Running::Redtap(agent) => agent.metrics().map(Some),
            Running::Other(_) => Ok(None),
        }
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When redtap does not end, or with an error; another agent is killed after 10 s.
    pub fn stop(self) -> Result<()> {
        match self.running {
            Running::Redtap(agent) => agent.stop().map(drop),
            Running::Other(mut other) => {
                let child = &mut other.0;
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
                kill_process(pid, Signal::TERM)?;
                for _ in 0..500 {
                    if child.try_wait()?.is_some() {
                        return Ok(());
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                child.kill()?;
                child.wait()?;
                Ok(())
            }
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_nobody_redtap_or_a_command() {
        assert_eq!("none".parse::<Column>().unwrap(), Column::None);
        assert_eq!("redtap:syscall".parse::<Column>().unwrap(), Column::Redtap(Some("syscall".to_owned())));
        assert_eq!("/usr/bin/other -p {pid}".parse::<Column>().unwrap().to_string(), "/usr/bin/other -p {pid}");
        assert_eq!("redtap:default".parse::<Column>().unwrap().to_string(), "redtap:default");
        assert!("redtap:fast".parse::<Column>().is_err());
        assert!(" ".parse::<Column>().is_err());
    }

    #[test]
    fn only_what_is_not_run_as_shipped_is_told_to_have_no_governor() {
        let arguments = |column: &str, governor| column.parse::<Column>().unwrap().arguments(governor);
        assert_eq!(arguments("redtap", false), "--governor-cpu 0");
        assert_eq!(arguments("redtap:syscall", false), "--governor-cpu 0 --rung syscall");
        assert_eq!(arguments("redtap:syscall", true), "--rung syscall");
        assert_eq!(arguments("redtap:default", false), "");
    }
}
