//! A look back: the steps of a range, copied out of the history, to be read without holding it up.

use super::block::{Block, Gain};
use super::durations::{Bounds, Durations, float};
use super::series::Named;
use super::{COARSE, COARSE_KEPT, FINE, FINE_KEPT, History, floor};
use crate::reports::{Range, Red, RedOverTime, ReportError};
use redtap_stages::metric::{Metric, Source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most steps of a range: what a screen shows.
pub const MAX_STEPS: usize = 240;
/// Lengths of steps that a range may have, seconds.
const STEPS: [u32; 10] = [FINE, 10, 15, 30, COARSE, 120, 180, 240, 360, 600];

/// The steps of a range.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) range: Range,
    names: Vec<Option<Arc<Named>>>,
    blocks: Vec<Block>,
    /// Seconds of one block.
    base: u32,
}

impl History {
    /// The last `seconds` before `until` (or before `now`), in at most [`MAX_STEPS`] steps.
    pub(crate) fn range_at(&self, now: i64, seconds: u32, until: Option<i64>) -> Result<Range, ReportError> {
        let end = until.unwrap_or(now).min(now);
        let refuse = |why: String| {
            let from = end.saturating_sub(i64::from(seconds));
            Err(ReportError::Range { from, to: end, why })
        };
        if seconds < FINE {
            return refuse(format!("it is shorter than a step of {FINE} s; ask for more"));
        }
        if seconds > COARSE_KEPT {
            return refuse("only the last day is kept; ask for at most 24h".to_owned());
        }
        if end <= now.saturating_sub(i64::from(COARSE_KEPT)) {
            return refuse("only the last day is kept; ask for a later end".to_owned());
        }
        let fine = end.saturating_sub(i64::from(seconds)) >= now.saturating_sub(i64::from(FINE_KEPT));
        let most = u32::try_from(MAX_STEPS).unwrap_or(u32::MAX);
        let fits = |step: &&u32| seconds.div_ceil(**step) <= most && (fine || step.is_multiple_of(COARSE));
        let Some(&step) = STEPS.iter().find(fits) else {
            return refuse("it has too many steps; ask for at most 24h".to_owned());
        };
        // A long step is not waited for: its values are as of the last whole minute.
        let end = if end == now { self.recorded_until(now, step) } else { end };
        let to = floor(end, step.min(COARSE));
        Ok(Range { from: to - i64::from(seconds.div_ceil(step) * step), to, step })
    }

    /// The end of the last recording, if the next one is only just due: also where it is a little ahead, because the agent was
    /// stopped within the step.
    fn recorded_until(&self, now: i64, step: u32) -> i64 {
        let inner = self.inner.lock();
        let tier = if step.is_multiple_of(COARSE) { &inner.coarse } else { &inner.fine };
        match tier.last() {
            Some(last) if last <= now && now - last < i64::from(3 * tier.step) => last + i64::from(tier.step),
            _ => now,
        }
    }

    /// What is kept of a range.
    pub(crate) fn view(&self, range: Range) -> Result<View, ReportError> {
        let refuse = |why: &str| {
            let Range { from, to, .. } = range;
            Err(ReportError::Range { from, to, why: why.to_owned() })
        };
        if range.from >= range.to {
            return refuse("its end is not after its beginning");
        }
        if !range.step.is_multiple_of(FINE) || range.step == 0 || range.steps() > MAX_STEPS {
            return refuse("its steps are not multiples of 5 s, or there are more than 240; ask for it with last=");
        }
        let inner = self.inner.lock();
        let tier = if range.step.is_multiple_of(COARSE) { &inner.coarse } else { &inner.fine };
        let first = tier.blocks.partition_point(|block| block.start < range.from);
        let blocks = tier.blocks.iter().skip(first).take_while(|block| block.start < range.to).cloned().collect();
        Ok(View { range, names: inner.dictionary.names(), blocks, base: tier.step })
    }
}

/// What was recorded of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Seconds of a step.
    pub(crate) seconds: u32,
    /// Numbers of the steps that were.
    pub(crate) steps: BTreeSet<usize>,
}

impl View {
    /// Of gains that are kept elsewhere: series by number, and by the number of a step what they gained, series ascending.
    pub(crate) fn of(
        range: Range,
        recorded: Recorded,
        names: Vec<Option<Arc<Named>>>,
        mut gained: BTreeMap<usize, Vec<(u32, Gain)>>,
    ) -> Self {
        let steps: BTreeSet<usize> = recorded.steps.into_iter().chain(gained.keys().copied()).collect();
        let start = |step: usize| range.from + i64::from(range.step) * i64::try_from(step).unwrap_or(i64::MAX);
        let blocks = steps.into_iter().filter(|step| *step < range.steps());
        let blocks = blocks.map(|step| Block::of(start(step), gained.remove(&step).unwrap_or_default())).collect();
        Self { range, names, blocks, base: recorded.seconds }
    }

    /// Series by number.
    pub(crate) fn names(&self) -> impl Iterator<Item = Option<&Named>> {
        self.names.iter().map(Option::as_deref)
    }

    /// Calls `gained` with what each series gained in each part of a step, then `over` with the seconds of the step that were
    /// recorded; for each step.
    pub(crate) fn walk<T>(&self, of: &mut T, gained: impl Fn(&mut T, u32, &Gain), over: impl Fn(&mut T, u32)) {
        let mut blocks = self.blocks.iter().peekable();
        let mut end = self.range.from;
        for _ in 0..self.range.steps() {
            end += i64::from(self.range.step);
            let mut recorded = 0;
            while let Some(block) = blocks.next_if(|block| block.start < end) {
                recorded += self.base;
                block.entries().for_each(|(id, gain)| gained(of, id, &gain));
            }
            over(of, recorded);
        }
    }

