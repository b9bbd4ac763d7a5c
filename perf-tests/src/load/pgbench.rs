//! pgbench: one select by primary key a transaction (`-S`), prepared. Closed loop, or open at a rate: its log counts a
//! latency from when the transaction was due.

use super::{Load, number_after};
use crate::case::{LoadPlan, SteadyPlan, Tool};
use crate::latency::Latency;
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;

pub(super) fn saturate(load: &Load<'_>, plan: &LoadPlan, seconds: u32) -> Result<f64> {
    number_after(&call(load, plan.connections, seconds, &[])?, "tps =")
}

pub(super) fn keep(load: &Load<'_>, steady: &SteadyPlan, rate: f64, seconds: u32) -> Result<Latency> {
    let prefix = load.sandbox.folder().join("pgbench-log");
    let named = format!("--log-prefix={}", prefix.display());
    let text = call(load, steady.connections, seconds, &["-R", &format!("{rate:.0}"), "-l", &named])?;
    let mut histogram = Histogram::<u64>::new(3)?;
    let (mut first, mut last) = (u64::MAX, 0);
    for file in std::fs::read_dir(load.sandbox.folder())? {
        let path = file?.path();
        if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("pgbench-log.")) {
            continue;
        }
        for line in std::fs::read_to_string(&path)?.lines() {
            let (due, end) = due_and_end(line).with_context(|| format!("not a line of pgbench's log: {line}"))?;
            (first, last) = (first.min(due), last.max(end));
            histogram.record((end - due) * 1_000)?;
        }
        std::fs::remove_file(&path)?;
    }
    ensure!(!histogram.is_empty(), "pgbench logged nothing:\n{text}");
    Ok(Latency::of(&histogram, (last - first) as f64 / 1e6, 0))
}

/// Of a line such as `0 199 2241 0 1175850568 995598 1020` (client, transaction, us that it took from when it was due, script, its
/// end in seconds and us, us that it was late): when it was due and when it ended, us.
fn due_and_end(line: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = line.split(' ').map_while(|field| field.parse().ok()).collect();
    let [_, _, taken, _, seconds, us, ..] = *fields.as_slice() else { return None };
    let end = seconds * 1_000_000 + us;
    Some((end.checked_sub(taken)?, end))
}

fn call(load: &Load<'_>, connections: u32, seconds: u32, more: &[&str]) -> Result<String> {
    let port = load.server.port(Tool::Pgbench).to_string();
    let (connections, seconds, seed) =
        (connections.to_string(), seconds.to_string(), format!("--random-seed={}", load.seed));
    let mut arguments = vec!["-S", "-n", "-M", "prepared", "-j", "1", "-c", &connections, "-T", &seconds, &seed];
    arguments.extend(more);
    arguments.extend(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "postgres"]);
    let text = load.run("pgbench", &arguments)?;
    ensure!(number_after(&text, "failed transactions:")? == 0.0, "transactions failed:\n{text}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_a_line_of_the_log() {
        let read = super::due_and_end("0 199 2241 0 1175850568 995598 1020");
        assert_eq!(read, Some((1_175_850_568_993_357, 1_175_850_568_995_598)));
        assert_eq!(super::due_and_end("0 199 failed 0 1175850568 995598"), None);
    }
}
