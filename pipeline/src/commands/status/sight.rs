//! What the status says besides what stages and kernel count: connections by what they speak, what the agent uses, what
//! became of what exporters sent. Only shapes: the numbers are counted where they happen (`docs/metrics.md`).

use redtap::export::{Account, Reason};
use redtap::self_metrics::{StageCounts, Usage};
use serde_json::{Value, json};
use std::sync::Arc;

/// Connections: followed now, and over the agent's life by what they were found to speak.
pub(super) fn connections(counts: &StageCounts) -> Value {
    json!({
        "open": counts.connections,
        "identified": counts.identified,
        "tls": counts.tls,
        "unknown": counts.foreign,
        "upgraded_to_tls": counts.upgraded_to_tls,
        "upgraded_to_known": counts.upgraded_to_known,
        "hurried": counts.hurried,
        "forgotten_idle": counts.connections_idle,
        "forgotten_evicted": counts.connections_evicted,
    })
}

/// What was counted under other names than its own, because a bound was reached.
pub(super) fn overflows(counts: &StageCounts) -> Value {
    json!({
        "endpoints": counts.endpoints_overflowed,
        "series": counts.series_overflowed,
        "names_hurried": counts.join_hurried,
        "names_expired": counts.join_expired,
        "names_overflowed": counts.join_overflowed,
    })
}

/// Processor time since the start, memory now.
pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "cpu_seconds": usage.cpu.as_secs_f64(),
        "resident_bytes": usage.resident_bytes,
        "threads": usage.threads,
    })
}

/// One object an exporter; none are none.
pub(super) fn exporters(accounts: &[Arc<Account>]) -> Vec<Value> {
    accounts.iter().map(|account| exporter(account)).collect()
}

fn exporter(account: &Account) -> Value {
    let totals = account.totals();
    let undelivered: serde_json::Map<String, Value> =
        Reason::ALL.iter().zip(totals.undelivered).map(|(reason, n)| (reason.name().to_owned(), json!(n))).collect();
    json!({
        "exporter": account.name(),
        "gathered": totals.gathered,
        "delivered": totals.delivered,
        "pending": totals.pending,
        "undelivered": undelivered,
        "retries": totals.retries,
        "faults": totals.faults,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exporter_says_what_it_could_not_deliver_by_reason() {
        let account = Arc::new(Account::new("otlp"));
        account.gathered(10);
        account.delivered(7);
        account.undelivered(Reason::Refused, 2);
        let said = exporters(&[account]);
        assert_eq!(said.len(), 1);
        assert_eq!(said[0]["exporter"], "otlp");
        assert_eq!(said[0]["undelivered"]["refused"], 2);
        assert_eq!(said[0]["undelivered"]["overflow"], 0);
        assert_eq!(said[0]["pending"], 1);
    }

    #[test]
    fn connections_are_told_apart_by_what_they_speak() {
        let counts = StageCounts { connections: 5, identified: 3, tls: 2, foreign: 1, ..StageCounts::default() };
        let said = connections(&counts);
        assert_eq!((&said["open"], &said["tls"], &said["unknown"]), (&json!(5), &json!(2), &json!(1)));
    }
}
