//! Panels and where they lie.

use serde_json::{Value, json};

/// Columns of a dashboard.
const COLUMNS: u32 = 24;

/// A query and what its series are called.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) expression: String,
    pub(super) legend: String,
    /// Only the last value, as a table.
    pub(super) instant: bool,
    /// Points of single requests are shown as well.
    pub(super) exemplars: bool,
}

impl Query {
    pub(super) fn new(expression: impl Into<String>, legend: impl Into<String>) -> Self {
        Self { expression: expression.into(), legend: legend.into(), instant: false, exemplars: false }
    }

    pub(super) fn instant(expression: impl Into<String>) -> Self {
        Self { instant: true, ..Self::new(expression, "") }
    }

    pub(super) fn with_exemplars(self) -> Self {
        Self { exemplars: true, ..self }
    }
}

/// What a panel looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Lines,
    Stacked,
    Stat,
    Table,
    HeatMap,
    NodeGraph,
}

/// Lays panels out, from left to right and from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Layout {
    panels: Vec<Value>,
    x: u32,
    y: u32,
    height: u32,
}

impl Layout {
    /// A headline.
    pub(super) fn row(&mut self, title: &str) {
        self.line_feed();
        let id = self.panels.len() + 1;
        self.panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": self.y, "w": COLUMNS, "h": 1},
        }));
        self.y += 1;
    }

    /// A panel of some columns and lines.
    pub(super) fn panel(
        &mut self,
        (w, h): (u32, u32),
        look: Look,
        title: &str,
        about: &str,
        unit: &str,
        queries: &[Query],
    ) {
        if self.x + w > COLUMNS {
            self.line_feed();
        }
        let id = self.panels.len() + 1;
        let targets: Vec<Value> =
            "ABCDEFGH".chars().zip(queries).map(|(name, query)| target(name, query, look)).collect();
        self.panels.push(json!({
            "id": id,
            "type": kind(look),
            "title": title,
            "description": about,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {"x": self.x, "y": self.y, "w": w, "h": h},
            "fieldConfig": {"defaults": defaults(look, unit), "overrides": []},
            "options": options(look),
            "targets": targets,
            "transformations": transformations(look),
        }));
        self.x += w;
        self.height = self.height.max(h);
    }

    pub(super) fn done(self) -> Vec<Value> {
        self.panels
    }

    fn line_feed(&mut self) {
        self.y += self.height;
        (self.x, self.height) = (0, 0);
    }
}

fn kind(look: Look) -> &'static str {
    match look {
        Look::Lines | Look::Stacked => "timeseries",
        Look::Stat => "stat",
        Look::Table => "table",
        Look::HeatMap => "heatmap",
        Look::NodeGraph => "nodeGraph",
    }
}

fn target(name: char, query: &Query, look: Look) -> Value {
    let format = match look {
        Look::Table | Look::NodeGraph => "table",
        Look::HeatMap => "heatmap",
        Look::Lines | Look::Stacked | Look::Stat => "time_series",
    };
    json!({
        "refId": name.to_string(),
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "instant": query.instant,
        "range": !query.instant,
        "exemplar": query.exemplars,
        "format": format,
    })
}

fn defaults(look: Look, unit: &str) -> Value {
    let custom = match look {
        Look::Lines => {
            json!({"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": false})
        }
        Look::Stacked => json!({
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 40, "showPoints": "never",
            "stacking": {"mode": "normal", "group": "A"}
        }),
        Look::Stat | Look::Table | Look::HeatMap | Look::NodeGraph => json!({}),
    };
    json!({"unit": unit, "min": 0, "custom": custom})
}

fn options(look: Look) -> Value {
    match look {
        Look::Lines | Look::Stacked => json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true, "calcs": ["mean", "max", "lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"}
        }),
        Look::Stat => json!({
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "textMode": "auto"
        }),
        Look::Table => {
            json!({"showHeader": true, "cellHeight": "sm", "footer": {"show": false, "reducer": ["sum"], "fields": ""}})
        }
        Look::HeatMap => json!({
            "calculate": false,
            "yAxis": {"unit": "s", "axisPlacement": "left"},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": false},
            "cellGap": 1,
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": true},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": false, "showColorScale": false}
        }),
        Look::NodeGraph => json!({"nodes": {}, "edges": {}}),
    }
}

/// A table with one row a series; a graph from such tables.
fn transformations(look: Look) -> Value {
    match look {
        Look::Table => {
            json!([{"id": "merge", "options": {}}, {"id": "organize", "options": {"excludeByName": {"Time": true}}}])
        }
        Look::NodeGraph => json!([{"id": "organize", "options": {
            "excludeByName": {"Time": true},
            "renameByName": {"Value #A": "mainstat", "Value #B": "mainstat"}
        }}]),
        Look::Lines | Look::Stacked | Look::Stat | Look::HeatMap => json!([]),
    }
}
