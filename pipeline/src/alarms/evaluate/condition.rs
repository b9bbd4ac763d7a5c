//! Whether a rule's condition holds for a group. [`crate::alarms::prometheus`] says the same in `PromQL`; a test compares.

use super::own_sum;
use crate::alarms::groups::{Group, Groups};
use crate::alarms::rule::{Condition, Rule};
use crate::alarms::window::Counts;
use crate::export::OwnSample;

/// Counters of the agent's own exchanges: what was decided.
pub const DECIDED: [&str; 5] = [
    "redtap_exchanges_reported_total",
    "redtap_exchanges_missed_total",
    "redtap_exchanges_dropped_total",
    "redtap_exchanges_lost_total",
    "redtap_records_unread_total",
];
/// Of these, what was not reported. The first of [`DECIDED`] was, but for the last of this list.
pub const NOT_REPORTED: [&str; 5] = [
    "redtap_exchanges_missed_total",
    "redtap_exchanges_dropped_total",
    "redtap_exchanges_lost_total",
    "redtap_records_unread_total",
    "redtap_exchanges_undelivered_total",
];

/// Exchanges decided since the start, and of these not reported.
pub(super) fn capture(own: &[OwnSample]) -> Counts {
    let sum = |names: &[&str]| names.iter().map(|name| own_sum(own, name)).sum();
    Counts { requests: sum(&DECIDED), errors: sum(&NOT_REPORTED) }
}

/// The value to show if it holds.
pub(super) fn holds(rule: &Rule, group: &Group, groups: &Groups, now_ms: u64) -> Option<Option<f64>> {
    let enough = |counts: &Counts| counts.requests >= rule.min_requests;
    match rule.condition {
        Condition::ErrorRatio { threshold, window } | Condition::Capture { threshold, window } => {
            let counts = group.counts(window);
            let ratio = ratio(&counts)?;
            (enough(&counts) && ratio > threshold.get()).then_some(Some(ratio))
        }
        Condition::Latency { quantile, threshold, window } => {
            let value = group.durations(window).quantile(group.subject?.bounds, quantile.get())?;
            (enough(&group.counts(window)) && value > threshold.get()).then_some(Some(value))
        }
        Condition::Silence { window, over } => {
            (enough(&group.counts(over)) && group.counts(window).requests == 0).then_some(None)
        }
        Condition::NewError { over } => {
            let then = now_ms.checked_sub(u64::try_from(over.as_millis()).ok()?)?;
            let service = groups.service_of(&group.key)?;
            let new = group.total >= rule.min_requests && !group.was_there(then) && service.was_there(then);
            new.then_some(None)
        }
        Condition::Burn { objective, factor, window, short } => {
            let (long, short) = (group.counts(window), group.counts(short));
            let burnt = factor.get() * (1.0 - objective.get());
            let (all, now) = (ratio(&long)?, ratio(&short)?);
            (enough(&long) && all > burnt && now > burnt).then_some(Some(now))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
fn ratio(counts: &Counts) -> Option<f64> {
    (counts.requests > 0).then(|| counts.errors as f64 / counts.requests as f64)
}
