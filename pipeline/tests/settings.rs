//! Settings: every source, every kind of mistake, all mistakes at once.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use redtap::export::client::Auth;
use redtap::settings::{Flag, Problem, RungChoice, Sources, keys, load};
use std::path::Path;
use std::time::Duration;

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redtap.toml");
    std::fs::write(&path, text).unwrap();
    (dir, Sources { search: vec![path], ..Sources::default() })
}

fn problems(sources: &Sources) -> Vec<Problem> {
    load(sources).unwrap_err().problems
}

#[test]
fn the_defaults_are_valid_and_loopback_only() {
    let settings = load(&Sources::default()).unwrap().settings;
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.probe.rung, RungChoice::Auto);
    assert_eq!(settings.probe.ring_bytes, 4 << 20);
    assert_eq!((settings.probe.ingress_class, settings.probe.egress_class), (12, 12));
    assert_eq!(settings.timeout, Duration::from_secs(30));
    assert_eq!(settings.series_per_service, 500);
    assert_eq!(settings.series_expiry, Duration::from_secs(900));
    assert_eq!(settings.governor_cpu.map(redtap::settings::CpuShare::share), Some(0.02));
}

#[test]
fn the_budget_of_the_governor_is_a_percentage_or_none() {
    let with =
        |text: &str| Sources { environment: vec![("REDTAP__GOVERNOR__CPU".into(), text.into())], ..Sources::default() };
    for (text, share) in
        [("2%", Some(0.02)), ("0.1 %", Some(0.001)), ("250%", Some(2.5)), ("0", None), ("0%", None), ("off", None)]
    {
        assert_eq!(
            load(&with(text)).unwrap().settings.governor_cpu.map(redtap::settings::CpuShare::share),
            share,
            "{text}"
        );
    }
    for (text, what) in [
        ("2", "is not a share in percent"),
        ("two", "is not a share in percent"),
        ("", "is not a share in percent"),
        ("-2%", "is not a share in percent"),
        ("0.05%", "is out of range"),
        ("10001%", "is out of range"),
    ] {
        let problems = problems(&with(text));
        let said: Vec<_> = problems.iter().map(|one| (one.key.as_str(), one.what.as_str())).collect();
        assert_eq!(said, [("governor.cpu", what)], "{text:?}");
    }
}

