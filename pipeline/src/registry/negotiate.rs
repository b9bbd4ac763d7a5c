//! Which text format a scraper wants, by its `Accept` header.

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Value of the `Content-Type` header.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// OpenMetrics if it is named and not liked less than plain text; else plain text, whatever is asked for.
#[must_use]
pub fn negotiate(accept: &str) -> Format {
    let mut best_open = 0;
    let mut best_text = 0;
    for range in accept.split(',').take(32) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let find = |name: &str| {
            parameters.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let weight = find("q").map_or(1_000, thousandths);
        if media.eq_ignore_ascii_case("application/openmetrics-text") {
            if find("version").is_none_or(|version| matches!(version.trim_matches('"'), "1.0.0" | "0.0.1")) {
                best_open = best_open.max(weight);
            }
        } else if ["text/plain", "text/*", "*/*"].iter().any(|text| media.eq_ignore_ascii_case(text)) {
            best_text = best_text.max(weight);
        }
    }
    if best_open > 0 && best_open >= best_text { Format::OpenMetrics } else { Format::Text }
}

/// A quality value (RFC 9110, section 12.4.2) in thousandths; what is none counts as zero.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || !digits(fraction) {
        return 0;
    }
    let fraction = format!("{fraction:0<3}").parse::<u32>().unwrap_or(0);
    if whole == "1" { 1_000 } else { fraction }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_open_metrics_only_to_who_likes_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,\
                          text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(negotiate(prometheus), Format::OpenMetrics);
        assert_eq!(negotiate("application/openmetrics-text"), Format::OpenMetrics);
        assert_eq!(negotiate("application/openmetrics-text; q=0.3, text/plain; q=0.9"), Format::Text);
        assert_eq!(negotiate("application/openmetrics-text; q=0"), Format::Text);
        assert_eq!(negotiate("application/openmetrics-text; version=2.0.0, text/plain; q=0.1"), Format::Text);
    }

    #[test]
    fn gives_plain_text_to_everybody_else() {
        for accept in ["", "*/*", "text/html,application/xhtml+xml,*/*;q=0.8", ";;;,,,q=", "application/json"] {
            assert_eq!(negotiate(accept), Format::Text, "{accept}");
        }
    }

    #[test]
    fn reads_quality_values() {
        assert_eq!(thousandths("1"), 1_000);
        assert_eq!(thousandths("0.25"), 250);
        assert_eq!(thousandths("0.001"), 1);
        assert_eq!(thousandths("0."), 0);
        assert_eq!(thousandths("7"), 0);
        assert_eq!(thousandths("0.1234"), 0);
        assert_eq!(thousandths("x"), 0);
    }
}
