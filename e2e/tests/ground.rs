//! The ground itself: the servers' own counts are what clients sent. What the agent is held against must hold by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::can_run;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::apps::{App, Language};
use redtap_e2e::servers::dnsmasq::Dnsmasq;
use redtap_e2e::servers::nginx::Nginx;
use redtap_e2e::servers::redis::Redis;

#[test]
fn nginx_logs_what_curl_asked() {
    if !can_run(&["nginx", "curl"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let nginx = Nginx::start(&sandbox, 2).unwrap();
    for path in ["/", "/missing", "/broken", "/users/7"] {
        sandbox.run("curl", &["-s", "-o", "/dev/null", &nginx.url(path)]).unwrap();
    }
    let answered = nginx.wait_answered(4).unwrap();
    assert_eq!(answered.values().sum::<u64>(), 4, "{answered:?}");
    assert_eq!(answered[&("GET".into(), "/broken".into(), "500".into())], 1);
}

#[test]
fn redis_counts_calls() {
    if !can_run(&["redis-server", "redis-benchmark"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let redis = Redis::start(&sandbox).unwrap();
    let port = redis.port.to_string();
    sandbox.run("redis-benchmark", &["-p", &port, "-q", "-t", "set", "-n", "640", "-c", "2", "-P", "64"]).unwrap();
    assert_eq!(redis.calls().unwrap()["SET"], 640);
}

#[test]
fn dnsmasq_logs_questions() {
    if !can_run(&["dnsmasq", "dig"]) {
        return;
    }
    let sandbox = Sandbox::new("ground").unwrap();
    let dns = Dnsmasq::start(&sandbox).unwrap();
    let port = dns.port.to_string();
    let answer = sandbox.run("dig", &["@127.0.0.1", "-p", &port, "+short", "www.example.test", "A"]).unwrap();
    assert_eq!(answer.trim(), "192.0.2.10");
    sandbox.run("dig", &["@127.0.0.1", "-p", &port, "+tcp", "nothing.example.test", "AAAA"]).unwrap();
    dns.wait_asked(2).unwrap();
}

#[test]
fn every_language_answers_and_counts() {
    for language in Language::ALL {
        if !can_run(&[language.program(), "curl"]) {
            continue;
        }
        let sandbox = Sandbox::new("ground").unwrap();
        let app = App::start(&sandbox, language).unwrap();
        let urls = ["/ok/1", "/gone/1", "/fail/1"].map(|path| app.url(path));
        let mut arguments = vec!["-s", "-w", "%{http_code} ", "-o", "/dev/null"];
        for (at, url) in urls.iter().enumerate() {
            if at > 0 {
                arguments.extend(["-o", "/dev/null"]);
            }
            arguments.push(url);
        }
        assert_eq!(sandbox.run("curl", &arguments).unwrap().trim(), "200 404 500", "{language:?}");
        assert_eq!(app.answered().map_err(|error| format!("{language:?}: {error:#}")), Ok(3));
    }
}
