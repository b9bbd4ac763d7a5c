//! Developer commands: `cargo xtask COMMAND`.

mod bpf;
mod clients;
mod deny;
mod fuzz;
mod install;
mod instructions;
mod limited;
mod test;
mod ui;

use anyhow::{Result, bail};
use std::process::Command;

const USAGE: &str = "cargo xtask COMMAND
  test [WORDS]       install what the tests need (when root) and run them all, or the steps whose name contains WORDS
  ui [--check]       build the pages of the web UI, or check and test them and compare the committed ones with their source
  bpf [--check]      build the kernel programs, or compare the committed ones with their source
  ci                 what .ci/run runs
  install            only install, and build what e2e/clients/ holds
  deny               licences, bans and sources of the dependencies
  instructions [--renew]  what each stage takes against benches/baseline.toml, or write that anew
  fuzz [--seconds N] every fuzz target for N seconds (default 15)";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["test"] => test::run(None),
        ["test", only] => test::run(Some(only)),
        ["bpf"] => bpf::run(false),
        ["bpf", "--check"] => bpf::run(true),
        ["ui"] => ui::run(false),
        ["ui", "--check"] => ui::run(true),
        ["ci"] => ci(),
        ["install"] => install::run(),
        ["instructions"] => instructions::run(false),
        ["instructions", "--renew"] => instructions::run(true),
        ["deny"] => deny::run(),
        ["fuzz"] => fuzz::run(15),
        ["fuzz", "--seconds", seconds] => fuzz::run(seconds.parse()?),
        _ => bail!("{USAGE}"),
    }
}

fn ci() -> Result<()> {
    if Command::new("bash").arg(".ci/run").status()?.success() {
        return Ok(());
    }
    bail!("the CI run failed")
}
