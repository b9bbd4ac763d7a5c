//! wrk: HTTP/1 over connections that stay open, or one for each request. One thread, closed loop.

use super::{Load, number_after};
use crate::case::{LoadPlan, Tool};
use anyhow::{Result, bail};

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    let (connections, seconds) = (plan.connections.to_string(), format!("{seconds}s"));
    let url = format!("http://127.0.0.1:{}{}", load.server.port(Tool::Wrk), plan.path);
    let mut arguments = vec!["-t", "1", "-c", &connections, "-d", &seconds];
    if plan.close {
        arguments.extend(["-H", "Connection: close"]);
    }
    arguments.push(&url);
    let text = load.run("wrk", &arguments)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("the load met errors:\n{text}");
    }
    number_after(&text, "Requests/sec:")
}
