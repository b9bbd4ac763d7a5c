//! Where `top` has its numbers from: a running agent, or a probe of its own. Both give the same shapes (`docs/api.md`).

use super::super::agent::{Reach, Which};
use super::super::run;
use super::super::status::{self, Live};
use super::state::{Call, Health};
use anyhow::{Context as _, Result, bail, ensure};
use redtap::calls::filter::CallFilter;
use redtap::clock;
use redtap::conservation::{Conservation, Exchanges};
use redtap::history::{History, Recorder};
use redtap::records;
use redtap::registry::{Registry, RegistrySettings};
use redtap::reports::{Reports, ServiceReport, Services, Topology};
use redtap::settings::Settings;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Longest answer of an agent, bytes.
pub(super) const MAX_ANSWER: u64 = 16 << 20;
/// Whoever can tell.
pub(super) trait Source: Send {
    /// As it is shown.
    fn name(&self) -> String;
    /// How well it sees.
    fn health(&mut self) -> Result<Health>;
    /// Of the last seconds.
    fn services(&mut self, last: u32) -> Result<Services>;
    /// Likewise; none: nothing was seen of it.
    fn service(&mut self, name: &str, last: u32) -> Result<Option<ServiceReport>>;
    /// Likewise.
    fn topology(&mut self, last: u32) -> Result<Topology>;
    /// The newest, newest last.
    fn calls(&mut self, limit: usize) -> Result<Vec<Call>>;
    /// No more is wanted.
    fn end(self: Box<Self>);
}

/// A running agent.
pub(super) struct Agent {
    reach: Reach,
}

impl Agent {
    /// The one that was named, or where the configuration says.
    pub(super) fn of(which: &Which, settings: &Settings) -> Result<Self> {
        Ok(Self { reach: Reach::of(which, settings)? })
    }

    /// Status and body.
    fn ask(&self, path: &str) -> Result<(u16, String)> {
        let stream = self.reach.ask(path, "application/json")?;
        let mut answer = Vec::new();
        let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).context("the agent does not answer")?;
        ensure!(read as u64 != MAX_ANSWER, "an answer of the agent is larger than {MAX_ANSWER} bytes");
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").context("what answers there is no agent")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.context("what answers there is no agent")?, body.to_owned()))
    }

    /// The body of a good answer; none if there is no such thing.
    fn text(&self, path: &str) -> Result<Option<String>> {
        match self.ask(path)? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, body) => {
                let why = serde_json::from_str::<Value>(&body).ok();
                let why = why.as_ref().and_then(|why| why.get("error")?.as_str()).unwrap_or("it does not say why");
                bail!("the agent at {} answers {status}: {why}", self.reach.address())
            }
        }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(text) = self.text(path)? else { return Ok(None) };
        serde_json::from_str(&text).context("the agent is of another version than this program").map(Some)
    }

    fn must<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.get(path)?
            .with_context(|| format!("the agent at {} is of another version than this program", self.reach.address()))
    }
}

impl Source for Agent {
    fn name(&self) -> String {
        self.reach.address().to_string()
    }

    fn health(&mut self) -> Result<Health> {
        let status: Value = self.must("/api/v1/status")?;
        let count = |name: &str| status.pointer(&format!("/conservation/exchanges/{name}")).and_then(Value::as_u64);
        Ok(Health {
            rung: status.get("rung").and_then(Value::as_str).unwrap_or("none").to_owned(),
            seen: count("seen").unwrap_or(0),
            lost: count("missed").unwrap_or(0) + count("dropped").unwrap_or(0),
            sampling: status.pointer("/governor/sampling_ratio").and_then(Value::as_f64).unwrap_or(1.0),
        })
    }

    fn services(&mut self, last: u32) -> Result<Services> {
        self.must(&format!("/api/v1/services?last={last}s"))
    }

    fn service(&mut self, name: &str, last: u32) -> Result<Option<ServiceReport>> {
        self.get(&format!("/api/v1/services/{}?last={last}s", encoded(name)))
    }

    fn topology(&mut self, last: u32) -> Result<Topology> {
        self.must(&format!("/api/v1/topology?last={last}s"))
    }

    fn calls(&mut self, limit: usize) -> Result<Vec<Call>> {
        let text = self.text(&format!("/api/v1/calls?limit={limit}"))?.context("this agent keeps no calls")?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(|line| Call::read(&line)).collect())
    }

    fn end(self: Box<Self>) {}
}

/// Of a path (RFC 3986, section 2.3).
fn encoded(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            other => drop(write!(path, "%{other:02X}")),
        }
    }
    path
}

/// A probe of its own.
pub(super) struct Own {
    live: Live,
    registry: Arc<Registry>,
    history: Arc<History>,
    recorder: Recorder,
    runtime: Runtime,
}

impl Own {
    /// Attaches it. Nothing is written to the terminal from then on.
    pub(super) fn start(settings: &Settings) -> Result<Self> {
        let runtime = Builder::new_current_thread().build().context("cannot make a runtime")?;
        let registry = Arc::new(Registry::new(RegistrySettings {
            wall_offset: u64::try_from(clock::wall_offset_ns()).unwrap_or(0),
            started: clock::monotonic(),
            ..RegistrySettings::default()
        }));
        let live = run::start(settings, &registry)?;
        let history = Arc::new(History::new(settings.history_memory));
        let recorder = Recorder::start(Arc::clone(&history), Arc::clone(&registry), None)
            .context("cannot start the thread of the history")?;
        Ok(Self { live, registry, history, recorder, runtime })
    }
}

impl Source for Own {
    fn name(&self) -> String {
        "its own probe".to_owned()
    }

    fn health(&mut self) -> Result<Health> {
        self.registry.expire(clock::monotonic());
        let reports = self.live.running.lock().as_ref().map(|running| running.report()).unwrap_or_default();
        let losses = self.live.probe.losses();
        let sums = Conservation::of(Some(status::kernel(&losses)), &reports);
        let Exchanges { seen, missed, dropped, .. } = sums.exchanges;
        let sampling =
            self.live.governor.lock().as_ref().map_or(1.0, |governor| governor.state().step.sampling_ratio());
        Ok(Health { rung: self.live.probe.rung().name().to_owned(), seen, lost: missed + dropped, sampling })
    }

    fn services(&mut self, last: u32) -> Result<Services> {
        Ok(self.runtime.block_on(self.history.services(self.history.range(last, None)?))?)
    }

    fn service(&mut self, name: &str, last: u32) -> Result<Option<ServiceReport>> {
        Ok(self.runtime.block_on(self.history.service(name, self.history.range(last, None)?))?)
    }

    fn topology(&mut self, last: u32) -> Result<Topology> {
        Ok(self.runtime.block_on(self.history.topology(self.history.range(last, None)?))?)
    }

    fn calls(&mut self, limit: usize) -> Result<Vec<Call>> {
        let calls = &self.live.calls;
        let lines = calls.newest(&CallFilter::default(), limit);
        let line = |call| serde_json::from_str(&records::call_line(call, calls.wall_offset())).ok();
        Ok(lines.iter().filter_map(|call| line(call)).map(|line| Call::read(&line)).collect())
    }

    fn end(self: Box<Self>) {
        self.recorder.stop();
        run::end(&self.live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        assert_eq!(encoded("a b/c?d.e"), "a%20b%2Fc%3Fd.e");
    }
}
