//! The exporter's text (Prometheus 0.0.4) as OpenMetrics: families of counters without `_total`, no empty lines.

/// Appends `text`, translated.
pub(super) fn to_open_metrics(text: &str, out: &mut String) {
    let counter = |name: &str| {
        let line = format!("# TYPE {name} counter");
        text.lines().any(|other| other == line)
    };
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut words = line.splitn(4, ' ');
        if let (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next(), words.next())
            && let Some(family) = name.strip_suffix("_total")
            && counter(name)
        {
            for part in ["# ", what, " ", family, " ", rest] {
                out.push_str(part);
            }
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_ending_off_the_families_of_counters_only() {
        let text = "# HELP a_total Some, a_total.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\n# TYPE d_total gauge\nd_total 2\n\n";
        let mut out = String::new();
        to_open_metrics(text, &mut out);
        assert_eq!(
            out,
            "# HELP a Some, a_total.\n# TYPE a counter\na_total{b=\"c\"} 1\n# TYPE d_total gauge\nd_total 2\n"
        );
    }
}
