//! The effective configuration as TOML that can be fed back, each key with who said so.

use super::keys::{KEYS, Kind, is_secret};
use super::layers::{Layers, Said, Written};
use std::fmt::Write as _;

/// Shown instead of a secret. It is no valid one, so that it is noticed where it is fed back.
pub(super) const HIDDEN: &str = "<hidden>";

/// Renders all keys, sections in order, one comment line a key with its meaning and origin.
#[must_use]
pub(super) fn render(layers: &Layers) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in KEYS {
        let Some(Said { value, origin }) = layers.get(key.path) else { continue };
        let (place, name) = match key.kind {
            Kind::Table => (key.path, ""),
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
        match value {
            Written::One(value) if is_secret(key.path) && !value.is_empty() => {
                let _ = writeln!(text, "{name} = {}", quoted(HIDDEN));
            }
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
