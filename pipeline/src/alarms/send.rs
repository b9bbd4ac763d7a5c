//! The receivers of alarms: Alertmanagers, webhooks, webhooks of Slack's form. One task each, on the exporters' thread.
//!
//! An Alertmanager is sent everything that fires, again and again ([`crate::settings::AlarmSettings::resend`]), with an end
//! that lies a few of these ahead: should the agent fall silent, the alarm ends there by itself. What is over is sent once
//! with its end. Webhooks are told of each beginning and end once, in order. What cannot be delivered is sent again, with
//! growing pauses, until it is taken or refused. Bodies: [`super::body`].
//!
//! Bounds: those of the [`Outbox`]; [`BATCH`] notices in one request.

use super::body;
use super::desk::{Desk, Outbox};
use super::drive::Calendar;
use super::{Alarm, Notice};
use crate::export::Ending;
use crate::export::backoff::{Backoff, dice};
use crate::export::client::{Client, Outcome, Request, Retryable};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// Most notices in one request.
pub const BATCH: usize = 50;
/// Pauses between tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What a receiver understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// API v2.
    Alertmanager {
        /// How often what still fires is sent again.
        resend: Duration,
    },
    /// Anything else: our own form, or a template.
    Webhook {
        /// Empty: our own form.
        template: String,
    },
    /// Incoming webhooks of Slack.
    Slack,
}

/// Delivers until it is asked to end.
pub async fn deliver(client: Client, form: Form, desk: Arc<Desk>, outbox: Arc<Outbox>, kept: bool, mut ending: Ending) {
    let (calendar, pauses) = (Calendar::new(), Backoff::new(PAUSES.0, PAUSES.1));
    let mut receiver = Receiver { client, form, desk, outbox, calendar, pauses, failing: false };
    let again = match &receiver.form {
        Form::Alertmanager { resend } => *resend,
        Form::Webhook { .. } | Form::Slack => Duration::from_secs(3_600),
    };
    let mut resend = false;
    loop {
        let pause = receiver.send_all(resend).await;
        let (pause, failed) = pause.map_or((again, false), |pause| (pause, true));
        tokio::select! {
            () = receiver.outbox.woken(), if !failed => resend = false,
            () = tokio::time::sleep(pause) => resend = true,
            () = ending.asked() => break,
        }
    }
    // Once more: what the last evaluation said.
    let _ = receiver.send_all(false).await;
    receiver.outbox.end(kept);
}

struct Receiver {
    client: Client,
    form: Form,
    desk: Arc<Desk>,
    outbox: Arc<Outbox>,
    calendar: Calendar,
    pauses: Backoff,
    /// It does not answer, or asks to come again.
    failing: bool,
}

impl Receiver {
    /// Sends until nothing is left; how long to wait if it could not. `resend`: what fires is sent in any case.
    async fn send_all(&mut self, mut resend: bool) -> Option<Duration> {
        loop {
            let (notices, after) = self.outbox.oldest(if self.is_template() { 1 } else { BATCH });
            if notices.is_empty() && !resend {
                return None;
            }
            // The clock may have been set, or the machine have slept, since the calendar began.
            let behind = self.calendar.behind_ms();
            let notices: Vec<Notice> = notices.iter().map(|notice| notice.moved(behind)).collect();
            let body = match &self.form {
                Form::Alertmanager { resend } => {
                    let board = self.desk.board();
                    if notices.is_empty() && board.firing.is_empty() {
                        return None;
                    }
                    let firing: Vec<Alarm> = board.firing.iter().map(|alarm| alarm.moved(behind)).collect();
                    let now = self.calendar.now_ms().saturating_add_signed(behind);
                    body::alertmanager(&firing, &notices, now, *resend)
                }
                Form::Webhook { .. } | Form::Slack if notices.is_empty() => return None,
                Form::Webhook { template } if template.is_empty() => body::webhook(&notices),
                Form::Webhook { template } => body::filled(template, &notices),
                Form::Slack => body::slack(&notices),
            };
            resend = false;
            let request = Request::post(Bytes::from(body), Retryable::ServerErrors)
                .with(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let name = self.outbox.account.name();
            match self.client.send(self.addressed(request)).await {
                Outcome::Delivered(_) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(receiver = name, "takes alarms again");
                    }
                    self.pauses.reset();
                    self.outbox.settle(after, false);
                }
                Outcome::Retry { why, after } => {
                    self.outbox.account.retried();
                    // One line an outage.
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(receiver = name, "alarms could not be sent: {why}; it is tried again");
                    }
                    return Some(self.pauses.next(after, dice()));
                }
                Outcome::Refused { status, said, .. } => {
                    tracing::warn!(receiver = name, status, "this receiver refuses alarms: {said}");
                    self.outbox.settle(after, true);
                }
            }
        }
    }

    fn is_template(&self) -> bool {
        matches!(&self.form, Form::Webhook { template } if !template.is_empty())
    }

    /// Alertmanagers are named by their base.
    fn addressed(&self, request: Request) -> Request {
        const API: &str = "/api/v2/alerts";
        let mut url = self.client.settings().url.clone();
        if !matches!(self.form, Form::Alertmanager { .. }) || url.path().ends_with(API) {
            return request;
        }
        let path = format!("{}{API}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        request.to(url)
    }
}
