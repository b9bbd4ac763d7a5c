use super::*;
use crate::http::HttpCounters;
use redtap_kernel::losses::Losses;

#[test]
fn shows_every_metric_it_sets_with_its_help() {
    let mut metrics = SelfMetrics::new();
    let shard = crate::conservation::ShardReport {
        drain: crate::drain::DrainTotals::default(),
        stages: vec![crate::conservation::StageReport {
            name: "decode",
            totals: crate::runner::StageTotals { taken: 7, ..Default::default() },
            rejected: vec![("stale", 3)],
            inlet: crate::edge::EdgeTotals::default(),
        }],
        exchanges: crate::conservation::Exchanges::default(),
        delivered: crate::conservation::Delivered::default(),
    };
    let shards = [shard];
    let conservation = Conservation::of(None, &shards);
    let http = HttpCounters::default();
    metrics.update(&Observed {
        shards: &shards,
        conservation: Some(&conservation),
        losses: Some(Losses { attempted: 5, ..Losses::default() }),
        http: Some(&http),
        alarms: Some(&Board::default()),
        exporters: vec![("remote_write", AccountTotals { gathered: 9, ..AccountTotals::default() })],
        usage: Usage { cpu: std::time::Duration::from_millis(1_250), resident_bytes: 4_096, threads: 3 },
        ..Observed::default()
    });
    let mut text = String::new();
    metrics.render(Format::Text, &mut text);
    for line in [
        "redtap_stage_taken_total{shard=\"0\",stage=\"decode\"} 7\n",
        "redtap_stage_rejected_total{shard=\"0\",stage=\"decode\",reason=\"stale\"} 3\n",
        "redtap_kernel_attempted_total 5\n",
        "# TYPE redtap_process_cpu_seconds_total counter\nredtap_process_cpu_seconds_total 1.25\n",
        "redtap_process_resident_bytes 4096\n",
    ] {
        assert!(text.contains(line), "lacks {line}in\n{text}");
    }
    for (name, help) in HELP.iter().filter(|(name, _)| !name.starts_with("redtap_bpf")) {
        assert!(text.contains(&format!("# HELP {name} {help}\n")), "lacks {name} in\n{text}");
    }
    let own = metrics.samples();
    let found = |name: &str| own.iter().filter(|one| one.name == name).map(|one| one.value).collect::<Vec<_>>();
    assert_eq!(found("redtap_stage_taken_total"), [7.0]);
    assert_eq!(found("redtap_process_resident_bytes"), [4_096.0]);
    assert_eq!(found("redtap_process_cpu_seconds_total"), [1.25]);
    let bare: Vec<_> = own.iter().filter(|one| help(&one.name).is_empty()).map(|one| &one.name).collect();
    assert!(bare.is_empty(), "nothing says what these mean: {bare:?}");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(own.len(), lines, "every line of the text is a sample");
    let mut open = String::new();
    metrics.render(Format::OpenMetrics, &mut open);
    assert!(open.contains("# TYPE redtap_stage_taken counter\nredtap_stage_taken_total{"), "{open}");
    assert!(
        open.contains("# TYPE redtap_process_cpu_seconds counter\nredtap_process_cpu_seconds_total 1.25\n"),
        "{open}"
    );
    assert!(!open.contains("\n\n"), "no empty lines in OpenMetrics");
}

#[test]
fn every_metric_is_documented() {
    let text = include_str!("../../../docs/metrics.md");
    for (name, help) in HELP {
        assert!(text.contains(&format!("| `{name}`")), "docs/metrics.md lacks {name}");
        assert!(text.contains(help), "docs/metrics.md says something else of {name} than: {help}");
    }
    for entry in redtap_stages::metric::TABLE {
        assert!(text.contains(&format!("| `{}`", entry.prometheus)), "docs/metrics.md lacks {}", entry.prometheus);
        for label in entry.labels {
            let name = label.name.replace('.', "_");
            assert!(text.contains(&format!("`{name}`")), "docs/metrics.md lacks {name}");
        }
    }
}
