//! Reads the text exposition, as far as tests ask of it.

use std::collections::BTreeMap;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the sample (with `_count`, `_bucket`, ...).
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty without it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A whole exposition.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// In the order of the text.
    pub samples: Vec<Sample>,
}

impl Metrics {
    /// Parses text 0.0.4 (and what `OpenMetrics` shares with it); lines that are no samples are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect() }
    }

    /// Samples of that name whose labels are as given.
    pub fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name && labels.iter().all(|(key, value)| sample.label(key) == *value))
    }

    /// Sum over [`Self::matching`], rounded to a whole number.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a test are small whole numbers"
    )]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.matching(name, labels).map(|sample| sample.value).sum::<f64>().round() as u64
    }

    /// Sums by the values of some labels.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a test are small whole numbers"
    )]
    pub fn by(&self, name: &str, labels: &[(&str, &str)], keys: &[&str]) -> BTreeMap<Vec<String>, u64> {
        let mut sums = BTreeMap::new();
        for sample in self.matching(name, labels) {
            let key = keys.iter().map(|key| sample.label(key).to_owned()).collect();
            *sums.entry(key).or_default() += sample.value.round() as u64;
        }
        sums
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, labels, rest) = match line.find('{') {
        Some(open) => {
            let (name, rest) = line.split_at_checked(open)?;
            let (labels, rest) = labels(rest.get(1..)?)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, BTreeMap::new(), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: series.to_owned(), labels, value })
}

fn labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        text = rest.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_samples_with_escaped_labels() {
        let text = "# HELP a b\na_count{x=\"1\",y=\"q\\\"}\\\\\"} 3\na_count{x=\"2\"} 4 # {} 1\nb 2.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a_count", &[]), 7);
        assert_eq!(metrics.sum("a_count", &[("x", "1"), ("y", "q\"}\\")]), 3);
        assert_eq!(metrics.by("a_count", &[], &["x"]).len(), 2);
    }
}
