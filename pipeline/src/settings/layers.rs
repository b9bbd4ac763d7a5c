//! Gathers what was written where: defaults, file, environment, flags, each over the one before it.
//!
//! Reports what is unknown in any layer, also where a later layer would hide it. Reads files and nothing else.

mod tables;

use super::error::Problem;
use super::keys::{self, KEYS, Kind};
use super::said::{Layers, Said, Tables, Written};
use super::{PREFIX, Sources, standard};
use config::{Environment, File, FileFormat, Source, Value, ValueKind};
use std::collections::BTreeMap;

/// Entries of a list or table that are read; what comes after is a problem.
pub(super) const MAX_ENTRIES: usize = 256;

/// Gathers all layers; problems are appended.
pub(super) fn gather(sources: &Sources, problems: &mut Vec<Problem>) -> Layers {
    let mut layers = defaults();
    standard::apply(&sources.environment, &mut layers);
    let found = sources.file.as_ref().or_else(|| sources.search.iter().find(|path| path.is_file()));
    if let Some(path) = found {
        let origin = path.display().to_string();
        match File::from(path.as_path()).format(FileFormat::Toml).collect() {
            Ok(table) => {
                for (name, value) in table {
                    walk(&name, value, &origin, &mut layers, problems);
                }
            }
            Err(error) => problems.push(unreadable(path, origin, &error)),
        }
    }
    environment(sources, &mut layers, problems);
    standard::protocol(&sources.environment, &mut layers);
    for flag in &sources.flags {
        let value = match keys::find(flag.path).map(|key| key.kind) {
            Some(Kind::List) => Written::List(flag.values.clone()),
            _ => Written::One(flag.values.last().cloned().unwrap_or_default()),
        };
        if let Some(key) = keys::find(flag.path) {
            layers.insert(key.path, Said { value, origin: flag.name.to_owned() });
        }
    }
    layers
}

fn defaults() -> Layers {
    KEYS.iter()
        .map(|key| {
            let value = match key.kind {
                Kind::One => Written::One(key.default.to_owned()),
                Kind::List => Written::List(Vec::new()),
                Kind::Table => Written::Table(BTreeMap::new()),
                Kind::Tables(_) => Written::Tables(tables::built_in(key.path)),
            };
            (key.path, Said { value, origin: "default".to_owned() })
        })
        .collect()
}

fn unreadable(path: &std::path::Path, origin: String, error: &config::ConfigError) -> Problem {
    let (what, remedy) = match std::fs::metadata(path) {
        Err(why) => (format!("cannot be read: {why}"), "give the path of a readable file with --config"),
        Ok(_) => (error.to_string().trim().replace('\n', " | "), "correct the TOML at the line named"),
    };
    Problem { key: String::new(), value: String::new(), origin, what, remedy: remedy.to_owned() }
}

fn environment(sources: &Sources, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let source = Environment::with_prefix(PREFIX)
        .prefix_separator("__")
        .separator("__")
        .source(Some(sources.environment.iter().cloned().collect()));
    let Ok(table) = source.collect() else { return };
    let mut table: Vec<(String, Value)> = table.into_iter().collect();
    table.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, value) in table {
        let variable = keys::variable(&path);
        let origin = sources
            .environment
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&variable))
            .map_or(variable, |(name, _)| name.clone());
        let text = value.into_string().unwrap_or_default();
        match keys::find(&path) {
            Some(key) => {
                let value = match key.kind {
                    Kind::One => Written::One(text),
                    Kind::List => Written::List(split(&text)),
                    Kind::Table | Kind::Tables(_) => {
                        problems.push(wrong_kind(&path, &text, &origin, "a table"));
                        continue;
                    }
                };
                layers.insert(key.path, Said { value, origin });
            }
            None => match path.rsplit_once('.').and_then(|(table, name)| Some((keys::find(table)?, name))) {
                Some((key, name)) if key.kind == Kind::Table => entry(layers, key.path, name, text, origin),
                _ if tables::field(layers, &path, &text, &origin) => {}
                _ => problems.push(unknown(&path, &origin)),
            },
        }
    }
}

