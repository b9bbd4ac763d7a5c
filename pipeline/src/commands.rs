//! The commands, one module each, and the command line.

mod agent;
mod config;
mod dashboards;
mod demo;
mod doctor;
mod examples;
mod exporters;
mod man;
mod plan;
mod record;
mod replay;
mod rules;
mod run;
mod signals;
mod status;
mod tail;
mod top;
mod ui;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};
use redtap::settings::{self, Flag, Loaded, Sources};
use std::path::PathBuf;
use std::process::ExitCode;

/// Sees every request that the services of this machine answer and make, without touching them, and shows rate, errors
/// and duration to Prometheus.
#[derive(Debug, Parser)]
#[command(name = "redtap", version, args_conflicts_with_subcommands = true, after_help = examples::REDTAP)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch, and serve /metrics (the default).
    #[command(after_help = examples::RUN)]
    Run(Run),
    /// Start a few small services with traffic between them, watch them, and say where to look. Needs root.
    Demo(demo::Demo),
    /// Say what this machine can do, and what is missing.
    #[command(after_help = examples::DOCTOR)]
    Doctor,
    /// Write the events that `run` would see into a file. It holds payloads: keep it as secret as the traffic.
    #[command(after_help = examples::RECORD)]
    Record(record::Record),
    /// Put a packet capture or a recording through the same stages, without the kernel.
    #[command(after_help = examples::REPLAY)]
    Replay(replay::Replay),
    /// Print calls as they happen.
    Tail(tail::Tail),
    /// Show services, endpoints, edges and calls on a terminal, as they are now.
    Top(top::Top),
    /// Serve the web interface alone, for all agents that write to an engine. Needs no privileges.
    Ui(ui::Ui),
    /// Print the effective configuration, and where each value comes from.
    #[command(after_help = examples::CONFIG)]
    Config(Probing),
    /// Print the rules of alarms for Prometheus.
    #[command(after_help = examples::RULES)]
    Rules(rules::Rules),
    /// Write dashboards for Grafana into a folder.
    #[command(after_help = examples::DASHBOARDS)]
    Dashboards(dashboards::Dashboards),
    /// Print completions for a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Write the manual into a folder: redtap.1 and a page for each command.
    Man(man::Man),
}

/// What `run` takes.
#[derive(Debug, Clone, Args)]
struct Run {
    #[command(flatten)]
    probing: Probing,
    /// No live table, also on a terminal.
    #[arg(long)]
    no_table: bool,
}

/// What stands for keys of the configuration.
#[derive(Debug, Clone, Default, Args)]
struct Probing {
    /// The configuration file; otherwise ./redtap.toml, then /etc/redtap/redtap.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of the HTTP endpoint.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Which hooks to use: auto, socket or syscall.
    #[arg(long)]
    rung: Option<String>,
    /// Watch this cgroup and what is below it (repeatable; `!PATH`: all but this).
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Do not watch this cgroup (repeatable).
    #[arg(long, value_name = "PATH")]
    deny_cgroup: Vec<String>,
    /// Watch this pid namespace (repeatable; `!NS`: all but this).
    #[arg(long, value_name = "NS")]
    pidns: Vec<String>,
    /// Watch this process, by name or number (repeatable; `!NAME`: all but this).
    #[arg(long, value_name = "NAME")]
    process: Vec<String>,
    /// Watch this port, at either end (repeatable; `!PORT`: all but this).
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// Rings, each with a pipeline of its own.
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Size of one ring.
    #[arg(long, value_name = "SIZE")]
    ring_bytes: Option<String>,
    /// Processor time that the agent may use before it does less, in percent of one processor; 0: no bound.
    #[arg(long, value_name = "PERCENT")]
    governor_cpu: Option<String>,
}

