//! Section `alarms`: which rules, and who is told.

use super::read::Reader;
use super::{MAX_ENTRY, Turned};
use crate::alarms::rule::{MAX_RULES, Rule};
use reqwest::Url;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Most receivers of one kind.
const MAX_RECEIVERS: usize = 4;

/// Where alarms are sent. Such an address is a secret where Slack and its like are concerned.
#[derive(Clone, PartialEq, Eq)]
pub struct Receiver(Url);

impl Receiver {
    /// The address.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Section `alarms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmSettings {
    /// `alarms.enabled`.
    pub enabled: bool,
    /// `alarms.interval`.
    pub interval: Duration,
    /// `alarms.state`; none: nothing is kept.
    pub state: Option<PathBuf>,
    /// `alarms.labels`.
    pub labels: BTreeMap<String, String>,
    /// `alarms.alertmanagers`: where to post, whole.
    pub alertmanagers: Vec<Receiver>,
    /// `alarms.resend`.
    pub resend: Duration,
    /// `alarms.webhooks`.
    pub webhooks: Vec<Receiver>,
    /// `alarms.webhook_template`; empty: our own form.
    pub webhook_template: String,
    /// `alarms.slack`.
    pub slack: Vec<Receiver>,
    /// `alarms.rules` that are not switched off, by name.
    pub rules: Vec<Rule>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> AlarmSettings {
    let state = reader.text("alarms.state").map(PathBuf::from);
    AlarmSettings {
        enabled: reader.word("alarms.enabled", ("true", true), &[("false", false)]),
        interval: reader.duration("alarms.interval", Duration::from_secs(1)..=Duration::from_secs(300)),
        state,
        labels: labels(reader),
        alertmanagers: reader.entries("alarms.alertmanagers", MAX_RECEIVERS, url),
        resend: reader.duration("alarms.resend", Duration::from_secs(10)..=Duration::from_secs(3_600)),
        webhooks: reader.entries("alarms.webhooks", MAX_RECEIVERS, url),
        webhook_template: template(reader),
        slack: reader.entries("alarms.slack", MAX_RECEIVERS, url),
        rules: rules(reader),
    }
}

fn rules(reader: &mut Reader<'_>) -> Vec<Rule> {
    let written = reader.tables("alarms.rules");
    let off: Vec<String> = reader.entries("alarms.off", MAX_RULES, |text| Ok(text.to_owned()));
    for name in &off {
        if !written.contains_key(name) {
            let names: Vec<&str> = written.keys().map(String::as_str).collect();
            let remedy = match super::keys::closest_of(name, &names) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("there are {}", names.join(", ")),
            };
            reader.problem("alarms.off", name, "is not a rule", remedy);
        }
    }
    if written.len() > MAX_RULES {
        let remedy = format!("at most {MAX_RULES} fit, those that are built in among them");
        reader.problem("alarms.rules", &format!("{} rules", written.len()), "is too long", remedy);
    }
    let mut rules = Vec::new();
    for (name, text) in written.iter().take(MAX_RULES) {
        match Rule::read(name, text) {
            Ok(rule) => rules.extend(rule.filter(|rule| !off.contains(&rule.name))),
            Err(problems) => {
                for problem in problems {
                    let dot = if problem.field.is_empty() { "" } else { "." };
                    let path = format!("alarms.rules.{name}{dot}{}", problem.field);
                    reader.problem_under("alarms.rules", &path, &problem.value, problem.what, problem.remedy);
                }
            }
        }
    }
    rules
}

fn labels(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let labels = reader.table("alarms.labels");
    for name in labels.keys() {
        let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_empty() || name.starts_with(|letter: char| letter.is_ascii_digit()) || !name.chars().all(word) {
            reader.problem_under(
                "alarms.labels",
                &format!("alarms.labels.{name}"),
                "",
                "is not a name for a label",
                "use letters, digits and _",
            );
        }
    }
    labels
}

fn template(reader: &mut Reader<'_>) -> String {
    let text = reader.text("alarms.webhook_template").unwrap_or_default();
    if text.len() > MAX_ENTRY {
        reader.problem("alarms.webhook_template", "", "is too long", "at most 4096 bytes fit");
    }
    text
}

fn url(text: &str) -> Turned<Receiver> {
    let remedy = "write one such as http://127.0.0.1:9093, without user and password";
    let Ok(url) = text.parse::<Url>() else { return Err(("is not a URL", remedy)) };
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !web || !url.username().is_empty() || url.password().is_some() || text.len() > MAX_ENTRY {
        return Err(("is not the address of a receiver", remedy));
    }
    Ok(Receiver(url))
}
