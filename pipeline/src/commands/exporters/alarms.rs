//! The evaluator of alarms, and its receivers.

use crate::commands::status::Shown;
use anyhow::{Context as _, Result};
use redtap::alarms::desk::{Desk, Outbox};
use redtap::alarms::drive::{Plan, drive};
use redtap::alarms::send::{Form, deliver};
use redtap::export::client::{Client, ClientSettings};
use redtap::export::{Account, Exporter};
use redtap::settings::AlarmSettings;
use std::sync::Arc;

/// Names of receivers, as metrics have them.
const ALERTMANAGERS: [&str; 4] = ["alertmanager", "alertmanager_2", "alertmanager_3", "alertmanager_4"];
const WEBHOOKS: [&str; 4] = ["webhook", "webhook_2", "webhook_3", "webhook_4"];
const SLACK: [&str; 4] = ["slack", "slack_2", "slack_3", "slack_4"];

/// One that evaluates, one for each receiver; none where alarms are switched off.
///
/// # Errors
/// A certificate or key of a receiver cannot be used.
pub(super) fn planned(settings: &AlarmSettings, shown: &Arc<Shown>) -> Result<Vec<Exporter>> {
    if !settings.enabled {
        return Ok(Vec::new());
    }
    let desk = Arc::new(Desk::default());
    shown.show_alarms(Arc::clone(&desk));
    let kept = settings.state.is_some();
    let (mut exporters, mut outboxes) = (Vec::new(), Vec::new());
    for (name, receiver, form) in receivers(settings) {
        let account = Arc::new(Account::new(name));
        let outbox = Arc::new(Outbox::new(Arc::clone(&account)));
        outboxes.push(Arc::clone(&outbox));
        let client = Client::new(receiver.clone()).with_context(|| format!("alarms: {name}"))?;
        let desk = Arc::clone(&desk);
        let begin = Box::new(move |ending| Box::pin(deliver(client, form, desk, outbox, kept, ending)) as _);
        exporters.push(Exporter { account, begin });
    }
    let mut labels = settings.labels.clone();
    labels.entry("host".to_owned()).or_insert_with(host);
    let plan =
        Plan { rules: settings.rules.clone(), labels, interval: settings.interval, state: settings.state.clone() };
    let account = Arc::new(Account::new("alarms"));
    let (gather, counted) = (Arc::clone(shown), Arc::clone(&account));
    let begin = Box::new(move |ending| Box::pin(drive(plan, gather, desk, outboxes, counted, ending)) as _);
    exporters.push(Exporter { account, begin });
    Ok(exporters)
}

fn receivers(settings: &AlarmSettings) -> Vec<(&'static str, &ClientSettings, Form)> {
    let alertmanagers = ALERTMANAGERS.into_iter().zip(&settings.alertmanagers);
    let webhooks = WEBHOOKS.into_iter().zip(&settings.webhooks);
    let slack = SLACK.into_iter().zip(&settings.slack);
    let template = || Form::Webhook { template: settings.webhook_template.clone() };
    alertmanagers
        .map(|(name, one)| (name, one, Form::Alertmanager { resend: settings.resend }))
        .chain(webhooks.map(|(name, one)| (name, one, template())))
        .chain(slack.map(|(name, one)| (name, one, Form::Slack)))
        .collect()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
