//! The commands besides `run`, and the endpoint: `doctor`, `config`, `record` and `replay`, `completions`; `/metrics` in both
//! formats, health, status; a port that is taken; the end by a signal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run;
use redtap_e2e::cli::{Record, Recorder, records, redtap, redtap_as_nobody};
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{Sandbox, get};
use redtap_e2e::servers::dnsmasq::Dnsmasq;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// No sign of a program that fell over.
fn is_civil(text: &str) -> bool {
    ["panicked", "RUST_BACKTRACE", "stack backtrace", "unwrap"].iter().all(|word| !text.contains(word))
}

#[test]
fn doctor_says_that_run_will_work_where_it_does() {
    if !can_run(&["timeout"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    let said = redtap(sandbox.folder(), &["doctor"]).unwrap();
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let rung = said.out.lines().find_map(|line| line.strip_prefix("`redtap run` will work, on rung ")).unwrap();
    // What it promised is what happens.
    let agent = Agent::start(&sandbox, &[]).unwrap();
    assert_eq!(agent.status().unwrap()["rung"], rung);
    agent.stop().unwrap();
}

#[test]
fn doctor_and_run_tell_nobody_what_is_missing() {
    if !can_run(&["timeout", "setpriv"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    let said = redtap_as_nobody(sandbox.folder(), &["doctor"]).unwrap();
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let rung = said.out.lines().find(|line| line.trim_start().starts_with("socket  ")).unwrap();
    assert!(rung.contains("CAP_BPF and CAP_PERFMON missing: run as root"), "{rung}");
    assert!(said.out.contains("`redtap run` will not work here; `redtap replay` will"), "{}", said.out);
    assert!(is_civil(&said.out) && is_civil(&said.err), "{}{}", said.out, said.err);

    let said = redtap_as_nobody(sandbox.folder(), &["run", "--listen", "127.0.0.1:0"]).unwrap();
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.err.contains("run as root or with CAP_BPF and CAP_PERFMON"), "{}", said.err);
    assert!(said.err.contains("`redtap doctor` says what is missing"), "{}", said.err);
    assert!(is_civil(&said.err), "{}", said.err);
}

#[test]
fn config_names_every_origin_and_its_output_can_be_fed_back() {
    if !can_run(&["timeout"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    sandbox.write("redtap.toml", "[probe]\nrung = \"syscall\"\n[match]\ntimeout = \"7s\"\n").unwrap();
    let said = redtap(sandbox.folder(), &["config", "--listen", "127.0.0.1:9999"]).unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    for (origin, line) in [
        ("redtap.toml", "rung = \"syscall\""),
        ("redtap.toml", "timeout = \"7s\""),
        ("--listen", "listen = \"127.0.0.1:9999\""),
        ("default", "shards = 1"),
    ] {
        let lines: Vec<&str> = said.out.lines().collect();
        let at = lines.iter().position(|other| *other == line).unwrap_or_else(|| panic!("no {line} in {}", said.out));
        assert!(lines[at - 1].ends_with(&format!("({origin})")), "{line}: {}", lines[at - 1]);
    }
    sandbox.write("again/redtap.toml", &said.out).unwrap();
    let again = redtap(&sandbox.folder().join("again"), &["config"]).unwrap();
    assert_eq!(again.code, Some(0), "{}", again.err);
    let values = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(values(&again.out), values(&said.out));
}

#[test]
fn everything_wrong_with_the_configuration_is_said_at_once() {
    if !can_run(&["timeout"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    let text = "[probe]\nrung = \"fast\"\nshrds = 3\n[http]\nlisten = \"everywhere\"\n[match]\ntimeout = \"1ms\"\n";
    sandbox.write("redtap.toml", text).unwrap();
    let said = redtap(sandbox.folder(), &["run", "--shards", "99"]).unwrap();
    assert_eq!(said.code, Some(1));
    for (key, remedy) in [
        ("probe.rung = \"fast\"", "write auto, socket, syscall"),
        ("probe.shrds", "did you mean probe.shards?"),
        ("http.listen = \"everywhere\"", "127.0.0.1:9464"),
        ("match.timeout = \"1ms\"", "100ms"),
        ("probe.shards = \"99\" (--shards)", "from 1 to 8"),
    ] {
        let line = said.err.lines().find(|line| line.contains(key)).unwrap_or_else(|| panic!("no {key}: {}", said.err));
        assert!(line.contains(remedy), "{line}");
    }
    assert!(said.err.starts_with("redtap: the configuration has 5 problems:\n"), "{}", said.err);
}

/// Real traffic of all three protocols, recorded; and what servers and clients say of it.
struct Recorded {
    sandbox: Sandbox,
    file: PathBuf,
    nginx: Nginx,
    redis: Redis,
    dns: Dnsmasq,
    /// The address of each of curl's connections, its target, its status.
    asked: Vec<(String, String, String)>,
    /// What redis-server counted before the question for it.
    calls: BTreeMap<String, u64>,
}

const NEEDS: [&str; 6] = ["nginx", "curl", "redis-server", "redis-cli", "dnsmasq", "dig"];

fn record(rung: &str) -> Recorded {
    let sandbox = Sandbox::new("commands").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    let dns = Dnsmasq::start(&sandbox).unwrap();
    let recorder = Recorder::start(&sandbox, &["--rung", rung, "--seconds", "100"]).unwrap();
    let mut asked = Vec::new();
    for (at, path) in
        ["/users/1?secret=x", "/users/2", "/missing", "/broken", "/big"].iter().cycle().take(25).enumerate()
    {
        let method = if at % 2 == 0 { "GET" } else { "POST" };
        let format = "%{local_ip}:%{local_port} %{http_code}";
        let url = nginx.url(path);
        let text = sandbox.run("curl", &["-s", "-o", "/dev/null", "-w", format, "-X", method, &url]).unwrap();
        let (address, status) = text.split_once(' ').unwrap();
        asked.push((address.to_owned(), format!("{method} {path}"), status.to_owned()));
    }
    let port = redis.port.to_string();
    for command in
        [&["SET", "a", "1"][..], &["GET", "a"], &["LPUSH", "a", "1"], &["HSET", "h", "k", "v"], &["GET", "b"]]
    {
        sandbox.run("redis-cli", &[&["-p", &port], command].concat()).unwrap();
    }
    let port = dns.port.to_string();
    for (transport, name, kind) in [
        ("+notcp", "www.example.test", "A"),
        ("+tcp", "www.example.test", "AAAA"),
        ("+notcp", "gone.example.test", "A"),
    ] {
        sandbox.run("dig", &["@127.0.0.1", "-p", &port, "+tries=1", transport, name, kind]).unwrap();
    }
    nginx.wait_answered(25).unwrap();
    dns.wait_asked(3).unwrap();
    let calls = redis.calls().unwrap();
    let (file, log) = recorder.stop().unwrap();
    assert!(log.contains(" 0 refused because the ring was full"), "{log}");
    Recorded { sandbox, file, nginx, redis, dns, asked, calls }
}

fn replay(recorded: &Recorded, arguments: &[&str]) -> String {
    let file = recorded.file.to_str().unwrap();
    let said = redtap(recorded.sandbox.folder(), &[&["replay", file], arguments].concat()).unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    said.out
}

fn of<'a>(records: &'a [Record], protocol: &'a str, role: &'a str) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(move |record| record.text("protocol") == protocol && record.text("role") == role)
}

#[test]
fn what_was_recorded_is_replayed_one_line_an_exchange() {
    if !can_run(&NEEDS) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let recorded = record(rung);
        let records = records(&replay(&recorded, &["--records", "-"])).unwrap();
        let server = format!("127.0.0.1:{}", recorded.nginx.port);
        let mut want: Vec<[String; 5]> = recorded
            .asked
            .iter()
            .map(|(client, request, code)| {
                let status = if code.starts_with('2') { "ok" } else { "error" };
                [client.clone(), server.clone(), request.clone(), status.to_owned(), code.clone()]
            })
            .collect();
        want.sort();
        for role in ["client", "server"] {
            let mut seen: Vec<[String; 5]> = of(&records, "http", role)
                .map(|record| {
                    let request = format!("{} {}", record.text("method"), record.text("target"));
                    let [client, server, status, code] = record.texts(["client", "server", "status", "code"]);
                    [client, server, request, status, code]
                })
                .collect();
            seen.sort();
            assert_eq!(seen, want, "{rung}, {role}");
        }
        let services = |protocol: &str, role: &str| -> BTreeSet<String> {
            of(&records, protocol, role).map(|record| record.text("service").to_owned()).collect()
        };
        assert_eq!(services("http", "client"), ["curl".to_owned()].into());
        assert_eq!(services("http", "server"), ["nginx".to_owned()].into());
        assert_eq!(services("redis", "server"), ["redis-server".to_owned()].into());
        assert_eq!(services("dns", "server"), ["dnsmasq".to_owned()].into());
        for record in of(&records, "http", "client") {
            let (whole, first) = (record.number("duration_ns").unwrap(), record.number("ttfb_ns").unwrap());
            assert!(0 < first && first <= whole, "{record:?}");
            let least = if record.text("code") == "200" && record.text("target") == "/big" { 1_048_576 } else { 100 };
            assert!(record.number("response_bytes").unwrap() > least, "{record:?}");
        }
        check_redis_and_dns(&recorded, &records, rung);
    }
}

fn check_redis_and_dns(recorded: &Recorded, records: &[Record], rung: &str) {
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for record in of(records, "redis", "server") {
        assert_eq!(record.text("server"), format!("127.0.0.1:{}", recorded.redis.port));
        *calls.entry(record.text("method").to_owned()).or_default() += 1;
    }
    // The question for the counts is in the recording and not yet in the counts.
    let mut want = recorded.calls.clone();
    *want.entry("INFO".to_owned()).or_default() += 1;
    assert_eq!(calls, want, "{rung}");
    let wrong: Vec<[String; 2]> = of(records, "redis", "client")
        .filter(|record| record.text("status") == "error")
        .map(|record| record.texts(["method", "code"]))
        .collect();
    assert_eq!(wrong, [["LPUSH".to_owned(), "WRONGTYPE".to_owned()]], "{rung}");

    let mut asked: BTreeMap<(String, String), u64> = BTreeMap::new();
    for record in of(records, "dns", "server") {
        assert_eq!(record.text("server"), format!("127.0.0.1:{}", recorded.dns.port));
        let code = if record.text("target").starts_with("gone") { "NXDOMAIN" } else { "" };
        assert_eq!(record.text("code"), code, "{record:?}");
        let [kind, name] = record.texts(["method", "target"]);
        *asked.entry((kind, name.trim_end_matches('.').to_owned())).or_default() += 1;
    }
    assert_eq!(asked, recorded.dns.asked(), "{rung}");
}

#[test]
fn a_replay_counts_what_the_servers_counted() {
    if !can_run(&NEEDS) {
        return;
    }
    let recorded = record("socket");
    let metrics = Metrics::parse(&replay(&recorded, &["--metrics"]));
    let mut logged: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for ((method, _, status), count) in recorded.nginx.answered().unwrap() {
        *logged.entry(vec![method, status]).or_default() += count;
    }
    let http = ["http_request_method", "http_response_status_code"];
    let seen = metrics.by("http_server_request_duration_seconds_count", &[("service_name", "nginx")], &http);
    assert_eq!(seen, logged);
    for (command, count) in recorded.calls.iter().filter(|(command, _)| command.as_str() != "INFO") {
        let labels = [("service_name", "redis-server"), ("db_operation_name", command.as_str())];
        assert_eq!(metrics.sum("db_server_operation_duration_seconds_count", &labels), *count, "{command}");
    }
    assert_eq!(metrics.sum("dns_server_lookup_duration_seconds_count", &[]), 3);
    // Records and metrics at once: the same exchanges, and the query stays out of the metrics.
    let both = replay(&recorded, &["--records", "records.json", "--metrics"]);
    assert!(!both.contains("secret"), "{both}");
    let lines = std::fs::read_to_string(recorded.sandbox.folder().join("records.json")).unwrap();
    let families = ["http_server_request", "http_client_request", "db_server_operation", "db_client_operation"];
    let total: u64 =
        families.iter().map(|name| metrics.sum(&format!("{name}_duration_seconds_count"), &[])).sum::<u64>()
            + metrics.sum("dns_server_lookup_duration_seconds_count", &[])
            + metrics.sum("dns_lookup_duration_seconds_count", &[]);
    assert_eq!(lines.lines().count() as u64, total);
}

#[test]
fn a_recording_is_for_its_owner_only_and_ends_after_its_seconds() {
    use std::os::unix::fs::PermissionsExt as _;
    if !can_run(&["timeout"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    let (file, log) = Recorder::start(&sandbox, &["--seconds", "1"]).unwrap().wait().unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(log.contains("0 records; 0 refused"), "{log}");
    let said = redtap(sandbox.folder(), &["replay", file.to_str().unwrap(), "--records", "-"]).unwrap();
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""), "{}", said.err);
}

#[test]
fn a_file_that_is_cut_or_foreign_is_named_with_its_offset_and_read_up_to_there() {
    if !can_run(&NEEDS) {
        return;
    }
    let recorded = record("socket");
    let whole = std::fs::read(&recorded.file).unwrap();
    let folder: &Path = recorded.sandbox.folder();
    let count = |name: &str| {
        let said = redtap(folder, &["replay", name, "--records", "-"]).unwrap();
        assert!(is_civil(&said.err), "{}", said.err);
        (said.code, said.out.lines().count(), said.err)
    };
    let (code, all, _) = count("recording");
    assert_eq!(code, Some(0));

    // Where records begin, by the lengths before them (the layout is in `recording`).
    let mut begins = vec![32_usize];
    while let Some(length) = whole.get(*begins.last().unwrap()..).and_then(|rest| rest.first_chunk::<4>()) {
        begins.push(begins.last().unwrap() + 4 + u32::from_ne_bytes(*length) as usize);
    }
    assert_eq!(begins.pop(), Some(whole.len()), "the file is whole");
    let middle = begins[begins.len() / 2];
    std::fs::write(folder.join("cut"), &whole[..middle + 20]).unwrap();
    let (code, kept, said) = count("cut");
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("ends in the middle of a record that begins at byte {middle}")), "{said}");
    assert!(0 < kept && kept < all, "{kept} of {all}");

    let mut broken = whole.clone();
    broken[middle..middle + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
    std::fs::write(folder.join("broken"), &broken).unwrap();
    let (code, kept_too, said) = count("broken");
    assert_eq!((code, kept_too), (Some(1), kept), "{said}");
    assert!(said.contains(&format!("a record of 4294967295 bytes at byte {middle}")), "{said}");

    // A file of another kind; a recording of another version; an empty file.
    std::fs::write(folder.join("other.txt"), "GET / HTTP/1.1\r\n\r\n").unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    let mut newer = whole;
    newer[12..14].copy_from_slice(&9_999_u16.to_ne_bytes());
    std::fs::write(folder.join("newer"), newer).unwrap();
    for (name, words) in [
        ("other.txt", "neither a packet capture (pcap, pcapng) nor a recording: it begins with [47, 45, 54, 20,"),
        ("empty", "it is empty"),
        ("newer", "the file has layout 9999"),
    ] {
        let (code, lines, said) = count(name);
        assert_eq!((code, lines), (Some(1), 0), "{said}");
        assert!(said.contains(&format!("cannot replay {name}")) && said.contains(words), "{said}");
    }
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    if !can_run(&["man"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = redtap(folder.path(), &["man", "pages"]).unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut pages: Vec<&str> = said.out.lines().collect();
    pages.sort_unstable();
    let commands = [
        "completions",
        "config",
        "dashboards",
        "demo",
        "doctor",
        "man",
        "record",
        "replay",
        "rules",
        "run",
        "tail",
        "top",
        "ui",
    ];
    let wanted: Vec<String> = commands.iter().map(|name| format!("pages/redtap-{name}.1")).collect();
    assert_eq!(pages, [&wanted[..], &["pages/redtap.1".to_owned()]].concat());
    for page in pages {
        // Its formatter finds nothing wrong, and what is to be read is there.
        let mut man = std::process::Command::new("man");
        man.args(["--warnings=all", "-E", "ascii", "-l", page]).current_dir(folder.path());
        let output = man.env("MANWIDTH", "100").output().unwrap();
        let (text, warnings) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && warnings.is_empty(), "{page}: {warnings}");
        assert!(text.contains("NAME") && text.contains("SYNOPSIS") && text.contains("Examples:"), "{page}: {text}");
        assert!(!text.contains("demo-service"), "{page}: {text}");
    }
}

#[test]
fn completions_are_scripts_of_their_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let sandbox = Sandbox::new("commands");
        let Ok(sandbox) = sandbox else {
            assert!(!can_run(&[]), "no sandbox");
            return;
        };
        let said = redtap(sandbox.folder(), &["completions", shell]).unwrap();
        assert_eq!(said.code, Some(0), "{}", said.err);
        for word in ["doctor", "record", "replay", "demo", "top", "man", "deny-cgroup"] {
            assert!(said.out.contains(word), "{shell}: no {word}");
        }
        assert!(!said.out.contains("demo-service"), "{shell}: what people do not start");
        // zsh and fish check theirs where they are installed.
        if redtap_e2e::sandbox::find(shell).is_some() {
            sandbox.write("completions", &said.out).unwrap();
            sandbox.run_outside(shell, &["-n", "completions"]).unwrap();
        }
    }
    let said = redtap(Path::new("/"), &["completions", "cmd.exe"]).unwrap();
    assert_eq!(said.code, Some(2), "{}", said.err);
}

/// Head and body of an answer, as curl prints them.
fn ask(sandbox: &Sandbox, agent: &Agent, path: &str, accept: &str) -> (String, String) {
    let (url, accept) = (format!("http://127.0.0.1:{}{path}", agent.port()), format!("Accept: {accept}"));
    let text = sandbox.run_outside("curl", &["-s", "-i", "-H", &accept, &url]).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_endpoint_speaks_both_formats_and_tells_its_state() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url("/users/[1-10]")]).unwrap();
    let name = "http_server_request_duration_seconds_count";
    agent.metrics_until(|metrics| metrics.sum(name, &[]) >= 10).unwrap();

    let (head, body) = ask(&sandbox, &agent, "/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.ends_with("\n# EOF\n") && body.matches("# EOF").count() == 1);
    assert_eq!(Metrics::parse(&body).sum(name, &[]), 10);
    // OpenMetrics: a family is one block, and the type line of a counter has no `_total`.
    let types: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: BTreeSet<&str> = types.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names.len(), types.len(), "a family twice");
    assert!(!types.iter().any(|line| line.ends_with("_total counter")), "{types:?}");

    for accept in ["text/plain", "*/*"] {
        let (head, body) = ask(&sandbox, &agent, "/metrics", accept);
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(!body.contains("# EOF"));
        assert_eq!(Metrics::parse(&body).sum(name, &[]), 10);
    }
    assert_eq!(get(agent.port(), "/healthz", "*/*").unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(get(agent.port(), "/readyz", "*/*").unwrap(), (200, "ready\n".to_owned()));
    assert_eq!(get(agent.port(), "/nothing", "*/*").unwrap().0, 404);
    let status = agent.status().unwrap();
    assert_eq!(status["ready"], true);
    assert_eq!(status["conservation"]["balanced"], true, "{status}");
    let sums = &status["conservation"]["exchanges"];
    assert_eq!((&sums["seen"], &sums["reported"]), (&20.into(), &20.into()), "both ends of ten: {status}");
    agent.stop().unwrap();
}

#[test]
fn a_second_agent_on_the_same_port_says_so_and_leaves_the_first_alone() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    let sandbox = Sandbox::new("commands").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let address = format!("127.0.0.1:{}", agent.port());
    let cgroup = sandbox.cgroup().to_str().unwrap();
    let said = redtap(sandbox.folder(), &["run", "--listen", &address, "--cgroup", cgroup]).unwrap();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains(&format!("cannot listen on {address}: Address already in use")), "{}", said.err);
    assert!(said.err.contains("--listen ADDR"), "{}", said.err);
    sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url("/users/[1-5]")]).unwrap();
    let name = "http_server_request_duration_seconds_count";
    let metrics = agent.metrics_until(|metrics| metrics.sum(name, &[]) >= 5).unwrap();
    assert_eq!(metrics.sum(name, &[]), 5);
    agent.stop().unwrap();
}

#[test]
fn a_signal_ends_it_only_when_everything_is_counted() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    for rung in ["socket", "syscall"] {
        let sandbox = Sandbox::new("commands").unwrap();
        let nginx = Nginx::start(&sandbox, 1).unwrap();
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url("/users/[1-200]")]).unwrap();
        // At once: what is in ring, edges and stages now must still come out.
        let log = agent.stop().unwrap();
        let last = log.lines().find(|line| line.contains("stopped")).unwrap_or_else(|| panic!("{log}"));
        for word in ["seen=400", "reported=400", "missed=0", "dropped=0", "balanced=true"] {
            assert!(last.contains(word), "{rung}: no {word}: {last}");
        }
    }
}
