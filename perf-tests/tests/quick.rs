//! The harness works from end to end: every case runs, servers and agent agree, the report is to its schema, and what is
//! wrong makes it fail. No time decides.

use redtap_perf::case::Case;
use redtap_perf::measure::Measure;
use redtap_perf::report::Report;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn harness(out: &Path, arguments: &[&str], env: &[(&str, &str)]) -> std::io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redtap-perf"));
    command.arg("run").args(arguments).arg("--quick").arg("--out").arg(out).envs(env.iter().copied());
    command.output()
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

#[test]
fn every_case_runs_and_every_request_is_accounted_for() {
    let cases = Case::all(&cases(), &[]).unwrap();
    let needs: Vec<&str> = cases.iter().flat_map(|case| case.plan.needs()).chain(["taskset"]).collect();
    if !redtap_e2e::can_run(&needs) {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let done = harness(out.path(), &[], &[]).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stdout));
    let report = Report::read(&out.path().join("report.json")).unwrap();
    let names: Vec<&str> = report.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names, cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>());
    for (case, run) in report.runs() {
        let agents: Vec<&str> = run.columns.iter().map(|column| column.agent.as_str()).collect();
        assert_eq!(agents, ["none", "redtap"], "{}", case.name);
        for round in &run.columns[1].rounds {
            let counts = round.counts.as_ref().expect("redtap counts");
            assert!(counts.server > 0 && counts.reported > 0, "{}: {counts:?}", case.name);
        }
    }
    assert_eq!(report.setup.arguments["redtap"], "--governor-cpu 0");
    let governed = cases.iter().filter(|case| case.plan.governor).map(|case| case.name.as_str());
    assert_eq!(governed.collect::<Vec<_>>(), ["governed", "idle", "memory"]);
    for (case, run) in report.runs() {
        let summary = &run.columns[1].summary;
        assert_eq!(summary.contains_key(&Measure::GovernorStep), case.governor, "{}", case.name);
    }
    let small = report.runs().find(|(case, _)| case.name == "http1-small").unwrap().1;
    let programs = &small.columns[1].summary;
    let (measured, measuring) = (programs[&Measure::ProgramNs].median, programs[&Measure::MeasuringNs].median);
    assert!(measured > measuring && measuring > 0.0, "{measured} {measuring}");
    let page = std::fs::read_to_string(out.path().join("report.md")).unwrap();
    for plot in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let svg = std::fs::read_to_string(out.path().join(plot)).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{plot}");
    }
}

#[test]
fn a_case_that_breaks_makes_the_run_fail() {
    if !redtap_e2e::can_run(&["nginx", "wrk", "taskset"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("cases/broken");
    std::fs::create_dir_all(&case).unwrap();
    std::fs::write(case.join("README.md"), "# Broken\n\nNothing is there.\n").unwrap();
    let plan = "title = 'x'\n[server]\nkind = 'nginx'\n[load]\nkind = 'wrk'\nconnections = 1\npath = '/nothing'\n";
    std::fs::write(case.join("case.toml"), plan).unwrap();
    let done = harness(folder.path(), &["--cases", folder.path().join("cases").to_str().unwrap()], &[]).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("Non-2xx"), "{said}");
}

#[test]
fn requests_that_nobody_accounts_for_make_the_run_fail() {
    if !redtap_e2e::can_run(&["taskset"]) {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    // An agent that is told to leave HTTP out reports none, and rightly has missed none.
    let done = harness(out.path(), &["http1-own"], &[("REDTAP__FILTER__DENY__PROTOCOL", "http")]).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("the agent reported 0 and missed 0"), "{said}");
    let report = Report::read(&out.path().join("report.json")).unwrap();
    assert_eq!(report.faults().len(), 1, "{:?}", report.faults());
}

#[test]
fn a_report_that_is_not_to_the_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report.json")).unwrap();
    let read = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Report::read(&file).map_err(|error| format!("{error:#}"))
    };
    let report = read(&text).unwrap();
    // The last digit of a number may differ.
    let without_digits = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
    let again = serde_json::to_string_pretty(&report).unwrap() + "\n";
    assert_eq!(without_digits(&again), without_digits(&text), "what is read is what was written");
    assert!(read(&text.replace("\"schema\": 2", "\"schema\": 3")).unwrap_err().contains("schema 3 instead of 2"));
    assert!(read(&text.replace("\"server_cpus\"", "\"server_cpu\"")).unwrap_err().contains("server_cpu"));
    let rate = report.cases[0].runs[0].columns[0].rounds[0].measures.values().next().unwrap();
    let rate = serde_json::to_string(rate).unwrap();
    assert!(read(&text.replacen(&rate, "null", 1)).unwrap_err().contains("not to the schema"));
}
