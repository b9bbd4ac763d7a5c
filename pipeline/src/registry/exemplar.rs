//! Exemplars: for a bucket of a series, one call that was counted in it.
//!
//! The newest stays, but one whose trace came from elsewhere is not replaced by one of redtap's own for [`SAID_STAYS`]. While one is shown, none
//! takes its place whose wall clock time ([`Exemplar::at_ms`]) is not newer: receivers refuse what is older than what they have. The wall clock may be
//! set back; then the bucket keeps its exemplar until that is forgotten ([`MAX_AGE`], by the monotonic clock), and the next has an earlier time.
//! Who sends exemplars must know what was sent.
//!
//! Bounds: one a bucket, [`MAX_EXEMPLARS`] in all, each for [`MAX_AGE`]. Metrics: `redtap_exemplars_held`, `redtap_exemplars_total`. Absent: clocks, which
//! calls are offered ([`crate::calls::exemplars`]).

use redtap_stages::flow::trace::{SpanId, TraceId};
use redtap_stages::time::Nanos;

/// Most exemplars kept, of all series: 1 MiB.
pub const MAX_EXEMPLARS: u64 = 16_384;
/// How long one is shown, and how long after its end a call may become one. Longer than calls are held
/// ([`crate::calls::tie::HOLD_BELOW`]).
pub const MAX_AGE: Nanos = Nanos::from_secs(60);
/// How long one whose trace came from elsewhere is not replaced by one whose trace redtap made.
pub const SAID_STAYS: Nanos = Nanos::from_secs(15);

/// A call that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exemplar {
    /// Its trace.
    pub trace: TraceId,
    /// Its span.
    pub span: SpanId,
    /// The request said which trace it is part of.
    pub said: bool,
    /// In which bucket it was counted.
    pub bucket: usize,
    /// What was observed.
    pub value: Nanos,
    /// When it was over, monotonic.
    pub ended: Nanos,
    /// The same, milliseconds since the epoch.
    pub at_ms: u64,
}

/// What became of the calls that were offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExemplarCounts {
    /// Shown now.
    pub kept: u64,
    /// Taken.
    pub shown: u64,
    /// Not: their series is not there (they were counted in an overflow series, or it was refused).
    pub no_series: u64,
    /// Not: no newer than what is there, or too old.
    pub late: u64,
    /// Not: one whose trace came from elsewhere is there.
    pub inferred: u64,
    /// Not: [`MAX_EXEMPLARS`].
    pub full: u64,
    /// Not: too many waited for their series.
    pub crowded: u64,
}

impl ExemplarCounts {
    /// Puts `new` among those of its series, ordered by bucket, or counts why not.
    pub(super) fn attach(&mut self, series: Option<&mut Vec<Exemplar>>, now: Nanos, new: Exemplar) {
        let Some(series) = series else {
            self.no_series += 1;
            return;
        };
        if now.since(new.ended) > MAX_AGE {
            self.late += 1;
            return;
        }
        match series.binary_search_by_key(&new.bucket, |one| one.bucket) {
            Ok(at) => {
                let Some(old) = series.get_mut(at) else { return };
                if new.at_ms <= old.at_ms {
                    self.late += 1;
                } else if old.said && !new.said && now.since(old.ended) < SAID_STAYS {
                    self.inferred += 1;
                } else {
                    *old = new;
                    self.shown += 1;
                }
            }
            Err(_) if self.kept >= MAX_EXEMPLARS => self.full += 1,
            Err(at) => {
                series.insert(at, new);
                self.kept += 1;
                self.shown += 1;
            }
        }
    }
}