fn entry(layers: &mut Layers, path: &'static str, name: &str, text: String, origin: String) {
    if let Some(Said { value: Written::Table(table), origin: place }) = layers.get_mut(path) {
        table.insert(name.to_owned(), text);
        *place = if place == "default" { origin } else { format!("{place}, {origin}") };
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn walk(path: &str, value: Value, origin: &str, layers: &mut Layers, problems: &mut Vec<Problem>) {
    let Some(key) = keys::find(path) else {
        if keys::is_section(path) {
            match value.kind {
                ValueKind::Table(table) => {
                    let mut table: Vec<(String, Value)> = table.into_iter().collect();
                    table.sort_by(|a, b| a.0.cmp(&b.0));
                    for (name, value) in table {
                        walk(&format!("{path}.{name}"), value, origin, layers, problems);
                    }
                }
                other => problems.push(wrong_kind(path, &shown(&Value::new(None, other)), origin, "a section")),
            }
        } else {
            problems.push(unknown(path, origin));
        }
        return;
    };
    if let (Kind::Tables(fields), ValueKind::Table(table)) = (key.kind, &value.kind) {
        tables::merge(layers, key.path, fields, table, origin, problems);
        return;
    }
    let shown = shown(&value);
    let written = match (key.kind, value.kind) {
        (Kind::One, ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil) => None,
        (Kind::One, kind) => scalar(kind).map(Written::One),
        (Kind::List, ValueKind::Array(items)) => {
            items.into_iter().map(|item| scalar(item.kind)).collect::<Option<Vec<_>>>().map(Written::List)
        }
        (Kind::Table, ValueKind::Table(table)) => table
            .into_iter()
            .map(|(name, item)| Some((name, scalar(item.kind)?)))
            .collect::<Option<BTreeMap<_, _>>>()
            .map(Written::Table),
        _ => None,
    };
    match written {
        Some(value) => drop(layers.insert(key.path, Said { value, origin: origin.to_owned() })),
        None => {
            let wanted = match key.kind {
                Kind::One => "one value",
                Kind::List => "a list of values, such as [\"a\", \"b\"]",
                Kind::Table => "a table of names and values",
                Kind::Tables(_) => "tables by name",
            };
            problems.push(wrong_kind(path, &shown, origin, wanted));
        }
    }
}

fn scalar(kind: ValueKind) -> Option<String> {
    match kind {
        ValueKind::Boolean(value) => Some(value.to_string()),
        ValueKind::I64(value) => Some(value.to_string()),
        ValueKind::I128(value) => Some(value.to_string()),
        ValueKind::U64(value) => Some(value.to_string()),
        ValueKind::U128(value) => Some(value.to_string()),
        ValueKind::Float(value) => Some(value.to_string()),
        ValueKind::String(value) => Some(value),
        ValueKind::Nil | ValueKind::Table(_) | ValueKind::Array(_) => None,
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| item.to_string()).collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_string(),
    }
}

fn wrong_kind(path: &str, value: &str, origin: &str, wanted: &str) -> Problem {
    Problem {
        key: path.to_owned(),
        // Of several addresses together nothing can be told apart.
        value: if keys::is_secret(path) || keys::is_address(path) { String::new() } else { value.to_owned() },
        origin: origin.to_owned(),
        what: "has the wrong shape".to_owned(),
        remedy: format!("write {wanted}"),
    }
}

fn unknown(path: &str, origin: &str) -> Problem {
    let remedy = match keys::closest(path) {
        Some(known) if origin.len() > PREFIX.len() && origin.eq_ignore_ascii_case(&keys::variable(path)) => {
            format!("did you mean {}?", keys::variable(known))
        }
        Some(known) => format!("did you mean {known}?"),
        None => "remove it; `redtap config` lists all keys".to_owned(),
    };
    Problem {
        key: path.to_owned(),
        value: String::new(),
        origin: origin.to_owned(),
        what: "there is no such key".to_owned(),
        remedy,
    }
}
