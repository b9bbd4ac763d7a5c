//! Section `ui`: where the reports come from, if not from the agent's own history.

use super::client::client_within;
use super::read::Reader;
use crate::fleet::{FleetSettings, REPORT_WITHIN};
use std::time::Duration;

/// The section; none if no URL is given.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<FleetSettings> {
    let client = client_within(reader, "ui.query_", REPORT_WITHIN);
    let interval = reader.duration("ui.query_interval", Duration::from_secs(1)..=Duration::from_secs(600));
    let labels = reader.table("ui.query_labels");
    for (name, value) in &labels {
        let mut letters = name.chars();
        let first = letters.next().is_some_and(|letter| letter.is_ascii_alphabetic() || letter == '_');
        if !first || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
            let place = format!("ui.query_labels.{name}");
            reader.problem(&place, value, "is not the name of a label", "write letters, digits and _, such as cluster");
        }
    }
    let interval = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
    Some(FleetSettings { client: client?, interval, labels })
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, Sources, load};

    fn settings(file: &str) -> Result<Settings, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redtap.toml");
        std::fs::write(&path, file).unwrap();
        let loaded = load(&Sources { file: Some(path), ..Sources::default() });
        loaded
            .map(|loaded| loaded.settings)
            .map_err(|error| error.problems.into_iter().map(|problem| problem.key).collect())
    }

    #[test]
    fn without_a_url_there_is_no_engine() {
        assert_eq!(settings("").unwrap().fleet, None);
        assert_eq!(settings("[ui]\nquery_interval = \"30s\"").unwrap().fleet, None);
    }

    #[test]
    fn an_engine_is_reached_as_receivers_are() {
        let text = "[ui]\nquery_url = \"http://mimir/prometheus\"\nquery_interval = \"30s\"\nquery_bearer_token = \"s3cret\"\n\
                    [ui.query_labels]\ncluster = \"a\"\n[ui.query_headers]\nX-Scope-OrgID = \"tenant\"\n";
        let fleet = settings(text).unwrap().fleet.unwrap();
        assert_eq!((fleet.client.url.as_str(), fleet.interval), ("http://mimir/prometheus", 30));
        assert_eq!(fleet.labels.get("cluster").map(String::as_str), Some("a"));
        assert_eq!(fleet.client.headers.get("x-scope-orgid").map(|value| value.to_str().unwrap()), Some("tenant"));
        assert!(!format!("{fleet:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_wrong_is_said_by_its_key() {
        let text = "[ui]\nquery_url = \"ftp://x\"\nquery_interval = \"0s\"\nquery_timeout = \"10s\"\nquery_basic_password = \"p\"\n\
                    [ui.query_labels]\n\"a b\" = \"a\"\n";
        let mut keys = settings(text).unwrap_err();
        keys.sort();
        assert_eq!(
            keys,
            ["ui.query_basic_password", "ui.query_interval", "ui.query_labels.a b", "ui.query_timeout", "ui.query_url"]
        );
    }
}
