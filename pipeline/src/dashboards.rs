//! Dashboards for Grafana, made from the tables of metrics: no panel can name a metric or a label that there is not.
//!
//! [`all`] is the one place that they come from; `dashboards/` holds the same as files (a test compares). The shape is the
//! classic JSON of Grafana, schema 39, which all versions import. Variables: the data source, and the services.
//!
//! Absent: anything that is read from a running agent.

mod boards;
mod panel;

use redtap_stages::metric::{Entry, Metric};
use serde_json::{Value, json};

/// Version of Grafana's schema.
const SCHEMA: u32 = 39;

/// A dashboard: the name of its file, and its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Dashboard {
    /// Without a folder.
    pub file: &'static str,
    /// The whole.
    pub json: Value,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Dashboard> {
    vec![boards::overview(), boards::service(), boards::stores(), boards::topology(), boards::agent()]
}

/// Written as a file.
#[must_use]
pub fn text(dashboard: &Dashboard) -> String {
    let mut text = serde_json::to_string_pretty(&dashboard.json).unwrap_or_default();
    text.push('\n');
    text
}

/// A metric of the table, as a query names it.
#[derive(Debug, Clone, Copy)]
struct Traffic(&'static Entry);

impl Traffic {
    fn of(metric: Metric) -> Self {
        Self(metric.entry())
    }

    /// With what Prometheus adds to the name of a histogram.
    fn part(self, part: &str) -> String {
        format!("{}_{part}", self.0.prometheus)
    }

    /// A label, by its name in the table; `service.name` is on all of them.
    fn label(self, name: &'static str) -> String {
        debug_assert!(name == "service.name" || self.0.labels.iter().any(|label| label.name == name), "{name}");
        name.replace('.', "_")
    }
}

/// A metric of the agent's own.
fn own(name: &'static str) -> &'static str {
    debug_assert!(
        crate::self_metrics::HELP.iter().any(|(known, _)| *known == name) || name == "redtap_process_cpu_seconds_total",
        "{name}"
    );
    name
}

fn dashboard(file: &'static str, uid: &str, title: &str, variables: Vec<Value>, panels: Vec<Value>) -> Dashboard {
    let datasource = json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "current": {}, "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": ""
    });
    let list: Vec<Value> = std::iter::once(datasource).chain(variables).collect();
    let json = json!({
        "uid": uid,
        "title": title,
        "description": "Made by redtap dashboards.",
        "tags": ["redtap"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "fiscalYearStartMonth": 0,
        "annotations": {"list": []},
        "links": [{
            "type": "dashboards", "title": "redtap", "tags": ["redtap"], "asDropdown": true, "icon": "external link",
            "includeVars": true, "keepTime": true, "targetBlank": false, "tooltip": "", "url": ""
        }],
        "templating": {"list": list},
        "panels": panels,
    });
    Dashboard { file, json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_what_is_made() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");
        let made: Vec<(String, String)> = all().iter().map(|one| (one.file.to_owned(), text(one))).collect();
        for (file, text) in &made {
            let there = std::fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
            assert!(there == *text, "dashboards/{file} is not what `redtap dashboards dashboards` writes");
        }
        let there =
            std::fs::read_dir(folder).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let mut there: Vec<String> = there.filter(|name| name.rsplit('.').next() == Some("json")).collect();
        there.sort();
        let mut wanted: Vec<String> = made.into_iter().map(|(file, _)| file).collect();
        wanted.sort();
        assert_eq!(there, wanted);
    }

    #[test]
    fn panels_do_not_overlap_and_have_numbers_of_their_own() {
        for board in all() {
            let panels = board.json["panels"].as_array().unwrap();
            let mut taken = std::collections::HashSet::new();
            let mut numbers = std::collections::HashSet::new();
            for panel in panels {
                let grid = &panel["gridPos"];
                let get = |name: &str| grid[name].as_u64().unwrap();
                for x in get("x")..get("x") + get("w") {
                    for y in get("y")..get("y") + get("h") {
                        assert!(x < 24 && taken.insert((x, y)), "{}: {}", board.file, panel["title"]);
                    }
                }
                assert!(numbers.insert(panel["id"].as_u64().unwrap()));
            }
            assert!(board.json["uid"].as_str().unwrap().len() <= 40);
        }
    }
}