#[test]
fn file_environment_and_flags_win_in_this_order() {
    let (_dir, mut sources) = with_file(
        "[probe]\nshards = 2\nring_bytes = \"64KiB\"\n[probe.allow]\nport = [80, \"8080\"]\n[http]\nlisten = \"[::1]:1\"\n",
    );
    sources.environment = vec![
        ("REDTAP__PROBE__SHARDS".into(), "3".into()),
        ("REDTAP__HTTP__LISTEN".into(), "127.0.0.1:2".into()),
        ("REDTAP__PROBE__DENY__PROCESS".into(), "sshd, 77".into()),
        ("OTHER".into(), "1".into()),
    ];
    sources.flags = vec![Flag { path: "http.listen", name: "--listen", values: vec!["127.0.0.1:3".into()] }];
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.probe.ring_bytes, 65_536, "from the file");
    assert_eq!(loaded.settings.probe.shards, 3, "from the environment");
    assert_eq!(loaded.settings.http.listen.port(), 3, "from the flag");
    assert_eq!(loaded.settings.probe.allow.ports, [80, 8080]);
    assert_eq!(loaded.settings.probe.deny.processes.len(), 2);
    assert_eq!(loaded.layers["http.listen"].origin, "--listen");
    assert_eq!(loaded.layers["probe.shards"].origin, "REDTAP__PROBE__SHARDS");
    assert_eq!(loaded.layers["probe.rung"].origin, "default");
    assert!(loaded.layers["probe.ring_bytes"].origin.ends_with("redtap.toml"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_key_value_place_and_remedy() {
    let (dir, mut sources) = with_file(
        "typo = 1\n[http]\nlisen = \"x\"\n[probe]\nring_bytes = \"5MiB\"\nshards = 9\nrung = \"fast\"\n\
         [match]\ntimeout = \"soon\"\n[filter.deny]\nport = [0, 99999]\nprotocol = [\"gopher\"]\n[converge]\nroutes = \"/a\"\n",
    );
    sources.environment =
        vec![("REDTAP__HTTP__LISTN".into(), "1".into()), ("REDTAP__SERIES__EXPIRY".into(), "1s".into())];
    let file = dir.path().join("redtap.toml").display().to_string();
    let error = load(&sources).unwrap_err();
    let mut said: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    said.sort();
    let mut wanted = vec![
        "http.listn (REDTAP__HTTP__LISTN): there is no such key; did you mean REDTAP__HTTP__LISTEN?".to_owned(),
        format!("http.lisen ({file}): there is no such key; did you mean http.listen?"),
        format!("typo ({file}): there is no such key; remove it; `redtap config` lists all keys"),
        format!("probe.ring_bytes = \"5MiB\" ({file}): is not a power of two; write 4MiB or 8MiB"),
        format!("probe.shards = \"9\" ({file}): is out of range; write a value from 1 to 8"),
        format!("probe.rung = \"fast\" ({file}): is not one of the words known here; write auto, socket, syscall"),
        format!(
            "match.timeout = \"soon\" ({file}): is not a stretch of time; write a number with ms, s, m, h or d, such as 30s"
        ),
        format!("filter.deny.port = \"0\" ({file}): is not a port; write a number from 1 to 65535"),
        format!("filter.deny.port = \"99999\" ({file}): is not a port; write a number from 1 to 65535"),
        format!(
            "filter.deny.protocol = \"gopher\" ({file}): is not a protocol known here; write http, http2, grpc, redis, dns, mysql, \
             postgresql or kafka"
        ),
        format!(
            "converge.routes = \"/a\" ({file}): has the wrong shape; write a list of values, such as [\"a\", \"b\"]"
        ),
        "series.expiry = \"1s\" (REDTAP__SERIES__EXPIRY): is out of range; write a value from 10s to 7d".to_owned(),
    ];
    wanted.sort();
    assert_eq!(said, wanted);
    assert!(error.to_string().starts_with("the configuration has 12 problems:\n  "));
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_toml() {
    let missing = Sources { file: Some("/nonexistent/redtap.toml".into()), ..Sources::default() };
    let found = problems(&missing);
    assert_eq!(found.len(), 1);
    assert!(found[0].what.starts_with("cannot be read: No such file"), "{found:?}");
    let (_dir, broken) = with_file("[http\n");
    let found = problems(&broken);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].remedy, "correct the TOML at the line named");
    assert!(found[0].what.contains("line 1"), "{}", found[0].what);
}

#[test]
fn an_unknown_key_in_a_hidden_layer_is_still_reported() {
    let (_dir, mut sources) = with_file("[probe]\nrung = { a = 1 }\nhooks = 1\n");
    sources.flags = vec![Flag { path: "probe.rung", name: "--rung", values: vec!["socket".into()] }];
    let found = problems(&sources);
    assert_eq!(found.iter().map(|p| p.key.as_str()).collect::<Vec<_>>(), ["probe.hooks", "probe.rung"]);
}

#[test]
fn lists_for_the_kernel_are_bounded() {
    let ports: Vec<String> = (1..=17).map(|n| n.to_string()).collect();
    let environment = vec![("REDTAP__PROBE__ALLOW__PORT".into(), ports.join(","))];
    let found = problems(&Sources { environment, ..Sources::default() });
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "probe.allow.port = \"17 entries\" (REDTAP__PROBE__ALLOW__PORT): is too long; at most 16 entries fit"
    );
}

#[test]
fn service_names_come_from_a_table_and_from_the_environment() {
    let (_dir, mut sources) = with_file("[join.services]\nnginx = \"edge\"\n\"my app\" = \"shop\"\n");
    sources.environment = vec![("REDTAP__JOIN__SERVICES__PYTHON3".into(), "jobs".into())];
    let services = load(&sources).unwrap().settings.services;
    let pairs: Vec<(&str, &str)> = services.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(pairs, [("my app", "shop"), ("nginx", "edge"), ("python3", "jobs")]);
}

#[test]
fn what_config_prints_can_be_read_again_and_means_the_same() {
    let (_dir, mut sources) = with_file(
        "[join.services]\n\"a \\\"b\\\"\" = \"c\\\\d\"\n[converge]\nroutes = [\"/users/{id}\", \"/x/*\"]\n[match]\ntimeout = \"5m\"\n",
    );
    let values = vec!["/a".into(), "/b c".into()];
    sources.flags = vec![Flag { path: "probe.allow.cgroup", name: "--cgroup", values }];
    let first = load(&sources).unwrap();
    let text = first.render();
    assert!(text.contains("cgroup = [\"/a\", \"/b c\"]\n"), "{text}");
    assert!(text.contains("(--cgroup)"), "{text}");
    let (_dir, again) = with_file(&text);
    assert_eq!(load(&again).unwrap().settings, first.settings);
}

