//! The states of one alarm: nothing, pending, firing, and back. Pure.
//!
//! As Prometheus does it: a condition must hold at every evaluation for `hold` before the alarm fires, and must not hold at
//! every evaluation for `keep` before it is resolved.

use serde::{Deserialize, Serialize};

/// Where an alarm stands. One that is nothing is not kept. Times: milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// The condition holds, but not for long enough.
    Pending {
        /// Since when.
        since_ms: u64,
    },
    /// It is an alarm.
    Firing {
        /// Since when it has been one.
        since_ms: u64,
        /// Since when the condition does not hold any more.
        clear_since_ms: Option<u64>,
    },
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anybody is told.
    None,
    /// It fires now.
    Fired,
    /// It is over.
    Resolved,
}

/// The next state, `None` for nothing, after an evaluation at `now_ms`.
#[must_use]
pub fn step(phase: Option<Phase>, holds: bool, now_ms: u64, hold_ms: u64, keep_ms: u64) -> (Option<Phase>, Change) {
    match (phase, holds) {
        (None | Some(Phase::Pending { .. }), true) => {
            let since_ms = match phase {
                Some(Phase::Pending { since_ms }) => since_ms,
                _ => now_ms,
            };
            if now_ms.saturating_sub(since_ms) >= hold_ms {
                (Some(Phase::Firing { since_ms: now_ms, clear_since_ms: None }), Change::Fired)
            } else {
                (Some(Phase::Pending { since_ms }), Change::None)
            }
        }
        (None | Some(Phase::Pending { .. }), false) => (None, Change::None),
        (Some(Phase::Firing { since_ms, .. }), true) => {
            (Some(Phase::Firing { since_ms, clear_since_ms: None }), Change::None)
        }
        (Some(Phase::Firing { since_ms, clear_since_ms }), false) => {
            let clear = clear_since_ms.unwrap_or(now_ms);
            if now_ms.saturating_sub(clear) >= keep_ms {
                (None, Change::Resolved)
            } else {
                (Some(Phase::Firing { since_ms, clear_since_ms: Some(clear) }), Change::None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOLD: u64 = 50;
    const KEEP: u64 = 30;

    /// All changes over a history of evaluations.
    fn changes(history: &[(u64, bool)]) -> Vec<(u64, Change)> {
        let (mut now, mut phase, mut all) = (1_000, None, Vec::new());
        for &(after, holds) in history {
            now += after;
            let (next, change) = step(phase, holds, now, HOLD, KEEP);
            phase = next;
            if change != Change::None {
                all.push((now, change));
            }
        }
        all
    }

    fn histories() -> impl Strategy<Value = Vec<(u64, bool)>> {
        proptest::collection::vec((1_u64..25, proptest::bool::weighted(0.7)), 0..300)
    }

    proptest! {
        #[test]
        fn none_fires_whose_condition_did_not_hold_for_long_enough(history in histories()) {
            let mut at = 1_000;
            let seen: Vec<(u64, bool)> = history.iter().map(|&(after, holds)| { at += after; (at, holds) }).collect();
            for (time, change) in changes(&history) {
                // The stretch in which nothing spoke against it, up to the change.
                let wanted = change == Change::Fired;
                let stretch: Vec<u64> =
                    seen.iter().rev().skip_while(|(at, _)| *at > time).take_while(|(_, holds)| *holds == wanted).map(|(at, _)| *at).collect();
                let length = time - stretch.last().copied().unwrap_or(time);
                prop_assert!(length >= if wanted { HOLD } else { KEEP }, "{change:?} at {time} after {length}");
            }
        }

        #[test]
        fn fires_and_resolves_in_turns_and_what_flaps_fires_once(history in histories()) {
            let all = changes(&history);
            for (at, (_, change)) in all.iter().enumerate() {
                prop_assert_eq!(*change, if at % 2 == 0 { Change::Fired } else { Change::Resolved });
            }
            // Never resolved while the condition comes back within KEEP.
            let flapping: Vec<(u64, bool)> =
                std::iter::repeat_n((10, true), 6).chain((0..100).map(|n| (10, n % 3 == 0))).collect();
            prop_assert_eq!(changes(&flapping).len(), 1);
        }

        #[test]
        fn a_restart_in_between_changes_nothing(history in histories(), cut in 0_usize..300) {
            let (mut now, mut phase) = (1_000, None);
            let mut after_restart = None;
            for (at, &(after, holds)) in history.iter().enumerate() {
                now += after;
                if at == cut {
                    let text = serde_json::to_string(&phase).unwrap();
                    after_restart = Some(serde_json::from_str::<Option<Phase>>(&text).unwrap());
                }
                if let Some(other) = &mut after_restart {
                    let (next, change) = step(*other, holds, now, HOLD, KEEP);
                    prop_assert_eq!((next, change), step(phase, holds, now, HOLD, KEEP));
                    *other = next;
                }
                phase = step(phase, holds, now, HOLD, KEEP).0;
            }
        }
    }
}
