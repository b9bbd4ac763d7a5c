//! Evaluates every few seconds, beside the exporters' thread, and keeps the state.
//!
//! Life cycle: [`drive`] reads what was kept -> evaluates until it is asked to end -> waits for the receivers -> writes what
//! is to be kept. Time is that of the monotonic clock, put on the calendar once at the start: a step of the wall clock
//! neither fires nor resolves anything.

use super::desk::{Desk, Outbox};
use super::evaluate::Evaluator;
use super::keep::{self, Kept};
use super::rule::Rule;
use super::{Board, Notice};
use crate::clock;
use crate::export::{Account, Ending, Gather};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the end may be held up by receivers that are still sending.
const RECEIVERS_WITHIN: Duration = Duration::from_secs(3);

/// What is needed to evaluate.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Labels of all alarms.
    pub labels: BTreeMap<String, String>,
    /// How often.
    pub interval: Duration,
    /// Where the state is kept, if anywhere.
    pub state: Option<PathBuf>,
}

/// Milliseconds since the epoch that never go back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    offset_ns: i64,
}

impl Calendar {
    pub(super) fn new() -> Self {
        Self { offset_ns: clock::wall_offset_ns() }
    }

    pub(super) fn now_ms(self) -> u64 {
        clock::monotonic().0.saturating_add_signed(self.offset_ns) / 1_000_000
    }

    /// What to add to its times to get those of the wall clock as it is set now: receivers hold them against their own. Less than a
    /// second is none.
    pub(super) fn behind_ms(self) -> i64 {
        let behind = clock::wall_offset_ns().saturating_sub(self.offset_ns) / 1_000_000;
        if behind.abs() < 1_000 { 0 } else { behind }
    }
}

/// Evaluates until it is asked to end.
pub async fn drive(
    plan: Plan,
    gather: Arc<dyn Gather>,
    desk: Arc<Desk>,
    outboxes: Vec<Arc<Outbox>>,
    account: Arc<Account>,
    mut ending: Ending,
) {
    let calendar = Calendar::new();
    let mut evaluator = Evaluator::new(plan.rules, plan.labels);
    let mut written = Kept::default();
    if let Some(path) = &plan.state {
        let named = path.clone();
        // A slow disk must hold up no exporter.
        match off_thread(move || keep::read(&named)).await {
            Ok(kept) => written = kept.unwrap_or_default(),
            Err(error) => {
                desk.state_failed();
                tracing::warn!(
                    "alarms.state: {} is left out, alarms begin anew: {error}; it is replaced at the next change",
                    path.display()
                );
            }
        }
    }
    let notices = evaluator.restore(written.clone(), calendar.now_ms());
    // Before anything is told: what an Alertmanager is told is what the board shows.
    desk.show(evaluator.board());
    for outbox in &outboxes {
        outbox.push(written.untold.get(outbox.account.name()).cloned().unwrap_or_default());
    }
    tell(notices, &outboxes, &account);
    let mut ticks = tokio::time::interval(plan.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = ending.asked() => break,
        }
        let gather = Arc::clone(&gather);
        // A large registry takes a while to copy and to look through: the other exporters need not wait for that.
        let evaluated = off_thread(move || {
            let notices = evaluator.evaluate(calendar.now_ms(), &gather.gather());
            (evaluator, notices)
        });
        let notices;
        (evaluator, notices) = evaluated.await;
        desk.show(evaluator.board());
        tell(notices, &outboxes, &account);
        if let Some(path) = &plan.state {
            keep_changed(path, &evaluator, &outboxes, &mut written, &desk).await;
        }
    }
    for _ in 0..RECEIVERS_WITHIN.as_millis() / 20 {
        if outboxes.iter().all(|outbox| outbox.is_ended()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Some(path) = &plan.state {
        keep_changed(path, &evaluator, &outboxes, &mut written, &desk).await;
    }
}

/// Does what blocks or takes long on a thread of its own; a fault there is one here.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(fault) => std::panic::resume_unwind(fault.into_panic()),
    }
}

fn tell(notices: Vec<Notice>, outboxes: &[Arc<Outbox>], account: &Account) {
    if notices.is_empty() {
        return;
    }
    for Notice { resolved, alarm } in &notices {
        let (name, service) = (&alarm.name, &alarm.service);
        let what = alarm.annotations.get("description").map_or("", String::as_str);
        if *resolved {
            tracing::info!(alarm = %name, service = %service, "alarm is over");
        } else {
            tracing::warn!(alarm = %name, service = %service, severity = %alarm.severity, "alarm: {what}");
        }
    }
    let count = notices.len() as u64;
    account.gathered(count);
    for outbox in outboxes {
        outbox.push(notices.iter().cloned());
    }
    account.delivered(count);
}

/// Writes what is to be kept, if it is not what was written last. Values that only went up or down are no change.
async fn keep_changed(path: &Path, evaluator: &Evaluator, outboxes: &[Arc<Outbox>], written: &mut Kept, desk: &Desk) {
    let untold = outboxes.iter().map(|outbox| (outbox.account.name().to_owned(), outbox.left()));
    let kept = Kept { untold: untold.filter(|(_, left)| !left.is_empty()).collect(), ..evaluator.kept() };
    if same(&kept, written) {
        return;
    }
    let (path, text) = (path.to_owned(), kept.clone());
    // A slow disk must hold up no exporter.
    match tokio::task::spawn_blocking(move || keep::write(&path, &text)).await {
        Ok(Ok(())) => *written = kept,
        Ok(Err(error)) => {
            desk.state_failed();
            tracing::warn!("alarms.state cannot be written: {error}; it is tried again with the next evaluation");
        }
        Err(_) => desk.state_failed(),
    }
}

fn same(one: &Kept, other: &Kept) -> bool {
    let phases = |kept: &Kept| kept.alarms.iter().map(|alarm| (alarm.key.clone(), alarm.phase)).collect::<Vec<_>>();
    one.untold == other.untold && one.history == other.history && phases(one) == phases(other)
}

/// The JSON object of `/api/v1/alarms`.
#[must_use]
pub fn json(board: &Board) -> serde_json::Value {
    let seconds = |ms: u64| ms / 1_000;
    let list = |alarms: &[super::Alarm], over: bool| -> Vec<serde_json::Value> {
        let object = |alarm: &super::Alarm| {
            let mut object = serde_json::json!({
                "name": alarm.name,
                "severity": alarm.severity,
                "service": alarm.service,
                "labels": alarm.labels,
                "annotations": alarm.annotations,
                "value": alarm.value,
                "unit": alarm.unit,
                "since": seconds(alarm.since_ms),
                "silenced_until": null,
            });
            if let (true, Some(fields)) = (over, object.as_object_mut()) {
                fields.insert("until".to_owned(), alarm.until_ms.map(seconds).into());
            }
            object
        };
        alarms.iter().map(object).collect()
    };
    serde_json::json!({
        "firing": list(&board.firing, false),
        "pending": list(&board.pending, false),
        "history": list(&board.history, true),
    })
}