#[test]
fn what_is_secret_is_neither_printed_nor_repeated_in_a_problem() {
    let text = "[remote_write]\nurl = \"https://host/write\"\nbasic_user = \"me\"\nbasic_password = \"hush1\"\n\
                [remote_write.headers]\nX-Key = \"hush2\"\n";
    let (_dir, sources) = with_file(text);
    let loaded = load(&sources).unwrap();
    let client = &loaded.settings.remote_write.as_ref().unwrap().client;
    assert_eq!(client.headers.get("x-key").unwrap(), "hush2");
    let shown = format!("{}{:?}", loaded.render(), loaded.settings);
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("# basic_password = (hidden)"), "{shown}");
    for wrong in [
        "[remote_write]\nurl = \"https://me:hush@host/\"",
        "[remote_write]\nurl = \"hush://host/\"",
        "[remote_write]\nbasic_password = \"hush\"",
        "[remote_write]\nbasic_password = [\"hush\"]",
        "[remote_write]\nbearer_token = \"hush\\n1\"",
        "[remote_write.headers]\nHost = \"hush\"",
        "[remote_write.headers]\n\"a b\" = \"hush\"",
    ] {
        let (_dir, sources) = with_file(wrong);
        let problems = problems(&sources);
        assert_eq!(problems.len(), 1, "{wrong}");
        let said = problems.first().unwrap().to_string();
        assert!(!said.contains("hush") && said.contains("redtap.toml"), "{said}");
    }
}

#[test]
fn remote_write_is_off_without_a_url_and_checked_all_the_same() {
    assert_eq!(load(&Sources::default()).unwrap().settings.remote_write, None);
    let (_dir, sources) = with_file(
        "[remote_write]\nshards = 99\nspool_bytes = \"1KiB\"\ntls_cert_file = \"c.pem\"\nprotocol = \"3.0\"\n\
         [remote_write.external_labels]\n__name__ = \"x\"\n",
    );
    let keys: Vec<String> = problems(&sources).into_iter().map(|problem| problem.key).collect();
    let wanted = ["tls_cert_file", "protocol", "shards", "spool_bytes", "external_labels.__name__"];
    assert_eq!(keys, wanted.map(|name| format!("remote_write.{name}")));
}

#[test]
fn rules_are_put_over_the_built_in_ones_field_by_field() {
    let (_dir, mut sources) = with_file(
        "[alarms]\noff = [\"RedtapNewError\"]\n[alarms.rules.RedtapHighErrorRate]\nthreshold = \"2%\"\n\
         [alarms.rules.Slow]\nkind = \"latency\"\nservice = \"shop*\"\nlabels = {team = \"web\"}\n\
         [alarms.rules.RedtapCaptureLoss]\nenabled = false\n",
    );
    let variable = "REDTAP__ALARMS__RULES__REDTAPHIGHERRORRATE__MIN_REQUESTS";
    sources.environment = vec![(variable.into(), "7".into())];
    let loaded = load(&sources).unwrap();
    let rules = &loaded.settings.alarms.rules;
    let names: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let burn = ["RedtapErrorBudgetBurnFast", "RedtapErrorBudgetBurnSlow"];
    assert_eq!(
        names,
        [&burn[..], &["RedtapHighErrorRate", "RedtapHighLatency", "RedtapRequestsStopped", "Slow"]].concat()
    );
    let changed = rules.iter().find(|rule| rule.name == "RedtapHighErrorRate").unwrap();
    assert_eq!((changed.min_requests, changed.hold), (7, Duration::from_secs(300)));
    let text = loaded.render();
    assert!(text.contains("\"labels\".\"team\" = \"web\"\n") && text.contains(variable), "{text}");
    let (_dir, again) = with_file(&text);
    assert_eq!(load(&again).unwrap().settings, loaded.settings);
}

