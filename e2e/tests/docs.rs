//! The pages name what is there: steps and files of the tests, flags of the binary, commands of the README.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::can_run;
use redtap_e2e::cli::redtap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

/// First words between backquotes in the first column of the tables.
fn firsts(page: &str) -> Vec<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `"));
    cells.filter_map(|rest| rest.split_once('`')).map(|(first, _)| first.to_owned()).collect()
}

#[test]
fn the_page_on_testing_names_every_proof_and_no_other() {
    let testing = page("docs/testing.md");
    let mut named: Vec<String> = firsts(&testing)
        .into_iter()
        .filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "rs"))
        .collect();
    named.sort();
    let mut there: Vec<String> = std::fs::read_dir(root().join("e2e/tests"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .collect();
    there.sort();
    assert_eq!(named, there);
}

#[test]
fn the_page_on_testing_names_steps_that_there_are() {
    let source = page("xtask/src/test.rs");
    let words: Vec<String> = firsts(&page("docs/testing.md"))
        .into_iter()
        .filter_map(|first| Some(first.strip_prefix('"')?.strip_suffix('"')?.to_owned()))
        .collect();
    let commands = ["    step(\"", "    beside(\""].map(|begin| source.matches(begin).count());
    let steps = source.matches("name: \"").count() + commands.iter().sum::<usize>();
    assert_eq!(words.len(), steps, "{words:?}");
    for word in words {
        assert!(source.contains(&format!("\"{word}")), "no step begins with {word}");
    }
}

#[test]
fn every_flag_of_run_is_on_the_page_on_configuration_and_the_other_way_round() {
    if !can_run(&["timeout"]) {
        return;
    }
    let help = redtap(Path::new("/"), &["run", "--help"]).unwrap();
    assert_eq!(help.code, Some(0), "{}", help.err);
    let flags = |text: &str| -> Vec<String> {
        let mut flags: Vec<String> = text
            .split(|letter: char| !(letter.is_ascii_lowercase() || letter == '-'))
            .filter(|word| word.len() > 2 && word.starts_with("--") && !word.starts_with("---"))
            .map(str::to_owned)
            .collect();
        flags.sort();
        flags.dedup();
        flags
    };
    let there: Vec<String> = flags(&help.out).into_iter().filter(|flag| flag != "--help").collect();
    let configuration = page("docs/configuration.md");
    let (_, section) = configuration.split_once("## Flags of `redtap run`").unwrap();
    let table: String = section.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    assert_eq!(flags(&table), there);
}

#[test]
fn commands_of_the_readme_are_commands() {
    if !can_run(&["timeout"]) {
        return;
    }
    let readme = page("README.md");
    let commands: Vec<&str> = readme
        .split("redtap ")
        .skip(1)
        .filter_map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase()).next())
        .collect();
    for command in ["run", "demo", "doctor", "record", "replay", "config", "top", "completions", "man"] {
        let help = redtap(Path::new("/"), &[command, "--help"]).unwrap();
        assert_eq!(help.code, Some(0), "{command}: {}", help.err);
        if command != "run" && command != "completions" {
            assert!(commands.contains(&command), "the README does not show `redtap {command}`");
        }
    }
}
