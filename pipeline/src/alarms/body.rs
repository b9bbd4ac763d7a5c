//! What receivers are sent. Pure.
//!
//! Alertmanager: the array of its API v2 (`POST /api/v2/alerts`). Webhook: one object with a list of alarms, or a template
//! of the configuration with `{{ field }}`, each value escaped as inside of a JSON string. Slack: attachments.

use super::text::fill;
use super::{Alarm, Notice};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// How many times [`crate::settings::AlarmSettings::resend`] ahead what fires ends, unless it is sent again.
const AHEAD: u32 = 4;

/// Everything that fires, and of the notices what is over.
#[must_use]
pub fn alertmanager(firing: &[Alarm], notices: &[Notice], now_ms: u64, resend: Duration) -> Vec<u8> {
    let ahead = now_ms.saturating_add(u64::try_from((resend * AHEAD).as_millis()).unwrap_or(0));
    let object = |alarm: &Alarm, ends_ms: u64| {
        json!({
            "labels": alarm.labels,
            "annotations": alarm.annotations,
            "startsAt": rfc3339(alarm.since_ms),
            "endsAt": rfc3339(ends_ms),
        })
    };
    // What began anew since is not over; of the same alarm only the last counts.
    let over = notices.iter().enumerate().filter(|(at, notice)| {
        let later = notices.iter().skip(at + 1);
        notice.resolved
            && !firing.iter().any(|alarm| alarm.labels == notice.alarm.labels)
            && !later.clone().any(|other| other.alarm.labels == notice.alarm.labels)
    });
    let over = over.map(|(_, notice)| object(&notice.alarm, notice.alarm.until_ms.unwrap_or(now_ms)));
    let all: Vec<Value> = firing.iter().map(|alarm| object(alarm, ahead)).chain(over).collect();
    Value::from(all).to_string().into_bytes()
}

/// Our own form.
#[must_use]
pub fn webhook(notices: &[Notice]) -> Vec<u8> {
    let alarms: Vec<Value> = notices
        .iter()
        .map(|notice| {
            json!({
                "status": status(notice),
                "name": notice.alarm.name,
                "severity": notice.alarm.severity,
                "service": notice.alarm.service,
                "labels": notice.alarm.labels,
                "annotations": notice.alarm.annotations,
                "value": notice.alarm.value,
                "starts_at": rfc3339(notice.alarm.since_ms),
                "ends_at": notice.alarm.until_ms.map(rfc3339),
            })
        })
        .collect();
    json!({ "version": 1, "alarms": alarms }).to_string().into_bytes()
}

/// A template of the configuration, of the first notice.
#[must_use]
pub fn filled(template: &str, notices: &[Notice]) -> Vec<u8> {
    let Some(notice) = notices.first() else { return Vec::new() };
    let alarm = &notice.alarm;
    let field = |name: &str| -> Cow<'_, str> {
        let text: Cow<'_, str> = match name {
            "status" => Cow::Borrowed(status(notice)),
            "name" => Cow::Borrowed(&alarm.name),
            "severity" => Cow::Borrowed(&alarm.severity),
            "service" => Cow::Borrowed(&alarm.service),
            "value" => Cow::Owned(alarm.value.map(|value| value.to_string()).unwrap_or_default()),
            "starts_at" => Cow::Owned(rfc3339(alarm.since_ms)),
            "ends_at" => Cow::Owned(alarm.until_ms.map(rfc3339).unwrap_or_default()),
            // Labels and annotations by their names: `{{ summary }}`, `{{ endpoint }}`.
            other => {
                Cow::Borrowed(alarm.annotations.get(other).or_else(|| alarm.labels.get(other)).map_or("", |text| text))
            }
        };
        Cow::Owned(escaped(&text))
    };
    fill(template, field).into_bytes()
}

/// Slack's form.
#[must_use]
pub fn slack(notices: &[Notice]) -> Vec<u8> {
    let attachments: Vec<Value> = notices
        .iter()
        .map(|notice| {
            let alarm = &notice.alarm;
            let color = match (notice.resolved, alarm.severity.as_str()) {
                (true, _) => "good",
                (false, "critical") => "danger",
                (false, "warning") => "warning",
                (false, _) => "#439fe0",
            };
            let annotation = |name: &str| plain(alarm.annotations.get(name).map_or("", |text| text));
            let title = format!("[{}] {} {}", status(notice), plain(&alarm.name), plain(&alarm.service));
            json!({
                "color": color,
                "title": title.trim_end(),
                "text": annotation("description"),
                "fallback": format!("{}: {}", title.trim_end(), annotation("summary")),
                "ts": alarm.until_ms.unwrap_or(alarm.since_ms) / 1_000,
            })
        })
        .collect();
    json!({ "attachments": attachments }).to_string().into_bytes()
}

fn status(notice: &Notice) -> &'static str {
    if notice.resolved { "resolved" } else { "firing" }
}

/// As inside of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or("").to_owned()
}

/// Without what Slack takes for markup.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Milliseconds since the epoch as RFC 3339, UTC.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil from days, with years that begin in March (H. Hinnant, chrono-compatible low-level date algorithms).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::super::Unit;
    use super::*;
    use std::collections::BTreeMap;

    fn notice(service: &str, resolved: bool) -> Notice {
        let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let alarm = Alarm {
            name: "A".to_owned(),
            severity: "critical".to_owned(),
            service: service.to_owned(),
            labels: map("service_name", service),
            annotations: map("description", "5 < 6 \"quoted\"\n"),
            value: Some(0.5),
            unit: Some(Unit::Ratio),
            since_ms: 951_782_400_000,
            until_ms: resolved.then_some(951_868_800_001),
        };
        Notice { resolved, alarm }
    }

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn an_alertmanager_is_told_what_fires_and_what_is_over_but_not_both_of_one() {
        let firing = [notice("a", false).alarm];
        let notices = [notice("a", true), notice("b", true), notice("b", false), notice("c", true), notice("d", false)];
        let body = read(&alertmanager(&firing, &notices, 951_782_400_000, Duration::from_secs(60)));
        let told: Vec<(&str, &str)> = body
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["labels"]["service_name"].as_str().unwrap(), one["endsAt"].as_str().unwrap()))
            .collect();
        assert_eq!(told, [("a", "2000-02-29T00:04:00.000Z"), ("c", "2000-03-01T00:00:00.001Z")]);
    }

    #[test]
    fn what_is_filled_in_cannot_leave_its_string() {
        let body = filled(
            r#"{"text": "{{ status }}: {{ description }}{{ nothing }}", "s": "{{service}}"}"#,
            &[notice("x\"}", true)],
        );
        assert_eq!(read(&body), json!({"text": "resolved: 5 < 6 \"quoted\"\n", "s": "x\"}"}));
    }

    #[test]
    fn slack_is_shown_text_and_no_markup() {
        let body = read(&slack(&[notice("<!channel>", false)]));
        assert_eq!(body["attachments"][0]["title"], "[firing] A &lt;!channel&gt;");
        assert_eq!(body["attachments"][0]["color"], "danger");
    }
}
