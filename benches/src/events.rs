//! Real events in memory, as often as wanted.
//!
//! `data/mixed.redtapev` was recorded on the `socket` rung from nginx under wrk and curl, and redis-server under
//! redis-benchmark, with and without pipelining; both ends of every connection. Each further round is the same traffic on
//! other connections, two seconds later. A [`Mix`] is the part of it that one server took part in.

use anyhow::{Context as _, Result, ensure};
use redtap::recording::RecordingReader;
use redtap::source::{BATCH_RECORDS, Filled, Lease, Source, SourceTotals};
use redtap_captures::records::{Next, Records as _};
use redtap_stages::abi::EventHeader;
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::time::Nanos;
use std::io::Cursor;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Duration;

/// Ports of the servers in the recording.
const NGINX: u16 = 21_401;
const REDIS: u16 = 21_402;

/// Which traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// All that was recorded.
    All,
    /// HTTP/1: nginx, wrk and curl.
    Http1,
    /// Redis: redis-server, redis-benchmark and redis-cli.
    Redis,
}

impl Mix {
    fn holds(self, record: &[u8]) -> bool {
        let ports = ports(record);
        match self {
            Self::All => true,
            Self::Http1 => ports.contains(&Some(NGINX)),
            Self::Redis => ports.contains(&Some(REDIS)),
        }
    }
}

/// The ports of a record's two ends.
fn ports(record: &[u8]) -> [Option<u16>; 2] {
    [offset_of!(EventHeader, lport), offset_of!(EventHeader, rport)]
        .map(|field| record.get(field..field + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes))
}

/// From the beginning of one round to that of the next, ns. The recording is a little shorter than half of it.
const ROUND_NS: u64 = 2_000_000_000;

const RECORDING: &[u8] = include_bytes!("../data/mixed.redtapev");

/// Events in one stretch of memory.
#[derive(Debug, Clone)]
pub struct Events {
    memory: Arc<[u8]>,
    records: Arc<[(Span, Nanos)]>,
}

impl Events {
    /// All of the recording, `rounds` times.
    ///
    /// # Errors
    /// When the recording cannot be read by this version.
    pub fn load(rounds: u64) -> Result<Self> {
        Self::of(Mix::All, rounds)
    }

    /// The recording's part `mix`, `rounds` times.
    ///
    /// # Errors
    /// When the recording cannot be read by this version.
    pub fn of(mix: Mix, rounds: u64) -> Result<Self> {
        let once = Self::recorded(mix)?;
        let (mut memory, mut records) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for record in &once {
                let start = memory.len();
                memory.extend_from_slice(record);
                let copy = memory.get_mut(start..).unwrap_or_default();
                shift(copy, offset_of!(EventHeader, conn_id), round * 1_000_000)?;
                shift(copy, offset_of!(EventHeader, other_ts_ns), round * ROUND_NS)?;
                let at = shift(copy, offset_of!(EventHeader, ts_ns), round * ROUND_NS)?;
                let span = Span { start: u32::try_from(start)?, len: u32::try_from(record.len())? };
                records.push((span, Nanos(at)));
            }
        }
        Ok(Self { memory: memory.into(), records: records.into() })
    }

    /// As recorded, one after the other: for who makes other events of them.
    ///
    /// # Errors
    /// When the recording cannot be read by this version.
    pub fn recorded(mix: Mix) -> Result<Vec<Vec<u8>>> {
        let mut reader = RecordingReader::new(Cursor::new(RECORDING))?;
        let failure = reader.failure();
        let (mut all, mut record) = (Vec::new(), Vec::new());
        while reader.next_record(&mut record) == Next::Record {
            let whole = std::mem::take(&mut record);
            if mix.holds(&whole) {
                all.push(whole);
            }
        }
        ensure!(failure.get().is_none(), "the recording is damaged: {:?}", failure.get());
        Ok(all)
    }

    /// Events that lie one behind the other in `memory`, each with its time.
    #[must_use]
    pub fn made(memory: Vec<u8>, records: Vec<(Span, Nanos)>) -> Self {
        Self { memory: memory.into(), records: records.into() }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// The first `n` of them.
    #[must_use]
    pub fn first(&self, n: usize) -> Self {
        let records = self.records.get(..n).unwrap_or(&self.records).into();
        Self { memory: Arc::clone(&self.memory), records }
    }

    /// Those behind the first `n`.
    #[must_use]
    pub fn behind(&self, n: usize) -> Self {
        let records = self.records.get(n..).unwrap_or_default().into();
        Self { memory: Arc::clone(&self.memory), records }
    }

    /// Them dealt out to so many shards by what is the same at both ends of a connection, as the kernel programs do it (they by a hash
    /// of both addresses, this by one of both ports): both ends are in one shard.
    #[must_use]
    pub fn dealt(&self, shards: usize) -> Vec<Self> {
        let mut parts = vec![Vec::new(); shards];
        for (span, at) in self.records.iter() {
            let sum: u32 = ports(span.of(&self.memory)).into_iter().flatten().map(u32::from).sum();
            // The sum's own parity tells servers apart and not connections: clients mostly have even ports.
            let hash = sum.wrapping_mul(0x9e37_79b1) >> 16;
            if let Some(part) = usize::try_from(hash)
                .ok()
                .and_then(|hash| hash.checked_rem(shards))
                .and_then(|shard| parts.get_mut(shard))
            {
                part.push((*span, *at));
            }
        }
        parts.into_iter().map(|part| Self { memory: Arc::clone(&self.memory), records: part.into() }).collect()
    }

    /// Them as a source.
    #[must_use]
    pub fn source(&self) -> EventsSource {
        EventsSource { events: self.clone(), next: 0, now: Nanos::ZERO, stopped: false }
    }
}

