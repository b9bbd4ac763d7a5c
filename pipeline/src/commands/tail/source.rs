//! Where `tail` has its lines from: a running agent, or a probe of its own.

use super::super::agent::{Answer, Reach};
use super::super::run;
use super::super::status::Live;
use anyhow::{Context as _, Result, bail};
use redtap::calls::Followed;
use redtap::calls::filter::CallFilter;
use redtap::clock;
use redtap::records;
use redtap::registry::{Registry, RegistrySettings};
use redtap::settings::Settings;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TryRecvError;

/// How long nothing is waited for at a time: a signal is noticed after that.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a stream may say nothing: there is a heartbeat.
const SILENT: u32 = 300;
/// Longest line, and longest head of an answer.
const MAX_LINE: usize = 64 * 1024;

/// What comes next.
pub(super) enum Next {
    /// A call as a line of JSON.
    Call(String),
    /// So many calls were left out.
    LeftOut(u64),
    /// Nothing for now.
    Nothing,
    /// Nothing more.
    End,
}

/// Gives lines.
pub(super) trait Source {
    /// The next; waits for it, but not for long.
    fn next(&mut self) -> Result<Next>;
    /// No more are wanted.
    fn end(self: Box<Self>);
}

/// A running agent.
pub(super) struct Agent {
    stream: Answer,
    pending: Vec<u8>,
    silent: u32,
}

impl Agent {
    /// Asks for all calls that hold the conditions.
    pub(super) fn ask(reach: &Reach, conditions: &[(&str, &str)]) -> Result<Self> {
        let mut path = "/api/v1/calls?follow=true".to_owned();
        for (name, value) in conditions {
            let _ = write!(path, "&{name}=");
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
                    other => drop(write!(path, "%{other:02X}")),
                }
            }
        }
        let stream = reach.ask(&path, "application/x-ndjson")?;
        let mut agent = Self { stream, pending: Vec::new(), silent: 0 };
        let status = agent.line()?.unwrap_or_default();
        while agent.line()?.is_some_and(|line| !line.is_empty()) {}
        if status.split(' ').nth(1) != Some("200") {
            let why = agent.line()?.unwrap_or_default();
            let why = serde_json::from_str::<serde_json::Value>(&why).ok();
            let why =
                why.as_ref().and_then(|why| why.get("error")?.as_str()).unwrap_or("this is no agent of this version");
            bail!("the agent at {} refuses: {why}", reach.address());
        }
        agent.stream.set_read_timeout(PATIENCE)?;
        Ok(agent)
    }

    /// The next whole line; `None` at the end.
    fn line(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        if self.pending.len() > MAX_LINE {
            return Err(std::io::Error::other("a line of the agent has no end"));
        }
        let mut bytes = [0; 8_192];
        let read = self.stream.read(&mut bytes)?;
        self.pending.extend_from_slice(bytes.get(..read).unwrap_or(&[]));
        Ok(read)
    }
}

impl Source for Agent {
    fn next(&mut self) -> Result<Next> {
        loop {
            match self.take_line() {
                Some(line) if line.is_empty() => {}
                Some(line) => {
                    let left_out = line.strip_prefix("{\"left_out\":").and_then(|rest| rest.strip_suffix('}'));
                    return Ok(left_out.and_then(|count| count.parse().ok()).map_or(Next::Call(line), Next::LeftOut));
                }
                None => match self.fill() {
                    Ok(0) => return Ok(Next::End),
                    Ok(_) => self.silent = 0,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        self.silent += 1;
                        return if self.silent > SILENT { Ok(Next::End) } else { Ok(Next::Nothing) };
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error).context("the agent is gone"),
                },
            }
        }
    }

    fn end(self: Box<Self>) {}
}

/// A probe of its own.
pub(super) struct Own {
    live: Live,
    followed: Followed,
}

impl Own {
    /// Attaches it.
    pub(super) fn start(settings: &Settings, filter: CallFilter) -> Result<Self> {
        let registry = Arc::new(Registry::new(RegistrySettings {
            wall_offset: u64::try_from(clock::wall_offset_ns()).unwrap_or(0),
            started: clock::monotonic(),
            ..RegistrySettings::default()
        }));
        let live = run::start(settings, &registry)?;
        let followed = live.calls.follow(filter)?;
        Ok(Self { live, followed })
    }
}

impl Source for Own {
    fn next(&mut self) -> Result<Next> {
        let left_out = self.followed.left_out();
        if left_out > 0 {
            return Ok(Next::LeftOut(left_out));
        }
        match self.followed.calls.try_recv() {
            Ok(call) => Ok(Next::Call(records::call_line(&call, self.live.calls.wall_offset()))),
            Err(TryRecvError::Empty) => {
                std::thread::sleep(PATIENCE / 5);
                Ok(Next::Nothing)
            }
            Err(TryRecvError::Disconnected) => Ok(Next::End),
        }
    }

    fn end(self: Box<Self>) {
        drop(self.followed);
        run::end(&self.live);
    }
}
