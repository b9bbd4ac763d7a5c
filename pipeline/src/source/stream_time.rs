//! A source of recorded events whose clock is the events' own: what happened in an hour is replayed as fast as the stages
//! can, with every time-out and flush where it would have been.
//!
//! A batch covers at most [`WINDOW`] of stream time. Where nothing happened for longer than [`STEP`], time is passed on
//! alone, step by step (at most [`MAX_STEPS`] at one place), so that what the silence makes ready is ready before the
//! next event.
//!
//! Absent: any other clock. It waits only for records of a source that still grows.

use super::{BATCH_BYTES, BATCH_RECORDS, Filled, Lease, Source, SourceTotals};
use redtap_captures::records::{MAX_RECORD, Next, Records};
use redtap_stages::abi::EventHeader;
use redtap_stages::flow::event::{EventBatch, Span};
use redtap_stages::time::Nanos;
use std::mem::offset_of;
use std::time::Duration;

/// Most stream time in one batch.
pub const WINDOW: Nanos = Nanos::from_millis(250);
/// Longest silence that is not divided.
pub const STEP: Nanos = Nanos::SECOND;
/// Most steps that one silence is divided into; what is left of it is one leap.
pub const MAX_STEPS: u32 = 4_096;
/// How far time goes on while a source that still grows has nothing: enough for what is ready to go out, too little for
/// anything to time out only because its file is written slowly.
pub const PATIENCE: Nanos = Nanos::SECOND;
/// Any iterator of records; one that is too long ends it.
#[derive(Debug)]
pub struct Iterated<I>(pub I);

impl<T: AsRef<[u8]>, I: Iterator<Item = T> + Send + 'static> Records for Iterated<I> {
    fn next_record(&mut self, memory: &mut Vec<u8>) -> Next {
        let Some(record) = self.0.next().filter(|record| record.as_ref().len() <= MAX_RECORD) else { return Next::End };
        memory.extend_from_slice(record.as_ref());
        Next::Record
    }
}

/// The source of `records`, in the time of their stamps.
#[derive(Debug)]
pub struct StreamTime<R> {
    records: R,
    /// The next record, read but not given.
    ahead: Vec<u8>,
    now: Option<Nanos>,
    steps: u32,
    /// By how much time went on while there was nothing.
    waited: Nanos,
    stopped: bool,
    given: u64,
}

impl<R: Records> StreamTime<R> {
    /// A source of `records`.
    #[must_use]
    pub fn new(records: R) -> Self {
        Self { records, ahead: Vec::new(), now: None, steps: 0, waited: Nanos::ZERO, stopped: false, given: 0 }
    }

    /// Stamp of the next record, or why there is none.
    fn peek(&mut self) -> Result<Nanos, Next> {
        if self.ahead.is_empty() {
            match self.records.next_record(&mut self.ahead) {
                Next::Record => {}
                none => return Err(none),
            }
        }
        Ok(stamp(&self.ahead))
    }

    fn collect(&mut self, first: Nanos, batch: &mut EventBatch<Lease>) -> Nanos {
        let mut memory = Vec::with_capacity(BATCH_BYTES + MAX_RECORD);
        let mut last = first;
        while let Ok(at) = self.peek() {
            let full = batch.records.len() == BATCH_RECORDS || memory.len() >= BATCH_BYTES;
            if full || at.since(first) > WINDOW {
                break;
            }
            // The bounds on records and their length keep both far below 2^32.
            let start = u32::try_from(memory.len()).unwrap_or(u32::MAX);
            let len = u32::try_from(self.ahead.len()).unwrap_or(u32::MAX);
            batch.records.push(Span { start, len });
            memory.append(&mut self.ahead);
            last = last.max(at);
        }
        self.given += batch.records.len() as u64;
        batch.memory = Some(Lease::Owned(memory));
        last
    }
}

impl<R: Records> Source for StreamTime<R> {
    fn fill(&mut self, batch: &mut EventBatch<Lease>) -> Filled {
        let next = if self.stopped { Err(Next::End) } else { self.peek() };
        let next = match next {
            Ok(next) => next,
            Err(Next::Later) => return Filled::Nothing(self.now.unwrap_or_default()),
            Err(_) => return Filled::End(self.now.unwrap_or_default()),
        };
        let now = *self.now.get_or_insert(next);
        if next.since(now) > STEP && self.steps < MAX_STEPS {
            self.steps += 1;
            self.now = Some(now + STEP);
            return Filled::Time(now + STEP);
        }
        self.steps = 0;
        self.waited = Nanos::ZERO;
        let last = self.collect(next, batch).max(now);
        self.now = Some(last);
        Filled::Records(last)
    }

