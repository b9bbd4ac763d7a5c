//! Processes that live for one request: each is started, asks once over a connection of its own, and ends. As many at once as
//! the plan says, until all had their turn.

use super::Load;
use crate::case::{LoadPlan, Tool};
use anyhow::{Context as _, Result};

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan) -> Result<f64> {
    let port = load.server.port(Tool::Churn).to_string();
    let (processes, at_once) = (plan.processes.to_string(), plan.connections.to_string());
    let said = load.run_self(&["churn", &port, &processes, &at_once])?;
    said.trim().parse().with_context(|| format!("churn says {said:?}"))
}
