//! The effective configuration as TOML that can be fed back, each key with who said so.

use super::keys::{HIDDEN, KEYS, Kind, is_address, is_secret, shown_address};
use super::said::{Layers, Said, Written};
use std::fmt::Write as _;

/// Renders all keys, sections in order, one comment line a key with its meaning and origin.
#[must_use]
pub(super) fn render(layers: &Layers) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        let Some(Said { value, origin }) = layers.get(key.path) else { continue };
        let (place, name) = match key.kind {
            Kind::Table | Kind::Tables(_) => (key.path, ""),
            Kind::One | Kind::List => key.path.rsplit_once('.').unwrap_or(("", key.path)),
        };
        if place != section {
            if !text.is_empty() {
                text.push('\n');
            }
            let _ = writeln!(text, "[{place}]");
            section = place;
        }
        let _ = writeln!(text, "# {} ({origin})", key.help);
        let secret = is_secret(key.path);
        match value {
            // Commented out: what is fed back must not hold a password that is none.
            Written::One(value) if secret && !value.is_empty() => drop(writeln!(text, "# {name} = {HIDDEN}")),
            Written::Table(table) if secret => {
                for name in table.keys() {
                    let _ = writeln!(text, "# {} = {HIDDEN}", quoted(name));
                }
            }
            Written::One(value) if is_address(key.path) && shown_address(value).is_some() => {
                let shown = shown_address(value).unwrap_or_default();
                let _ = writeln!(text, "# {name} = {}", quoted(&shown));
            }
            Written::List(items) if is_address(key.path) && items.iter().any(|one| shown_address(one).is_some()) => {
                let shown = items.iter().map(|one| quoted(&shown_address(one).unwrap_or_else(|| one.clone())));
                let _ = writeln!(text, "# {name} = [{}]", shown.collect::<Vec<_>>().join(", "));
            }
            Written::List(items) if secret && !items.is_empty() => drop(writeln!(text, "# {name} = {HIDDEN}")),
            Written::One(value) => drop(writeln!(text, "{name} = {}", scalar(value))),
            Written::List(items) => {
                let items: Vec<String> = items.iter().map(|item| scalar(item)).collect();
                let _ = writeln!(text, "{name} = [{}]", items.join(", "));
            }
            Written::Table(table) => {
                for (name, value) in table {
                    let _ = writeln!(text, "{} = {}", quoted(name), quoted(value));
                }
            }
            Written::Tables(tables) => {
                for (name, table) in tables {
                    let _ = writeln!(text, "\n[{}.{}]", key.path, quoted(name));
                    for (field, value) in table {
                        let field: Vec<String> = field.splitn(2, '.').map(quoted).collect();
                        let _ = writeln!(text, "{} = {}", field.join("."), scalar(value));
                    }
                }
            }
        }
    }
    text
}

fn scalar(text: &str) -> String {
    let number = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && !(text.len() > 1 && text.starts_with('0'));
    if number && text.parse::<i64>().is_ok() { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
