//! Tables by name: what is written of one is put over what was there of it, field by field.

use super::super::error::Problem;
use super::super::keys;
use super::{Layers, Said, Tables, Written, scalar, shown, wrong_kind};
use config::{Map, Value, ValueKind};
use std::collections::BTreeMap;

/// The tables that there are without a word of configuration.
pub(super) fn built_in(path: &str) -> Tables {
    if path != "alarms.rules" {
        return Tables::new();
    }
    let owned = |fields: &[(&str, &str)]| {
        fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
    };
    crate::alarms::rule::BUILT_IN.iter().map(|(name, fields)| ((*name).to_owned(), owned(fields))).collect()
}

/// Puts what a file says over what there is. A table that says its `kind` begins anew.
pub(super) fn merge(
    layers: &mut Layers,
    path: &'static str,
    fields: &[&'static str],
    written: &Map<String, Value>,
    origin: &str,
    problems: &mut Vec<Problem>,
) {
    let mut names: Vec<&String> = written.keys().collect();
    names.sort();
    for name in names {
        let place = format!("{path}.{name}");
        let Some(value) = written.get(name) else { continue };
        let ValueKind::Table(table) = &value.kind else {
            problems.push(wrong_kind(&place, &shown(value), origin, "a table"));
            continue;
        };
        let read = flat(&place, table, fields, origin, problems);
        if let Some(tables) = tables(layers, path, origin) {
            if read.contains_key("kind") {
                tables.remove(name);
            }
            tables.entry(name.clone()).or_default().extend(read);
        }
    }
}

/// Takes up a field from the environment, whose names have no capitals; false if there is no such table or field.
pub(super) fn field(layers: &mut Layers, path: &str, text: &str, origin: &str) -> bool {
    for key in keys::KEYS {
        let keys::Kind::Tables(fields) = key.kind else { continue };
        let Some((name, field)) =
            path.strip_prefix(key.path).and_then(|rest| rest.strip_prefix('.')).and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let first = field.split('.').next().unwrap_or(field);
        if !fields.contains(&first) || (first != field) != is_table(first) {
            return false;
        }
        let Some(Said { value: Written::Tables(known), .. }) = layers.get(key.path) else { return false };
        let Some(name) = known.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned() else { return false };
        if let Some(tables) = tables(layers, key.path, origin) {
            tables.entry(name).or_default().insert(field.to_owned(), text.to_owned());
        }
        return true;
    }
    false
}

fn tables<'a>(layers: &'a mut Layers, path: &'static str, origin: &str) -> Option<&'a mut Tables> {
    let said = layers.get_mut(path)?;
    if !said.origin.split(", ").any(|known| known == origin) {
        said.origin = format!("{}, {origin}", said.origin);
    }
    match &mut said.value {
        Written::Tables(tables) => Some(tables),
        Written::One(_) | Written::List(_) | Written::Table(_) => None,
    }
}

/// Fields that are tables themselves.
fn is_table(field: &str) -> bool {
    matches!(field, "labels" | "annotations")
}

fn flat(
    place: &str,
    table: &Map<String, Value>,
    fields: &[&'static str],
    origin: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut read = BTreeMap::new();
    let mut written: Vec<(&String, &Value)> = table.iter().collect();
    written.sort_by_key(|(field, _)| *field);
    for (field, value) in written {
        let place = format!("{place}.{field}");
        match &value.kind {
            _ if !fields.contains(&field.as_str()) => {
                let remedy = match keys::closest_of(field, fields) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("remove it; there are {}", fields.join(", ")),
                };
                problems.push(Problem {
                    key: place,
                    value: String::new(),
                    origin: origin.to_owned(),
                    what: "there is no such key".to_owned(),
                    remedy,
                });
            }
            ValueKind::Table(inner) if is_table(field) => {
                for (name, value) in inner {
                    match scalar(value.kind.clone()) {
                        Some(text) => drop(read.insert(format!("{field}.{name}"), text)),
                        None => {
                            problems.push(wrong_kind(&format!("{place}.{name}"), &shown(value), origin, "one value"))
                        }
                    }
                }
            }
            _ if is_table(field) => problems.push(wrong_kind(&place, &shown(value), origin, "a table of texts")),
            kind => match scalar(kind.clone()) {
                Some(text) => drop(read.insert(field.clone(), text)),
                None => problems.push(wrong_kind(&place, &shown(value), origin, "one value")),
            },
        }
    }
    read
}
