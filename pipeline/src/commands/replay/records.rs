//! Exchanges as lines, in the order in which the requests start; or, of a file that is followed, as they complete.

use anyhow::{Context as _, Result};
use crossbeam_channel::RecvTimeoutError;
use redtap::records::{self, Targets};
use redtap::tap::Subscription;
use redtap_stages::flow::joined::Joined;
use redtap_stages::time::Nanos;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// The name that stands for standard output.
pub(super) const STDOUT: &str = "-";
/// Lines kept for putting them in order; past that, the older half is written.
const MAX_LINES: usize = 500_000;

/// What is listed, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    pub(super) wall_offset_ns: i64,
    /// Also exchanges whose request nobody saw.
    pub(super) unasked: bool,
    /// Each line as soon as it is known.
    pub(super) at_once: bool,
}

impl Listing {
    /// Writes what the tap shows; returns how many exchanges were left out.
    pub(super) fn write(self, subscription: &Subscription, target: &Path) -> Result<u64> {
        let mut out: Box<dyn Write> = if target == Path::new(STDOUT) {
            Box::new(std::io::stdout().lock())
        } else {
            Box::new(File::create(target).with_context(|| format!("cannot write {}", target.display()))?)
        };
        let mut out = BufWriter::new(&mut out);
        let mut lines: Vec<(Nanos, String)> = Vec::new();
        let mut left_out = 0;
        loop {
            match subscription.next(Duration::from_secs(1)) {
                Ok(batch) => {
                    let listed = batch.iter().filter(|one| self.unasked || !was_not_seen(one));
                    let had = lines.len();
                    lines.extend(listed.map(|one| {
                        (one.converged.exchange.start, records::line(one, self.wall_offset_ns, Targets::Raw))
                    }));
                    left_out += (batch.len() - (lines.len() - had)) as u64;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.at_once {
                let all = lines.len();
                write_first(&mut lines, all, &mut out)?;
                out.flush()?;
            } else if lines.len() >= MAX_LINES {
                write_first(&mut lines, MAX_LINES / 2, &mut out)?;
            }
        }
        let all = lines.len();
        write_first(&mut lines, all, &mut out)?;
        out.flush()?;
        Ok(left_out)
    }
}

/// Its answer is all that was seen: the request is made up, and nothing is known of it.
fn was_not_seen(one: &Joined) -> bool {
    let exchange = &one.converged.exchange;
    exchange.method.as_str().is_empty() && exchange.request_bytes == 0
}

fn write_first(lines: &mut Vec<(Nanos, String)>, count: usize, out: &mut impl Write) -> Result<()> {
    // Stable: requests of one moment stay in the order in which they were answered.
    lines.sort_by_key(|(start, _)| *start);
    for (_, line) in lines.drain(..count.min(lines.len())) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
