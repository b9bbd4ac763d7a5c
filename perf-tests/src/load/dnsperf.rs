//! dnsperf: A of one name over UDP, 100 questions out at a time. Closed loop.

use super::{Load, number_after};
use crate::case::{LoadPlan, Tool};
use anyhow::{Result, ensure};

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    let port = load.server.port(Tool::Dnsperf).to_string();
    let (connections, seconds) = (plan.connections.to_string(), seconds.to_string());
    let names = load.sandbox.write("names", "www.example.test A\n")?;
    let names = names.display().to_string();
    let arguments =
        ["-s", "127.0.0.1", "-p", &port, "-d", &names, "-c", &connections, "-T", "1", "-q", "100", "-l", &seconds];
    let text = load.run("dnsperf", &arguments)?;
    let lost = number_after(&text, "Queries lost:")?;
    ensure!(lost == 0.0, "{lost} questions were not answered:\n{text}");
    number_after(&text, "Queries per second:")
}