    fn wait(&mut self, at_most: Duration) {
        // Records come from a file that grows: there is nothing to be woken by.
        std::thread::sleep(at_most);
        let slept = Nanos(u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX));
        if let Some(now) = self.now.filter(|_| self.waited < PATIENCE) {
            self.waited = self.waited + slept;
            self.now = Some(now + slept);
        }
    }

    fn stop(&mut self) {
        self.stopped = true;
    }

    fn totals(&self) -> SourceTotals {
        SourceTotals { records: self.given, ..SourceTotals::default() }
    }
}

/// When a record was made; zero for one that is too short to say (decode will refuse and count it).
pub(super) fn stamp(record: &[u8]) -> Nanos {
    const AT: usize = offset_of!(EventHeader, ts_ns);
    let bytes = record.get(AT..).and_then(|rest| rest.first_chunk::<8>());
    Nanos(bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redtap_stages::abi::HEADER_LEN;
    use redtap_stages::stage::Batch;

    fn record(at: Nanos) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[24..32].copy_from_slice(&at.0.to_ne_bytes());
        bytes
    }

    fn run(stamps: &[u64]) -> Vec<(usize, Filled)> {
        let records: Vec<_> = stamps.iter().map(|&ms| record(Nanos::from_millis(ms))).collect();
        let mut source = StreamTime::new(Iterated(records.into_iter()));
        let mut steps = Vec::new();
        loop {
            let mut batch = EventBatch::default();
            let filled = source.fill(&mut batch);
            steps.push((batch.len(), filled));
            if matches!(filled, Filled::End(_)) {
                return steps;
            }
        }
    }

    #[test]
    fn a_silence_is_passed_on_second_by_second() {
        let ms = Nanos::from_millis;
        assert_eq!(
            run(&[1000, 1010, 3500, 3400]),
            vec![
                (2, Filled::Records(ms(1010))),
                (0, Filled::Time(ms(2010))),
                (0, Filled::Time(ms(3010))),
                (2, Filled::Records(ms(3500))),
                (0, Filled::End(ms(3500))),
            ]
        );
    }

    #[test]
    fn a_batch_is_bounded_in_records_and_in_time() {
        let steps = run(&[5; BATCH_RECORDS + 1]);
        assert_eq!(steps[0].0, BATCH_RECORDS);
        assert_eq!(steps[1].0, 1);
        assert_eq!(run(&[0, 250, 251])[0].0, 2);
    }

    #[test]
    fn a_very_long_silence_ends_in_one_leap() {
        let day = 86_400_000;
        let steps = run(&[0, day]);
        assert_eq!(steps.len(), 1 + MAX_STEPS as usize + 2);
        assert_eq!(steps[MAX_STEPS as usize + 1], (1, Filled::Records(Nanos::from_millis(day))));
    }

    /// Gives what it has, then nothing until there is more.
    struct Growing(Vec<Option<Nanos>>);

    impl Records for Growing {
        fn next_record(&mut self, memory: &mut Vec<u8>) -> Next {
            match self.0.pop() {
                Some(Some(at)) => memory.extend(record(at)),
                Some(None) => return Next::Later,
                None => return Next::End,
            }
            Next::Record
        }
    }

    #[test]
    fn gives_what_there_is_and_goes_on_when_there_is_more() {
        let mut source = StreamTime::new(Growing(vec![Some(Nanos(9)), None, None, Some(Nanos(7)), Some(Nanos(5))]));
        let mut batch = EventBatch::default();
        assert_eq!(source.fill(&mut batch), Filled::Records(Nanos(7)));
        assert_eq!(batch.len(), 2);
        batch.recycle();
        assert_eq!(source.fill(&mut batch), Filled::Nothing(Nanos(7)));
        // So that what waits for time to pass does not wait for the next record.
        for _ in 0..3 {
            source.wait(Duration::from_millis(500));
        }
        let now = Nanos(7) + PATIENCE;
        assert_eq!(source.fill(&mut batch), Filled::Records(now), "and no further");
        batch.recycle();
        assert_eq!(source.fill(&mut batch), Filled::End(now));
    }

    #[test]
    fn stops_when_asked() {
        let mut source = StreamTime::new(Iterated(std::iter::repeat(record(Nanos(5)))));
        let mut batch = EventBatch::default();
        assert_eq!(source.fill(&mut batch), Filled::Records(Nanos(5)));
        source.stop();
        batch.recycle();
        assert_eq!(source.fill(&mut batch), Filled::End(Nanos(5)));
        assert_eq!(source.totals().records, BATCH_RECORDS as u64);
    }
}