#[test]
fn all_that_is_wrong_with_rules_is_said_at_once() {
    let (_dir, sources) = with_file(
        "[alarms]\noff = [\"RedtapNewErrors\"]\nslack = [\"hush://x\"]\n[alarms.rules.A]\nkind = \"latency\"\nthreshhold = \"1s\"\n\
         [alarms.rules.B]\nkind = \"burn\"\nwindow = \"5m\"\nshort_window = \"1h\"\nfactor = \"many\"\nquantile = 0.9\n\
         annotations = {summary = \"{{ secret }}\"}\nlabels = {alertname = \"x\"}\n[alarms.rules.C]\nseverity = \"info\"\n",
    );
    let problems = problems(&sources);
    let said: Vec<(&str, &str)> = problems.iter().map(|one| (one.key.as_str(), one.what.as_str())).collect();
    assert_eq!(
        said,
        [
            ("alarms.rules.A.threshhold", "there is no such key"),
            ("alarms.slack", "is not the address of a receiver"),
            ("alarms.off", "is not a rule"),
            ("alarms.rules.B.factor", "is not such a number"),
            ("alarms.rules.B.short_window", "is not shorter than the window"),
            ("alarms.rules.B.labels.alertname", "is a label that the rule gives by itself"),
            ("alarms.rules.B.annotations.summary", "has a field that there is not"),
            ("alarms.rules.B.quantile", "means nothing in a rule of this kind"),
            ("alarms.rules.C.kind", "says not what the rule is about"),
        ]
    );
    let remedies: Vec<&str> = problems.iter().map(|one| one.remedy.as_str()).collect();
    assert_eq!(remedies[0], "did you mean threshold?");
    assert_eq!(remedies[2], "did you mean RedtapNewError?");
    assert!(!format!("{problems:?}").contains("hush"), "addresses of Slack are secrets");
}

#[test]
fn a_rule_that_could_never_fire_is_a_problem() {
    let said = said(
        "[alarms.rules.A]\nkind = \"latency\"\nthreshold = \"10s\"\n[alarms.rules.B]\nkind = \"latency\"\nthreshold = \"9999ms\"\n",
    );
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("alarms.rules.A.threshold = \"10s\" ("), "{said:?}");
    assert!(said[0].ends_with("no quantile could exceed it; write one below 10s"), "{said:?}");
}

#[test]
fn a_window_between_two_evaluations_is_a_problem_of_rules_that_are_on() {
    let rule = "[alarms.rules.Short]\nkind = \"error_ratio\"\nwindow = \"20s\"\n";
    for (alarms, wrong) in
        [("interval = \"21s\"", true), ("interval = \"20s\"", false), ("interval = \"5m\"\noff = [\"Short\"]", false)]
    {
        let said = {
            let (_dir, sources) = with_file(&format!("[alarms]\n{alarms}\n{rule}"));
            load(&sources).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(!said.is_empty(), wrong, "{said}");
        if wrong {
            assert!(
                said.contains("alarms.interval = \"21s\" (") && said.contains("alarms.rules.Short (20s)"),
                "{said}"
            );
            assert!(said.contains("write at most 20s here"), "{said}");
        }
    }
}

#[test]
fn receivers_of_alarms_are_reached_as_those_of_other_exporters_are() {
    let text = "[alarms]\nalertmanagers = [\"https://am-1\", \"https://am-2/x\"]\nwebhooks = [\"https://hook/hush3\"]\n\
                slack = [\"https://slack/hush4\"]\nalertmanager_basic_user = \"me\"\nalertmanager_basic_password = \"hush1\"\n\
                alertmanager_tls_ca_file = \"ca.pem\"\nalertmanager_tls_server_name = \"am\"\nalertmanager_timeout = \"3s\"\n\
                webhook_bearer_token = \"hush2\"\nslack_proxy = \"http://proxy:3128\"\n\
                [alarms.webhook_headers]\nX-Key = \"hush5\"\n";
    let (_dir, sources) = with_file(text);
    let loaded = load(&sources).unwrap();
    let alarms = &loaded.settings.alarms;
    for manager in &alarms.alertmanagers {
        assert!(matches!(&manager.auth, Auth::Basic { user, .. } if user == "me"), "{manager:?}");
        assert_eq!((manager.timeout.as_secs(), manager.tls.ca_file.as_deref()), (3, Some(Path::new("ca.pem"))));
        assert!(manager.tls.server_name.is_some() && manager.proxy.is_none() && !manager.secret_url);
    }
    let (hook, slack) = (&alarms.webhooks[0], &alarms.slack[0]);
    assert!(matches!(hook.auth, Auth::Bearer(_)) && hook.headers.contains_key("x-key") && hook.secret_url);
    assert!(slack.auth == Auth::None && slack.proxy.is_some() && slack.headers.is_empty() && slack.secret_url);
    let shown = format!("{}{:?}", loaded.render(), loaded.settings);
    assert!(!shown.contains("hush"), "{shown}");
    let wrong = said("[alarms]\nslack_basic_password = \"hush\"\nalertmanager_tls_key_file = \"k\"\n");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}

#[test]
fn addresses_are_shown_and_complained_about_without_what_may_be_secret_in_them() {
    let text = "[remote_write]\nurl = \"https://host/write?key=hush\"\n[otlp]\nendpoint = \"https://host/?hush\"\n\
                [alarms]\nalertmanagers = [\"http://am\", \"http://am:9093/?hush=1\"]\n";
    let (_dir, sources) = with_file(text);
    let shown = load(&sources).unwrap().render();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("\n# url = \"https://host/write?(hidden)\"\n"), "{shown}");
    assert!(shown.contains("\n# alertmanagers = [\"http://am\", \"http://am:9093/?(hidden)\"]\n"), "{shown}");
    for wrong in [
        "[alarms]\nalertmanagers = [\"http://me:hush@am\"]",
        "[alarms]\nalertmanagers = [\"ftp://am/?hush\"]",
        "[alarms]\nalertmanagers = \"http://me:hush@am\"",
        "[otlp]\nendpoint = [\"http://me:hush@am\"]",
    ] {
        let said = said(wrong);
        assert!(said.len() == 1 && !said[0].contains("hush"), "{said:?}");
    }
}

