//! Every query of every panel, asked of a real Prometheus that scrapes a real agent under real load, has an answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run_with;
use redtap_e2e::cli::redtap;
use redtap_e2e::clients::Kit;
use redtap_e2e::clients::sql::PASSWORD;
use redtap_e2e::sandbox::{Sandbox, free_port, get};
use redtap_e2e::servers::kafka::{Client, Kafka, Library};
use redtap_e2e::servers::mariadb::Mariadb;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;
use serde_json::Value;
use std::time::Duration;

/// As in a part of a URL's query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Series that have a value which is a number; with the error, if it is one.
fn answers(port: u16, expression: &str) -> Result<usize, String> {
    let expression = expression.replace("$__rate_interval", "20s").replace("$__range", "1m").replace("$service", ".+");
    let (_, body) = get(port, &format!("/api/v1/query?query={}", encoded(&expression)), "application/json").unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    if answer["status"] != "success" {
        return Err(format!("{expression}: {}", answer["error"]));
    }
    let series = answer["data"]["result"].as_array().unwrap();
    Ok(series.iter().filter(|one| one["value"][1] != "NaN").count())
}

/// Title, expression of every query.
fn queries(board: &Value) -> Vec<(String, String)> {
    let panels = board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let queries = panels.flat_map(|panel| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().iter();
        targets.map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    });
    queries.collect()
}

#[test]
fn every_panel_has_data() {
    let kits = [Kit::Kafka, Kit::Python];
    let needs = ["nginx", "redis-server", "redis-cli", "mariadbd", "mariadb", "curl", "timeout", "prometheus"];
    if !can_run_with(&[&needs[..], &["java", "python3", "kcat"]].concat(), &kits) {
        return;
    }
    let (sandbox, apart) = (Sandbox::new("dashboards").unwrap(), Sandbox::new("prometheus").unwrap());
    let (nginx, redis) = (Nginx::start(&sandbox, 1).unwrap(), Redis::start(&sandbox).unwrap());
    let (mariadb, kafka) = (Mariadb::start(&sandbox, &["shop"]).unwrap(), Kafka::start(&sandbox).unwrap());
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let port = free_port().unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: redtap, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
        agent.port()
    );
    let config = apart.write("prometheus.yml", &config).unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", apart.folder().join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _prometheus = apart.start("prometheus", "prometheus", &arguments).unwrap().wait_port(port).unwrap();

    let said = redtap(apart.folder(), &["dashboards", "made"]).unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    let files = std::fs::read_dir(apart.folder().join("made")).unwrap();
    let boards: Vec<(String, Value)> = files
        .map(|file| {
            let file = file.unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            (file.file_name().into_string().unwrap(), serde_json::from_str(&text).unwrap())
        })
        .collect();
    assert_eq!(boards.len(), 5);

    let mut client = Client::start(&sandbox, Library::Librdkafka, kafka.port).unwrap();
    client.ask("create orders").unwrap();
    client.ask("create small max.message.bytes=1000").unwrap();
    let redis_port = redis.port.to_string();
    let (password, sql_port) = (format!("-p{PASSWORD}"), format!("-P{}", mariadb.port));
    let select = ["-e", "SELECT name FROM shop.item WHERE id = 1"];
    let sql = [&["--no-defaults", "--skip-ssl", "-h127.0.0.1", &sql_port, "-ushop", &password][..], &select].concat();
    let mut missing = Vec::new();
    for round in 0..30 {
        for path in ["/", "/users/7", "/broken"] {
            sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url(path)]).unwrap();
        }
        sandbox.run_any("redis-cli", &["-p", &redis_port, "SET", "a", "1"]).unwrap();
        // An error: the wrong kind of value.
        sandbox.run_any("redis-cli", &["-p", &redis_port, "LPUSH", "a", "1"]).unwrap();
        sandbox.run("mariadb", &sql).unwrap();
        client.ask("produce orders 3 all 100").unwrap();
        // An error: larger than the topic takes.
        client.ask("produce small 1 all 5000").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        if round < 8 {
            continue;
        }
        missing.clear();
        for (file, board) in &boards {
            for (title, expression) in queries(board) {
                match answers(port, &expression) {
                    Ok(0) => missing.push(format!("{file}: {title}: no data: {expression}")),
                    Ok(_) => {}
                    // Not a matter of time.
                    Err(error) => panic!("{file}: {title}: {error}"),
                }
            }
        }
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let all: usize = boards.iter().map(|(_, board)| queries(board).len()).sum();
    assert!(all > 60, "{all} queries");
    client.leave().unwrap();
}