/// Forgets those that were over long ago; how many.
pub(super) fn forget_old(series: &mut Vec<Exemplar>, now: Nanos) -> u64 {
    let before = series.len();
    series.retain(|one| now.since(one.ended) <= MAX_AGE);
    (before - series.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(bucket: usize, second: u64, said: bool) -> Exemplar {
        let ended = Nanos::from_secs(second);
        let (trace, span) = (TraceId::ONE, SpanId::ONE);
        Exemplar { trace, span, said, bucket, value: Nanos::ZERO, ended, at_ms: second * 1_000 }
    }

    fn offered(all: &[(u64, Exemplar)]) -> (Vec<(usize, u64)>, ExemplarCounts) {
        let (mut counts, mut kept) = (ExemplarCounts::default(), Vec::new());
        for (now, one) in all {
            counts.attach(Some(&mut kept), Nanos::from_secs(*now), *one);
        }
        (kept.iter().map(|one| (one.bucket, one.at_ms)).collect(), counts)
    }

    #[test]
    fn the_newest_of_each_bucket_stays() {
        let all = [
            (5, exemplar(3, 4, true)),
            (5, exemplar(1, 5, true)),
            (7, exemplar(3, 6, true)),
            (7, exemplar(3, 5, true)),
        ];
        let (kept, counts) = offered(&all);
        assert_eq!(kept, [(1, 5_000), (3, 6_000)]);
        assert_eq!(counts, ExemplarCounts { kept: 2, shown: 3, late: 1, ..ExemplarCounts::default() });
    }

    #[test]
    fn what_a_request_said_is_replaced_by_an_inferred_one_only_after_a_while() {
        let (kept, counts) = offered(&[(5, exemplar(0, 5, true)), (19, exemplar(0, 19, false))]);
        assert_eq!((kept, counts.inferred), (vec![(0, 5_000)], 1));
        let (kept, counts) = offered(&[(5, exemplar(0, 5, true)), (20, exemplar(0, 20, false))]);
        assert_eq!((kept, counts.inferred), (vec![(0, 20_000)], 0));
    }

    #[test]
    fn one_that_is_too_old_does_not_follow_what_was_forgotten() {
        let (mut counts, mut kept) = (ExemplarCounts::default(), Vec::new());
        counts.attach(Some(&mut kept), Nanos::from_secs(10), exemplar(0, 10, true));
        assert_eq!(forget_old(&mut kept, Nanos::from_secs(70)), 0);
        assert_eq!(forget_old(&mut kept, Nanos::from_secs(71)), 1);
        counts.attach(Some(&mut kept), Nanos::from_secs(71), exemplar(0, 9, true));
        assert_eq!((kept.len(), counts.late), (0, 1));
    }

    #[test]
    fn a_wall_clock_that_was_set_back_keeps_a_bucket_until_its_exemplar_is_forgotten() {
        let (mut counts, mut kept) = (ExemplarCounts::default(), Vec::new());
        // As of the monotonic clock 100 s in; the wall clock said 100 s, and was then set back by 90 s.
        counts.attach(Some(&mut kept), Nanos::from_secs(100), exemplar(0, 100, true));
        let back = |second| Exemplar { at_ms: (second - 90) * 1_000, ..exemplar(0, second, true) };
        counts.attach(Some(&mut kept), Nanos::from_secs(120), back(120));
        assert_eq!((kept[0].at_ms, counts.late), (100_000, 1));
        assert_eq!(forget_old(&mut kept, Nanos::from_secs(161)), 1);
        counts.kept -= 1;
        counts.attach(Some(&mut kept), Nanos::from_secs(161), back(161));
        assert_eq!((kept[0].at_ms, counts.kept), (71_000, 1));
    }

    #[test]
    fn there_are_never_more_than_the_bound() {
        let mut counts = ExemplarCounts { kept: MAX_EXEMPLARS - 1, ..ExemplarCounts::default() };
        let mut kept = Vec::new();
        for bucket in 0..3 {
            counts.attach(Some(&mut kept), Nanos::from_secs(1), exemplar(bucket, 1, true));
        }
        counts.attach(None, Nanos::from_secs(1), exemplar(0, 1, true));
        assert_eq!((kept.len(), counts.kept, counts.full, counts.no_series), (1, MAX_EXEMPLARS, 2, 1));
    }
}