#[test]
fn every_key_is_documented() {
    let text = include_str!("../../docs/configuration.md");
    for key in keys::KEYS {
        let default = if key.default.is_empty() { "empty".to_owned() } else { format!("`{}`", key.default) };
        let row = format!("| `{}` | {default} | {} |", key.path, key.help);
        assert!(text.contains(&row), "docs/configuration.md lacks: {row}");
    }
}

/// What is said of one file.
fn said(text: &str) -> Vec<String> {
    let (_dir, sources) = with_file(text);
    problems(&sources).iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_that_others_reach_must_be_meant() {
    for listen in ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
        let said = said(&format!("[http]\nlisten = \"{listen}\"\n"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("http.listen = \"{listen}\" (")), "{said:?}");
        assert!(said[0].contains("http.allow_remote = true"), "{said:?}");
        let (_dir, sources) = with_file(&format!("[http]\nlisten = \"{listen}\"\nallow_remote = true\n"));
        assert_eq!(load(&sources).unwrap().settings.http.listen.to_string(), listen);
    }
    for listen in ["127.1.2.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let (_dir, sources) = with_file(&format!("[http]\nlisten = \"{listen}\"\n"));
        assert!(load(&sources).is_ok(), "{listen}");
    }
}

#[test]
fn what_is_wrong_with_the_endpoint_is_said_without_its_secret() {
    for (text, key, word) in [
        ("token = \"short-secret\"", "http.token", "16 to 256"),
        ("token = \"with a blank, a secret\"", "http.token", "16 to 256"),
        ("token = \"0123456789abcdef\"\ntoken_file = \"x\"", "http.token_file", "one of the two"),
        ("tls_cert = \"x\"", "http.tls_cert", "http.tls_key"),
        ("tls_key = \"x\"", "http.tls_key", "http.tls_cert"),
        ("hosts = [\"a:80\"]", "http.hosts", "without a port"),
        ("hosts = [\"*\"]", "http.hosts", "without a port"),
        ("allow_remote = \"yes\"", "http.allow_remote", "true"),
    ] {
        let said = said(&format!("[http]\n{text}\n"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(key) && said[0].contains(word), "{said:?}");
        assert!(!said[0].contains("secret"), "{said:?}");
    }
}

#[test]
fn a_token_is_not_shown_and_what_is_fed_back_has_none() {
    let (_dir, sources) = with_file("[http]\ntoken = \"0123456789abcdef\"\n");
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.settings.http.token.read().unwrap().as_deref(), Some("0123456789abcdef"));
    let shown = loaded.render();
    assert!(shown.contains("# token = (hidden)\n"), "{shown}");
    assert!(!shown.contains("0123456789abcdef") && !format!("{:?}", loaded.settings).contains("0123456789abcdef"));
    let (_dir, sources) = with_file(&shown);
    assert!(load(&sources).unwrap().settings.http.token.read().unwrap().is_none(), "fed back, it is missing");
}

#[test]
fn a_token_comes_from_a_file_or_the_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let token = || redtap::settings::TokenSource::File(path.clone()).read();
    assert!(token().unwrap_err().to_string().contains("No such file"));
    std::fs::write(&path, "0123456789abcdef\n").unwrap();
    assert_eq!(token().unwrap().as_deref(), Some("0123456789abcdef"));
    std::fs::write(&path, "a secret of two\nlines and more").unwrap();
    let error = token().unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && !error.contains("lines"), "{error}");
}
