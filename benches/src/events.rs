//! Real events in memory, as often as wanted.
//!
//! `data/mixed.redtapev` was recorded on the `socket` rung from nginx under wrk and curl, and redis-server under
//! redis-benchmark, with and without pipelining; both ends of every connection. Each further round is the same traffic on
//! other connections, a minute later.

use anyhow::{Context as _, Result, ensure};
use redtap::recording::RecordingReader;
use redtap::source::stream_time::{Next, Records as _};
use redtap::source::{BATCH_RECORDS, Filled, Lease, Source, SourceTotals};
use redtap_stages::abi::EventHeader;
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::time::Nanos;
use std::io::Cursor;
use std::mem::offset_of;
use std::sync::Arc;
use std::time::Duration;

const RECORDING: &[u8] = include_bytes!("../data/mixed.redtapev");

/// Events in one stretch of memory.
#[derive(Debug, Clone)]
pub struct Events {
    memory: Arc<[u8]>,
    records: Arc<[(Span, Nanos)]>,
}

impl Events {
    /// The recording, `rounds` times.
    ///
    /// # Errors
    /// When the recording cannot be read by this version.
    pub fn load(rounds: u64) -> Result<Self> {
        let mut reader = RecordingReader::new(Cursor::new(RECORDING))?;
        let failure = reader.failure();
        let (mut once, mut record) = (Vec::new(), Vec::new());
        while reader.next_record(&mut record) == Next::Record {
            once.push(std::mem::take(&mut record));
        }
        ensure!(failure.get().is_none(), "the recording is damaged: {:?}", failure.get());
        let (mut memory, mut records) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            for record in &once {
                let start = memory.len();
                memory.extend_from_slice(record);
                let copy = memory.get_mut(start..).unwrap_or_default();
                shift(copy, offset_of!(EventHeader, conn_id), round * 1_000_000)?;
                shift(copy, offset_of!(EventHeader, other_ts_ns), round * 60_000_000_000)?;
                let at = shift(copy, offset_of!(EventHeader, ts_ns), round * 60_000_000_000)?;
                let span = Span { start: u32::try_from(start)?, len: u32::try_from(record.len())? };
                records.push((span, Nanos(at)));
            }
        }
        Ok(Self { memory: memory.into(), records: records.into() })
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