/// Adds to a number in a record; its new value. Zero (not known) stays zero.
fn shift(record: &mut [u8], field: usize, by: u64) -> Result<u64> {
    let place = record.get_mut(field..field + 8).context("a record without its header")?;
    let value = u64::from_ne_bytes(place.try_into()?);
    let value = if value == 0 { 0 } else { value + by };
    place.copy_from_slice(&value.to_ne_bytes());
    Ok(value)
}

/// Gives events from memory, without copying, as a ring would.
#[derive(Debug)]
pub struct EventsSource {
    events: Events,
    next: usize,
    now: Nanos,
    stopped: bool,
}

impl Source for EventsSource {
    fn fill(&mut self, batch: &mut EventBatch<Lease>) -> Filled {
        let rest = if self.stopped { None } else { self.events.records.get(self.next..) };
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return Filled::End(self.now) };
        for (span, at) in rest.iter().take(BATCH_RECORDS) {
            batch.records.push(*span);
            self.now = self.now.max(*at);
        }
        self.next += batch.records.len();
        batch.memory = Some(Lease::Shared(Arc::clone(&self.events.memory)));
        Filled::Records(self.now)
    }

    fn wait(&mut self, _: Duration) {}

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn totals(&self) -> SourceTotals {
        SourceTotals { records: self.next as u64, ..SourceTotals::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn both_ends_of_a_connection_are_in_one_shard_and_shards_are_of_a_size() {
        for mix in [Mix::Http1, Mix::Redis, Mix::All] {
            let events = Events::of(mix, 2).expect("the recording");
            let parts = events.dealt(2);
            assert_eq!(parts.iter().map(Events::len).sum::<usize>(), events.len());
            let share = 100 * parts[0].len() / events.len();
            assert!((25..=75).contains(&share), "{mix:?}: {share} % in the first");
            let ends = |part: &Events| -> HashSet<[Option<u16>; 2]> {
                let ends = part.records.iter().map(|(span, _)| ports(span.of(&part.memory)));
                ends.map(|mut ports| {
                    ports.sort_unstable();
                    ports
                })
                .collect()
            };
            let [first, second] = [&parts[0], &parts[1]].map(ends);
            assert!(first.is_disjoint(&second));
        }
    }
}
