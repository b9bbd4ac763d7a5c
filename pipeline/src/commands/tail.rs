//! `redtap tail`: calls as they happen, like tcpdump for requests.
//!
//! Life cycle: filters -> a running agent (over HTTP) or a probe of its own (`--own`) -> one line a call, until a signal, the
//! limit, or the end of who reads. What could not be shown in time is said on standard error (with `--json` in the stream).
//!
//! Absent: how calls are tied and filtered; that is the agent's.

mod source;
pub(super) mod text;

use super::Probing;
use super::agent::{Reach, Which};
use super::signals::Signals;
use anyhow::{Result, bail};
use redtap::calls::filter::CallFilter;
use source::{Agent, Next, Own, Source};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use text::Style;

const EXAMPLES: &str = "Examples:
  redtap tail                                   everything that the running agent sees
  redtap tail --status error --slower 100ms     what failed, and took at least so long
  redtap tail --service shop --protocol redis --side client
  redtap tail --json --limit 100 | jq .target   one object of JSON a line
  redtap tail --trace 4bf92f3577b34da6a3ce929d0e0e4736
  redtap tail --url https://host:9464 --ca ca.pem --token-file token   an agent elsewhere
  redtap tail --own --process nginx             without an agent: with a probe of its own (as root)";

/// What `tail` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tail {
    /// Only calls of this service (repeatable).
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Only calls with this other end (repeatable).
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Only calls in this protocol (repeatable).
    #[arg(long, value_name = "NAME")]
    protocol: Vec<String>,
    /// Only calls that were answered (server) or made (client).
    #[arg(long, value_name = "SIDE")]
    side: Vec<String>,
    /// Only calls that went so: ok, error, none (no answer), unknown (repeatable).
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// Only calls with this status code or error name (repeatable).
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,
    /// Only calls of this endpoint, as metrics name it (repeatable).
    #[arg(long, value_name = "NAME")]
    endpoint: Vec<String>,
    /// Only calls that took at least so long, such as 100ms.
    #[arg(long, value_name = "TIME")]
    slower: Option<String>,
    /// Only calls of this trace (repeatable).
    #[arg(long, value_name = "ID")]
    trace: Vec<String>,
    /// End after so many calls.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
    /// Watch with a probe of its own instead of asking an agent. Needs root.
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    probing: Probing,
}

impl Tail {
    /// The conditions, by name.
    fn conditions(&self) -> Vec<(&'static str, &str)> {
        let lists = [
            ("service", &self.service),
            ("peer", &self.peer),
            ("protocol", &self.protocol),
            ("side", &self.side),
            ("status", &self.status),
            ("code", &self.code),
            ("endpoint", &self.endpoint),
            ("trace", &self.trace),
        ];
        let mut all: Vec<_> = lists
            .into_iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value.as_str())))
            .collect();
        all.extend(self.slower.iter().map(|value| ("slower", value.as_str())));
        all
    }
}

pub(super) fn tail(options: &Tail) -> Result<ExitCode> {
    let conditions = options.conditions();
    let mut filter = CallFilter::default();
    for (name, value) in &conditions {
        filter.add(name, value)?;
    }
    let settings = options.probing.load()?.settings;
    let signals = Signals::listen()?;
    let source: Box<dyn Source> = if options.own {
        Box::new(Own::start(&settings, filter)?)
    } else {
        Box::new(Agent::ask(&Reach::of(&options.which, &settings)?, &conditions)?)
    };
    show(source, signals, options)
}

fn show(mut source: Box<dyn Source>, signals: Signals, options: &Tail) -> Result<ExitCode> {
    let stop = signals.into_flag(None)?;
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = if options.json { Style::Json } else { Style::Text { colours } };
    let mut out = std::io::stdout().lock();
    let mut left = options.limit;
    if let Some(head) = style.head()
        && !written(writeln!(out, "{head}").and_then(|()| out.flush()))?
    {
        return Ok(ExitCode::SUCCESS);
    }
    while left != Some(0) && !stop.load(Ordering::Acquire) {
        match source.next()? {
            Next::Call(line) => {
                left = left.map(|left| left - 1);
                if !written(style.write(&line, &mut out).and_then(|()| out.flush()))? {
                    break;
                }
            }
            Next::LeftOut(count) if options.json => {
                if !written(writeln!(out, "{{\"left_out\":{count}}}").and_then(|()| out.flush()))? {
                    break;
                }
            }
            Next::LeftOut(count) => {
                eprintln!("redtap: {count} calls left out: they came faster than they could be shown")
            }
            // `| head` ends this when it has enough, not only when the next call comes.
            Next::Nothing if is_read(&out) => {}
            Next::Nothing => break,
            Next::End => bail!("the agent has ended the stream"),
        }
    }
    drop(out);
    source.end();
    Ok(ExitCode::SUCCESS)
}

/// Somebody can still read what is written there. Of a pipe without a reader `poll(2)` tells an error, whatever it is asked for.
fn is_read(out: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(out, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A poll that fails says nothing: the next write will.
    poll(&mut asked, Some(&now)).is_err() || !asked.iter().any(|one| one.revents().contains(PollFlags::ERR))
}

/// False: who read has gone, which is no error.
fn written(done: std::io::Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_until_its_reader_is_gone() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(is_read(&writer));
        drop(reader);
        assert!(!is_read(&writer));
        assert!(is_read(&std::fs::File::create("/dev/null").unwrap()));
    }
}
