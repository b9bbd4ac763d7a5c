//! Labels as text: escaped once, when a series is made.

use redtap_stages::flow::delta::Series;
use redtap_stages::flow::joined::Identity;
use std::borrow::Cow;

/// Appends a label value: backslash, quote and line feed escaped, as both text formats ask.
pub fn escape_label(text: &mut String, value: &str) {
    for part in value.split_inclusive(['\\', '"', '\n']) {
        let mut rest = part.chars();
        match rest.next_back() {
            Some('\\') => push(text, rest.as_str(), "\\\\"),
            Some('"') => push(text, rest.as_str(), "\\\""),
            Some('\n') => push(text, rest.as_str(), "\\n"),
            _ => text.push_str(part),
        }
    }
}

fn push(text: &mut String, plain: &str, escaped: &str) {
    text.push_str(plain);
    text.push_str(escaped);
}

/// Appends `name="value"`, dots of the name as underscores, after a comma if there is something before it.
fn label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.extend(name.chars().map(|letter| if letter == '.' { '_' } else { letter }));
    text.push_str("=\"");
    escape_label(text, value);
    text.push('"');
}

/// Reads labels as [`escape_label`] and its callers here write them; stops at what they would not write.
pub(crate) fn parse_labels(mut text: &str) -> Vec<(&str, Cow<'_, str>)> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some((value, rest)) = end.and_then(|end| rest.split_at_checked(end)) else { break };
        labels.push((name, unescape(value)));
        text = rest.get(1..).map_or("", |rest| rest.strip_prefix(',').unwrap_or(rest));
    }
    labels
}

fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

/// What tells the series of one metric apart.
pub(super) fn series_key(series: &Series) -> String {
    series_labels(series, "")
}

/// The labels of a series, the service first.
pub(super) fn series_labels(series: &Series, namespace: &str) -> String {
    let mut text = String::with_capacity(128);
    label(&mut text, "service.name", series.service.as_str());
    if !namespace.is_empty() {
        label(&mut text, "service.namespace", namespace);
    }
    for (name, value) in &series.labels {
        label(&mut text, name, value.as_str());
    }
    text
}

/// The labels of `target_info`.
pub(super) fn target_labels(identity: &Identity) -> String {
    let mut text = String::with_capacity(128);
    label(&mut text, "service.name", &identity.service);
    let rest = [
        ("service.namespace", &identity.namespace),
        ("container.id", &identity.container),
        ("k8s.pod.name", &identity.pod),
        ("process.executable.name", &identity.process),
        ("host.name", &identity.host),
    ];
    for (name, value) in rest {
        if !value.is_empty() {
            label(&mut text, name, value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_the_formats_ask_and_nothing_else() {
        let mut text = String::new();
        escape_label(&mut text, "a\\b\"c\nd\té{}");
        assert_eq!(text, "a\\\\b\\\"c\\nd\té{}");
        text.clear();
        escape_label(&mut text, "");
        assert_eq!(text, "");
        escape_label(&mut text, "\"\"");
        assert_eq!(text, "\\\"\\\"");
    }

    #[test]
    fn labels_are_read_as_they_were_written() {
        let values = ["plain", "", "a\\b\"c\nd", "\"", "\\", ",x=\"y\"", "é{}"];
        let mut text = String::new();
        for (at, value) in values.iter().enumerate() {
            label(&mut text, &format!("label.{at}"), value);
        }
        let read = parse_labels(&text);
        assert_eq!(read.iter().map(|(_, value)| value.as_ref()).collect::<Vec<_>>(), values);
        assert_eq!(read.first().map(|(name, _)| *name), Some("label_0"));
        assert!(parse_labels("a=\"b").is_empty());
    }
}
