//! Texts with fields: `{{ service }}` in annotations and in the bodies of webhooks.
//!
//! Only names of [`FIELDS`] between double braces, nothing that loops or calls. Numbers are shown as Prometheus'
//! `humanizePercentage` and `humanizeDuration` show them, so that the same alarm reads the same, whoever sent it.
//!
//! Bounds: a text that was filled in has at most [`MAX_FILLED`] bytes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest text after its fields were filled in, bytes.
pub const MAX_FILLED: usize = 16 * 1_024;

/// Fields of annotations.
pub const FIELDS: &[&str] = &[
    "service",
    "kind",
    "method",
    "endpoint",
    "error_type",
    "value",
    "threshold",
    "quantile",
    "objective",
    "factor",
    "window",
    "short_window",
    "over",
];

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it is.
    Plain(&'a str),
    /// Name of a field.
    Field(&'a str),
}

/// Takes it apart. Braces that are not closed are plain.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    let mut field = None;
    std::iter::from_fn(move || {
        if let Some(name) = field.take() {
            return Some(Piece::Field(name));
        }
        if rest.is_empty() {
            return None;
        }
        let found = rest.split_once("{{").and_then(|(before, after)| Some((before, after.split_once("}}")?)));
        let Some((before, (name, after))) = found else { return Some(Piece::Plain(std::mem::take(&mut rest))) };
        rest = after;
        if before.is_empty() {
            return Some(Piece::Field(name.trim()));
        }
        field = Some(name.trim());
        Some(Piece::Plain(before))
    })
}

/// The first field of an annotation that there is not.
#[must_use]
pub fn unknown_field(text: &str) -> Option<&str> {
    pieces(text).find_map(|piece| match piece {
        Piece::Field(name) if !FIELDS.contains(&name) => Some(name),
        Piece::Field(_) | Piece::Plain(_) => None,
    })
}

/// Fills the fields in; what `field` does not know is empty. What is longer than [`MAX_FILLED`] is cut.
#[must_use]
pub fn fill<'a>(text: &str, field: impl Fn(&str) -> Cow<'a, str>) -> String {
    let mut filled = String::new();
    for piece in pieces(text) {
        let part = match piece {
            Piece::Plain(text) => Cow::Borrowed(text),
            Piece::Field(name) => field(name),
        };
        let room = MAX_FILLED.saturating_sub(filled.len());
        if part.len() > room {
            filled.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or(""));
            break;
        }
        filled.push_str(&part);
    }
    filled
}

/// A share in percent: `humanizePercentage`.
#[must_use]
pub fn percentage(share: f64) -> String {
    format!("{}%", significant(share * 100.0))
}

/// Seconds: `humanizeDuration`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return significant(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() >= 1.0 {
        #[expect(clippy::cast_possible_truncation, reason = "durations of requests")]
        let whole = seconds as i64;
        let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
        let mut text = String::new();
        if days != 0 {
            let _ = write!(text, "{days}d ");
        }
        if days != 0 || hours != 0 {
            let _ = write!(text, "{hours}h ");
        }
        if days != 0 || hours != 0 || minutes != 0 {
            let _ = write!(text, "{minutes}m {}s", whole % 60);
            return text;
        }
        return format!("{}s", significant(seconds));
    }
    let mut value = seconds;
    let mut unit = "";
    for next in ["m", "u", "n", "p"] {
        if value.abs() >= 1.0 {
            break;
        }
        value *= 1_000.0;
        unit = next;
    }
    format!("{}{unit}s", significant(value))
}

/// Four significant digits, without zeros at the end (C's `%.4g` where no exponent is needed).
fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of digits")]
    let decimals = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_are_filled_in() {
        let filled = fill("{{ a }} of {{b}}{{ c }} {{ open", |name| match name {
            "a" => Cow::Borrowed("1 {{ b }}"),
            "b" => Cow::Borrowed("2"),
            _ => Cow::Borrowed(""),
        });
        assert_eq!(filled, "1 {{ b }} of 2 {{ open", "what was filled in is not looked at again");
        assert_eq!(unknown_field("{{ value }} {{ secret }}"), Some("secret"));
        let long = fill(&"{{ a }}".repeat(10), |_| Cow::Owned("é".repeat(2_000)));
        assert!(long.len() <= MAX_FILLED && long.len() > MAX_FILLED - 2);
    }

    #[test]
    fn numbers_read_as_in_prometheus() {
        for (value, text) in [(0.5, "50%"), (0.012_345_6, "1.235%"), (1.0, "100%"), (0.0, "0%")] {
            assert_eq!(percentage(value), text);
        }
        for (value, text) in
            [(0.747_5, "747.5ms"), (1.5, "1.5s"), (9.93, "9.93s"), (90.0, "1m 30s"), (0.000_25, "250us"), (0.0, "0s")]
        {
            assert_eq!(duration(value), text);
        }
    }
}
