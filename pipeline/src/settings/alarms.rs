//! Section `alarms`: which rules, and who is told.

use super::client::Way;
use super::duration::show;
use super::read::Reader;
use super::{MAX_ENTRY, Turned};
use crate::alarms::rule::{Condition, MAX_RULES, Rule};
use crate::export::client::ClientSettings;
use reqwest::Url;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Most receivers of one kind.
const MAX_RECEIVERS: usize = 4;

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
    /// `alarms.alertmanagers`, reached as `alarms.alertmanager_*` says.
    pub alertmanagers: Vec<ClientSettings>,
    /// `alarms.resend`.
    pub resend: Duration,
    /// `alarms.webhooks`, reached as `alarms.webhook_*` says; their addresses are secrets.
    pub webhooks: Vec<ClientSettings>,
    /// `alarms.webhook_template`; empty: our own form.
    pub webhook_template: String,
    /// `alarms.slack`, reached as `alarms.slack_*` says; their addresses are secrets.
    pub slack: Vec<ClientSettings>,
    /// `alarms.rules` that are not switched off, by name.
    pub rules: Vec<Rule>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> AlarmSettings {
    let state = reader.text("alarms.state").map(PathBuf::from);
    let settings = AlarmSettings {
        enabled: reader.word("alarms.enabled", ("true", true), &[("false", false)]),
        interval: reader.duration("alarms.interval", Duration::from_secs(1)..=Duration::from_secs(300)),
        state,
        labels: labels(reader),
        alertmanagers: receivers(reader, "alarms.alertmanagers", "alarms.alertmanager_", false),
        resend: reader.duration("alarms.resend", Duration::from_secs(10)..=Duration::from_secs(3_600)),
        webhooks: receivers(reader, "alarms.webhooks", "alarms.webhook_", true),
        webhook_template: template(reader),
        slack: receivers(reader, "alarms.slack", "alarms.slack_", true),
        rules: rules(reader),
    };
    check(&settings, reader);
    settings
}

/// The receivers of one kind: their URLs, and how all of them are reached.
fn receivers(reader: &mut Reader<'_>, urls: &str, section: &str, secret_url: bool) -> Vec<ClientSettings> {
    let way = Way::read(reader, section);
    let urls = reader.entries(urls, MAX_RECEIVERS, url);
    urls.into_iter().map(|url| ClientSettings { secret_url, ..way.to(url) }).collect()
}

/// A window that is over between two looks would be seen by luck.
fn check(settings: &AlarmSettings, reader: &mut Reader<'_>) {
    let shortest = |rule: &Rule| match rule.condition {
        Condition::NewError { over } => over,
        _ => rule.windows().first().copied().unwrap_or(Duration::MAX),
    };
    let Some(rule) = settings.rules.iter().min_by_key(|rule| shortest(rule)) else { return };
    let window = shortest(rule);
    if settings.interval > window {
        let (name, window) = (&rule.name, show(window));
        reader.problem(
            "alarms.interval",
            &show(settings.interval),
            format!("is longer than the shortest window of alarms.rules.{name} ({window}): what happens between two evaluations would not be seen"),
            format!("write at most {window} here, or a longer window there"),
        );
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

fn url(text: &str) -> Turned<Url> {
    let remedy = "write one such as http://127.0.0.1:9093, without user and password";
    let Ok(url) = text.parse::<Url>() else { return Err(("is not a URL", remedy)) };
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !web || !url.username().is_empty() || url.password().is_some() || text.len() > MAX_ENTRY {
        return Err(("is not the address of a receiver", remedy));
    }
    Ok(url)
}