impl Probing {
    /// Of a command that has no flags for keys.
    fn of_file(config: Option<PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    fn flags(&self) -> Vec<Flag> {
        let mut flags = Vec::new();
        let single = [
            ("http.listen", "--listen", &self.listen),
            ("probe.rung", "--rung", &self.rung),
            ("probe.shards", "--shards", &self.shards),
            ("probe.ring_bytes", "--ring-bytes", &self.ring_bytes),
            ("governor.cpu", "--governor-cpu", &self.governor_cpu),
        ];
        for (path, name, value) in single {
            flags.extend(value.iter().map(|value| Flag { path, name, values: vec![value.clone()] }));
        }
        let lists = [
            ("probe.allow.cgroup", "probe.deny.cgroup", "--cgroup", &self.cgroup),
            ("probe.allow.pidns", "probe.deny.pidns", "--pidns", &self.pidns),
            ("probe.allow.process", "probe.deny.process", "--process", &self.process),
            ("probe.allow.port", "probe.deny.port", "--port", &self.port),
        ];
        for (allow, deny, name, values) in lists {
            let (denied, allowed): (Vec<&String>, Vec<&String>) =
                values.iter().partition(|value| value.starts_with('!'));
            let allowed: Vec<String> = allowed.into_iter().cloned().collect();
            let mut denied: Vec<String> =
                denied.into_iter().map(|value| value.trim_start_matches('!').to_owned()).collect();
            if deny == "probe.deny.cgroup" {
                denied.extend(self.deny_cgroup.iter().cloned());
            }
            for (path, values) in [(allow, allowed), (deny, denied)] {
                if !values.is_empty() {
                    flags.push(Flag { path, name, values });
                }
            }
        }
        flags
    }

    fn load(&self) -> Result<Loaded> {
        Ok(settings::load(&Sources::usual(self.config.clone(), self.flags()))?)
    }
}

/// Reads the command line and does what it says.
pub(crate) fn main() -> Result<ExitCode> {
    // Not among the commands that people are shown: nobody but the demo starts one.
    if std::env::args_os().nth(1).is_some_and(|word| word == demo::SERVICE) {
        return demo::service(&demo::Service::parse_from(std::env::args_os().skip(1)));
    }
    let line = CommandLine::parse();
    match line.command {
        None => run::run(&line.run),
        Some(Command::Run(run)) => run::run(&run),
        Some(Command::Demo(demo)) => demo::demo(&demo),
        Some(Command::Doctor) => Ok(doctor::doctor()),
        Some(Command::Record(record)) => record::record(&record),
        Some(Command::Replay(replay)) => replay::replay(&replay),
        Some(Command::Tail(options)) => tail::tail(&options),
        Some(Command::Top(options)) => top::top(&options),
        Some(Command::Man(options)) => man::man(&options, CommandLine::command()),
        Some(Command::Ui(options)) => ui::ui(&options),
        Some(Command::Config(probing)) => config::config(&probing),
        Some(Command::Rules(rules)) => rules::rules(&rules),
        Some(Command::Dashboards(options)) => dashboards::dashboards(&options),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut CommandLine::command(), "redtap", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_and_one_line_of_what_it_does() {
        let mut line = CommandLine::command();
        line.build();
        for command in line.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let shown = help.lines().any(|line| line.contains(&format!("redtap {}", command.get_name())));
            assert!(help.starts_with("Examples:\n") && shown, "{}: {help}", command.get_name());
            assert!(command.get_about().is_some(), "{}", command.get_name());
            assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        }
    }

    #[test]
    fn flags_become_keys_and_an_exclamation_mark_denies() {
        let line = CommandLine::try_parse_from([
            "redtap",
            "--listen",
            "127.0.0.1:1",
            "--cgroup",
            "/a",
            "--cgroup",
            "!/b",
            "--deny-cgroup",
            "/c",
            "--port",
            "80",
        ]);
        let flags = line.unwrap().run.probing.flags();
        let shown: Vec<(&str, Vec<String>)> = flags.into_iter().map(|flag| (flag.path, flag.values)).collect();
        let list = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("http.listen", list(&["127.0.0.1:1"])),
                ("probe.allow.cgroup", list(&["/a"])),
                ("probe.deny.cgroup", list(&["/b", "/c"])),
                ("probe.allow.port", list(&["80"])),
            ]
        );
    }
}
