//! From settings to what the parts take.

use anyhow::{Context as _, Result, anyhow};
use redtap::blueprint::{Blueprint, Plan, StageSettings, ThreadPlan};
use redtap::settings::{KernelSelection, ProcessChoice, RungChoice, Settings, ThreadChoice};
use redtap_kernel::filters::{Filter, Filters, Verb};
use redtap_kernel::probe::{self, Probe, ProbeError, ProbeOptions};
use redtap_stages::aggregate::AggregateSettings;
use redtap_stages::converge::ConvergeRules;
use redtap_stages::filter::{FilterRules, Glob, ProcessRule, Rule};
use redtap_stages::join::JoinSettings;
use redtap_stages::pair::PairSettings;
use redtap_stages::time::Nanos;
use std::time::Duration;

/// Attaches the probe that `settings` ask for.
pub(super) fn attach(settings: &Settings) -> Result<Probe> {
    let options = probe_options(settings)?;
    Probe::attach(&options).map_err(|error| {
        let remedy = match &error {
            ProbeError::Option { .. } => "correct the section probe of the configuration",
            ProbeError::NoBtf { .. } | ProbeError::NoRung { .. } => {
                "`redtap doctor` says what is missing and what to do"
            }
        };
        anyhow!("{error}\n  {remedy}")
    })
}

fn probe_options(settings: &Settings) -> Result<ProbeOptions> {
    let probe = &settings.probe;
    let ring_bytes = u32::try_from(probe.ring_bytes).context("probe.ring_bytes")?;
    Ok(ProbeOptions {
        rung: match probe.rung {
            RungChoice::Auto => probe::RungChoice::Auto,
            RungChoice::Socket => probe::RungChoice::Socket,
            RungChoice::Syscall => probe::RungChoice::Syscall,
        },
        shards: probe.shards,
        ring_bytes,
        ingress_class: probe.ingress_class,
        egress_class: probe.egress_class,
        // Woken at a quarter, so that the drain's clock has time to come around at full speed.
        wake_bytes: ring_bytes / 4,
        filters: filters(&probe.allow, &probe.deny)?,
        ..ProbeOptions::default()
    })
}

fn filters(allow: &KernelSelection, deny: &KernelSelection) -> Result<Filters> {
    let mut filters = Filters::default();
    for (verb, section, selection) in [(Verb::Allow, "allow", allow), (Verb::Deny, "deny", deny)] {
        let mut push = |key: &str, value: &str, filter: Result<Filter, _>| {
            filter
                .and_then(|filter| filters.push(verb, filter))
                .with_context(|| format!("probe.{section}.{key} = {value:?} cannot be used"))
        };
        for path in &selection.cgroups {
            // A number is the id of a cgroup as it is.
            let filter = path.parse::<u64>().map_or_else(|_| Filter::cgroup(path), |id| Ok(Filter::Cgroup(id)));
            push("cgroup", path, filter)?;
        }
        for namespace in &selection.pidns {
            push("pidns", namespace, Filter::pid_namespace(namespace))?;
        }
        for process in &selection.processes {
            let text = match process {
                ProcessChoice::Name(name) => name.clone(),
                ProcessChoice::Pid(pid) => pid.to_string(),
            };
            push("process", &text, Filter::process(&text))?;
        }
        for port in &selection.ports {
            push("port", &port.to_string(), Ok(Filter::Port(*port)))?;
        }
    }
    Ok(filters)
}

/// The checked plan of the pipeline. `lookups`: somebody answers what `join` asks.
pub(super) fn plan(settings: &Settings, shards: usize, lookups: bool) -> Result<Plan> {
    let threads = match settings.threads {
        ThreadChoice::One => ThreadPlan::one(),
        ThreadChoice::Split => ThreadPlan { per_shard: true, ..ThreadPlan::split() },
    };
    let blueprint = Blueprint {
        shards,
        threads,
        edge_batches: settings.edge_batches,
        stages: stages(settings, lookups),
        ..Blueprint::default()
    };
    blueprint.check().map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("the pipeline cannot be built: {}", errors.join("; "))
    })
}

fn stages(settings: &Settings, lookups: bool) -> StageSettings {
    let mut converge = ConvergeRules {
        patterns: settings.converge.routes.clone(),
        learned: settings.converge.learned_limit,
        endpoints: settings.series_per_service,
        dns_labels: settings.converge.dns_labels,
        ..ConvergeRules::default()
    };
    if !settings.converge.methods.is_empty() {
        converge.methods = settings.converge.methods.iter().map(|method| method.as_str().into()).collect();
    }
    StageSettings {
        pair: PairSettings {
            timeout: nanos(settings.timeout),
            dns_timeout: nanos(settings.dns_timeout),
            ..PairSettings::default()
        },
        filter: filter_rules(settings),
        converge,
        join: JoinSettings { lookups, ..JoinSettings::default() },
        aggregate: AggregateSettings {
            series_per_service: settings.series_per_service,
            ..AggregateSettings::default()
        },
        ..StageSettings::default()
    }
}

fn filter_rules(settings: &Settings) -> FilterRules {
    let (allow, deny) = (&settings.filter.allow, &settings.filter.deny);
    let globs = |list: &[String]| list.iter().map(|text| Glob::new(text)).collect();
    let processes = |list: &[String]| {
        list.iter()
            .map(|text| text.parse().map_or_else(|_| ProcessRule::Name(Glob::new(text)), ProcessRule::Pid))
            .collect()
    };
    FilterRules {
        own_pid: Some(std::process::id()),
        process: Rule { allow: processes(&allow.processes), deny: processes(&deny.processes) },
        port: Rule { allow: allow.ports.clone(), deny: deny.ports.clone() },
        protocol: Rule { allow: allow.protocols.clone(), deny: deny.protocols.clone() },
        target: Rule { allow: globs(&allow.routes), deny: globs(&deny.routes) },
        health: globs(&settings.filter.health_checks),
    }
}

/// A configured time as the stages want it.
pub(super) fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