    /// Seconds of the range that were recorded.
    pub(crate) fn recorded(&self) -> f64 {
        f64::from(self.base) * float(self.blocks.len() as u64)
    }
}

/// Which end of a request was watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    Served,
    Called,
}

impl Side {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Called => "called",
        }
    }
}

/// What a metric of requests is about; `None`: it is one of the service graph.
pub(crate) fn kind(metric: Metric) -> Option<(Side, &'static str)> {
    match metric {
        Metric::HttpServerRequestDuration => Some((Side::Served, "http")),
        Metric::HttpClientRequestDuration => Some((Side::Called, "http")),
        Metric::DbServerOperationDuration => Some((Side::Served, "db")),
        Metric::DbClientOperationDuration => Some((Side::Called, "db")),
        Metric::DnsServerLookupDuration => Some((Side::Served, "dns")),
        Metric::DnsLookupDuration => Some((Side::Called, "dns")),
        Metric::RpcServerCallDuration => Some((Side::Served, "rpc")),
        Metric::RpcClientCallDuration => Some((Side::Called, "rpc")),
        Metric::MessagingServerOperationDuration => Some((Side::Served, "messaging")),
        Metric::MessagingClientOperationDuration => Some((Side::Called, "messaging")),
        Metric::ServiceGraphRequests
        | Metric::ServiceGraphFailed
        | Metric::ServiceGraphServer
        | Metric::ServiceGraphClient => None,
    }
}

/// A series of requests, as far as rate, errors and duration need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kindred {
    pub(crate) side: Side,
    pub(crate) kind: &'static str,
    pub(crate) bounds: Bounds,
    pub(crate) failed: bool,
}

impl Kindred {
    pub(crate) fn of(named: &Named) -> Option<Self> {
        let (side, kind) = kind(named.metric)?;
        let bounds = Bounds::of(named.metric)?;
        Some(Self { side, kind, bounds, failed: !named.from(Source::Fault).is_empty() })
    }
}

/// Requests, those that failed, and how long they took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) durations: Durations,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, kindred: Kindred, gain: &Gain) {
        self.durations.add(kindred.bounds, gain);
        if kindred.failed {
            self.failed = self.failed.saturating_add(super::series::total(gain));
        }
    }

    /// Over so many seconds; `None` without requests.
    pub(crate) fn red(&self, seconds: f64) -> Option<Red> {
        let requests = self.durations.count();
        (requests > 0).then(|| red(requests, self.failed, &self.durations, seconds))
    }

    /// Appends itself as a step of which so many seconds were recorded, and begins anew.
    pub(crate) fn end_step(&mut self, recorded: u32, over_time: &mut RedOverTime) {
        let Self { durations, failed } = std::mem::take(self);
        let requests = float(durations.count());
        let [p50, p90, p99] = durations.quantiles([0.5, 0.9, 0.99]).map(|value| value.map(rounded));
        over_time.requests_per_second.push((recorded > 0).then(|| rounded(requests / f64::from(recorded))));
        over_time.error_ratio.push((requests > 0.0).then(|| rounded(float(failed) / requests)));
        over_time.p50_seconds.push(p50);
        over_time.p90_seconds.push(p90);
        over_time.p99_seconds.push(p99);
    }
}

/// The numbers of so many requests in so many seconds.
pub(crate) fn red(requests: u64, failed: u64, durations: &Durations, seconds: f64) -> Red {
    let [p50_seconds, p90_seconds, p99_seconds] = durations.quantiles([0.5, 0.9, 0.99]);
    Red {
        requests: float(requests),
        requests_per_second: if seconds > 0.0 { float(requests) / seconds } else { 0.0 },
        error_ratio: (requests > 0).then(|| float(failed) / float(requests)),
        p50_seconds,
        p90_seconds,
        p99_seconds,
    }
}

/// To six digits: lists of many values are for drawing.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(5.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_steps_that_suit_it() {
        let history = History::new(1 << 20);
        let now = 1_700_000_013;
        for (seconds, step) in [(300, 5), (900, 5), (1_200, 5), (3_600, 15), (21_600, 120), (86_400, 360)] {
            let range = history.range_at(now, seconds, None).unwrap();
            assert_eq!((range.step, range.to - range.from), (step, i64::from(seconds)), "{seconds} s");
            assert!(range.to <= now && now - range.to < 60 && range.steps() <= MAX_STEPS);
        }
        // Older than what is kept in fine steps.
        assert_eq!(history.range_at(now, 300, Some(now - 7_200)).unwrap().step, 60);
        for (seconds, until) in [(0, None), (86_401, None), (300, Some(now - 86_401)), (300, Some(i64::MIN))] {
            assert!(matches!(history.range_at(now, seconds, until), Err(ReportError::Range { .. })), "{seconds}");
        }
        assert_eq!(history.range_at(now, 300, Some(i64::MAX)).unwrap().to, 1_700_000_010, "nothing of the future");
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        let history = History::new(1 << 20);
        for (from, to, step) in [(10, 10, 5), (10, 5, 5), (0, 10, 0), (0, 10, 3), (0, 5 * 241, 5)] {
            assert!(history.view(Range { from, to, step }).is_err(), "{from} {to} {step}");
        }
    }

    #[test]
    fn rounds_to_six_digits() {
        assert_eq!([1234567.0, 0.001_234_567_8, 0.0, 2.5].map(rounded), [1234570.0, 0.001_234_57, 0.0, 2.5]);
    }
}
