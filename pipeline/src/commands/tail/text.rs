//! A call as a line for people: columns that stay in place, and colours where they can be seen.
//!
//! Texts come from strangers: what is not printable becomes `?`, so that nobody writes to a terminal through a request.

use serde_json::Value;
use std::io::{self, Write};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As they came.
    Json,
    /// In columns.
    Text {
        /// With colours.
        colours: bool,
    },
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

impl Style {
    /// What stands above the columns.
    pub(super) fn head(self) -> Option<String> {
        let names = ["TIME (UTC)", "PROTOCOL", "SERVICE", "", "PEER", "CODE", "TOOK", "TRACE", "WHAT"];
        let [time, protocol, service, way, peer, code, took, trace, what] = names;
        (self != Self::Json).then(|| {
            format!("{time:<12} {protocol:<10} {service:<16} {way:<2} {peer:<16} {code:>8} {took:>9} {trace:<8} {what}")
        })
    }

    /// Writes one line of JSON in this style.
    pub(super) fn write(self, line: &str, out: &mut impl Write) -> io::Result<()> {
        let (Self::Text { colours }, Ok(call)) = (self, serde_json::from_str::<Value>(line)) else {
            return writeln!(out, "{line}");
        };
        let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or_default();
        let way = if text("role") == "server" { "<-" } else { "->" };
        let status = text("status");
        let code = match (text("code"), text("error"), status) {
            ("", "", "ok" | "error" | "unknown") => status,
            ("", "", _) => "-",
            ("", error, _) => error,
            (code, ..) => code,
        };
        let peer =
            if text("peer").is_empty() { text(if way == "<-" { "client" } else { "server" }) } else { text("peer") };
        let colour = match status {
            _ if !text("error").is_empty() => RED,
            "error" => RED,
            "ok" => GREEN,
            _ => YELLOW,
        };
        let (colour, dim, plain) = if colours { (colour, DIM, PLAIN) } else { ("", "", "") };
        let target = if text("target").is_empty() { text("endpoint") } else { text("target") };
        let (method, target) = (shown(text("method"), 16), shown(target, 120));
        // What an endpoint is called often begins with its method.
        let what = if target.starts_with(&method) { target } else { format!("{method} {target}") };
        writeln!(
            out,
            "{dim}{:<12}{plain} {:<10} {:<16} {way} {:<16} {colour}{:>8}{plain} {:>9} {dim}{:<8}{plain} {}",
            clock(call.get("start_ns").and_then(Value::as_i64).unwrap_or(0)),
            shown(text("protocol"), 10),
            shown(text("service"), 16),
            shown(peer, 21),
            shown(code, 8),
            took(call.get("duration_ns").and_then(Value::as_u64)),
            shown(text("trace_id"), 8),
            what.trim_end(),
        )
    }
}

/// At most so many characters, all of them printable.
pub(in super::super) fn shown(text: &str, most: usize) -> String {
    let printable = |letter: char| if letter.is_control() || is_format(letter) { '?' } else { letter };
    text.chars().take(most).map(printable).collect()
}

/// Characters that change how others are shown.
fn is_format(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Time of day.
pub(in super::super) fn clock(start_ns: i64) -> String {
    let ms = start_ns.div_euclid(1_000_000).rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}

/// With a unit that leaves at most four digits before the point.
pub(in super::super) fn took(nanos: Option<u64>) -> String {
    let Some(nanos) = nanos else { return "-".to_owned() };
    let tenths = |unit: u64, name: &str| {
        let tenths = nanos.saturating_mul(10) / unit;
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    };
    match nanos {
        0..1_000_000 => tenths(1_000, "us"),
        1_000_000..1_000_000_000 => tenths(1_000_000, "ms"),
        _ => tenths(1_000_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str, colours: bool) -> String {
        let mut out = Vec::new();
        Style::Text { colours }.write(line, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const CALL: &str = "{\"start_ns\":1700000000123000000,\"duration_ns\":1250000,\"protocol\":\"http\",\"client\":\"127.0.0.1:4\",\
        \"server\":\"127.0.0.1:80\",\"method\":\"GET\",\"target\":\"/a\\u001b[2J\",\"status\":\"ok\",\"code\":\"200\",\"role\":\"server\",\
        \"service\":\"shop\",\"peer\":\"\",\"endpoint\":\"/a\",\"error\":null,\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}";

    #[test]
    fn a_call_is_one_line_in_columns_and_no_command_of_the_terminal() {
        let line = text(CALL, false);
        assert_eq!(
            line,
            "22:13:20.123 http       shop             <- 127.0.0.1:4           200     1.2ms 4bf92f35 GET /a?[2J\n"
        );
        let head = Style::Text { colours: false }.head().unwrap();
        assert_eq!(head.find("WHAT"), line.find("GET"));
    }

    #[test]
    fn colours_only_when_asked_for_and_json_as_it_came() {
        assert!(text(CALL, true).contains(GREEN));
        assert!(!text(CALL, false).contains('\u{1b}'));
        let mut out = Vec::new();
        Style::Json.write(CALL, &mut out).unwrap();
        assert_eq!(out, format!("{CALL}\n").into_bytes());
    }

    #[test]
    fn times_have_a_unit() {
        assert_eq!(took(None), "-");
        assert_eq!(took(Some(1_999)), "1.9us");
        assert_eq!(took(Some(12_345_678)), "12.3ms");
        assert_eq!(took(Some(61_000_000_000)), "61.0s");
        assert_eq!(clock(-1), "23:59:59.999");
    }
}
