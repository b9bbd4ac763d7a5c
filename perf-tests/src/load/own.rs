//! The harness's own generator, as a process of its own so that it can be pinned and put into a cgroup.

use super::Load;
use crate::case::{LoadPlan, ServerKind, SteadyPlan, Tool};
use crate::generator::{Order, Outcome, Speech};
use crate::latency::Latency;
use anyhow::{Context as _, Result, bail, ensure};

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    let outcome = order(load, plan.connections, &plan.path, None, seconds)?;
    Ok(outcome.latency.requests as f64 / outcome.latency.seconds)
}

pub(super) fn keep(load: &Load<'_>, steady: &SteadyPlan, plan: &LoadPlan, rate: f64, seconds: u32) -> Result<Latency> {
    Ok(order(load, steady.connections, &plan.path, Some(rate), seconds)?.latency)
}

fn order(load: &Load<'_>, connections: u32, path: &str, rate: Option<f64>, seconds: u32) -> Result<Outcome> {
    let order = Order {
        speech: speech(load.server.kind(), path)?,
        port: load.server.port(Tool::Own),
        connections,
        rate,
        seconds: f64::from(seconds),
        seed: load.seed,
    };
    let outcome = load.generate(&serde_json::to_string(&order)?)?;
    ensure!(outcome.latency.unanswered == 0, "{} requests were not answered", outcome.latency.unanswered);
    Ok(outcome)
}

impl Load<'_> {
    /// Runs the generator where the load belongs, with an [`Order`] as JSON.
    pub(crate) fn generate(&self, order: &str) -> Result<Outcome> {
        let said = self.run_self(&["generate", order])?;
        serde_json::from_str(&said).with_context(|| format!("the generator says {said:?}"))
    }
}

/// How it speaks to a server.
pub(crate) fn speech(server: ServerKind, path: &str) -> Result<Speech> {
    Ok(match server {
        ServerKind::Nginx | ServerKind::Http => Speech::Http { path: path.to_owned() },
        ServerKind::Redis => Speech::Redis,
        ServerKind::Dnsmasq => Speech::Dns { name: "www.example.test".to_owned() },
        other => bail!("the generator cannot ask {other:?}"),
    })
}
