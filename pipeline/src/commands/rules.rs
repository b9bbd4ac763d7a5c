//! `redtap rules`: the rules of the configuration as text for others.

use super::Probing;
use anyhow::Result;
use clap::{Args, ValueEnum};
use redtap::alarms::prometheus;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `rules` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  redtap rules > redtap.rules.yml && promtool check rules redtap.rules.yml
  redtap rules --format promtool-test > test.yml && promtool test rules test.yml
  redtap rules --format prometheusrule | kubectl apply -f -")]
pub(super) struct Rules {
    /// In which form.
    #[arg(long, value_enum, default_value_t = Form::Prometheus)]
    format: Form,
    /// The file of rules that the tests are about.
    #[arg(long, value_name = "FILE", default_value = "redtap.rules.yml")]
    rule_file: String,
    /// The configuration file; otherwise ./redtap.toml, then /etc/redtap/redtap.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Recording and alerting rules, for `rule_files`.
    Prometheus,
    /// The same as an object for the Prometheus operator.
    Prometheusrule,
    /// Unit tests of them, for `promtool test rules`.
    PromtoolTest,
}

pub(super) fn rules(options: &Rules) -> Result<ExitCode> {
    let loaded = Probing::of_file(options.config.clone()).load()?;
    let rules = &loaded.settings.alarms.rules;
    let text = match options.format {
        Form::Prometheus => prometheus::rule_file(rules),
        Form::Prometheusrule => prometheus::kubernetes(rules),
        Form::PromtoolTest => prometheus::unit_tests(rules, &options.rule_file),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
