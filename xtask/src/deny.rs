//! `cargo xtask deny`: licences, bans and sources of the dependencies, by `deny.toml`.
//!
//! cargo-deny itself where it is installed. It takes minutes to build, so where it is not, the same three rules are read
//! from `deny.toml` and held against `cargo metadata`: allowed licences, denied crates, and crates.io as the only source.

use anyhow::{Context, Result, ensure};
use std::process::Command;

/// Runs the checks; an error lists every offender.
pub(crate) fn run() -> Result<()> {
    let installed =
        Command::new("cargo").args(["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if installed {
        let status = Command::new("cargo").args(["deny", "check", "licenses", "bans", "sources"]).status()?;
        ensure!(status.success(), "cargo deny failed");
        return Ok(());
    }
    let rules: toml::Table = std::fs::read_to_string("deny.toml").context("cannot read deny.toml")?.parse()?;
    let allowed = strings(&rules, &["licenses", "allow"], None);
    let banned = strings(&rules, &["bans", "deny"], Some("crate"));
    ensure!(!allowed.is_empty(), "deny.toml allows no licence at all");
    let output = Command::new("cargo").args(["metadata", "--format-version=1", "--locked"]).output()?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages =
        metadata.get("packages").and_then(serde_json::Value::as_array).context("cargo metadata without packages")?;
    let offenders: Vec<String> = packages.iter().filter_map(|package| offence(package, &allowed, &banned)).collect();
    ensure!(offenders.is_empty(), "refused by deny.toml:\n  {}", offenders.join("\n  "));
    println!("{} packages: licences, bans and sources are as deny.toml says", packages.len());
    Ok(())
}

fn offence(package: &serde_json::Value, allowed: &[String], banned: &[String]) -> Option<String> {
    let name = package.get("name").and_then(serde_json::Value::as_str).unwrap_or("?");
    let source = package.get("source").and_then(serde_json::Value::as_str);
    if banned.iter().any(|ban| ban == name) {
        return Some(format!("{name}: banned"));
    }
    if source.is_some_and(|source| !source.starts_with("registry+")) {
        return Some(format!("{name}: comes from {}", source.unwrap_or("?")));
    }
    let licence = package.get("license").and_then(serde_json::Value::as_str).unwrap_or("none");
    (source.is_some() && !acceptable(licence, allowed)).then(|| format!("{name}: licence {licence}"))
}

/// An SPDX expression of OR and AND over names, as far as crates use them (some write them small, or a slash): some alternative
/// must be allowed as a whole.
fn acceptable(expression: &str, allowed: &[String]) -> bool {
    let expression =
        expression.replace('/', " OR ").replace(" or ", " OR ").replace(" and ", " AND ").replace(['(', ')'], "");
    expression.split(" OR ").any(|alternative| {
        alternative.split(" AND ").all(|licence| allowed.iter().any(|allowed| allowed == licence.trim()))
    })
}

fn strings(table: &toml::Table, path: &[&str], field: Option<&str>) -> Vec<String> {
    let mut value = toml::Value::Table(table.clone());
    for key in path {
        let Some(next) = value.get(key).cloned() else { return Vec::new() };
        value = next;
    }
    let items = value.as_array().cloned().unwrap_or_default();
    items
        .iter()
        .filter_map(|item| field.map_or(Some(item), |field| item.get(field)))
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_alternative_is_enough_and_every_part_of_it_counts() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
        assert!(acceptable("GPL-3.0 OR MIT", &allowed));
        assert!(acceptable("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(!acceptable("MIT AND GPL-3.0", &allowed));
        assert!(!acceptable("none", &allowed));
    }
}
