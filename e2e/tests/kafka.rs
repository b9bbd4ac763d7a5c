//! Kafka: by API, topic and error, what redtap counts at both ends is what a real broker counts about itself and what its
//! clients say they sent; on connections older than the agent no topic is guessed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use redtap_e2e::agent::Agent;
use redtap_e2e::can_run_with;
use redtap_e2e::clients::Kit;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::kafka::{Client, Kafka, Library};
use std::collections::BTreeMap;

const SERVER: &str = "messaging_server_operation_duration_seconds_count";
const CLIENT: &str = "messaging_client_operation_duration_seconds_count";
const OPERATION: &str = "messaging_operation_name";
const TOPIC: &str = "messaging_destination_name";
const CODE: &str = "messaging_response_status_code";

/// What a broker is started with.
const NEEDS: [&str; 3] = ["java", "python3", "kcat"];
const KITS: [Kit; 2] = [Kit::Kafka, Kit::Python];
const BROKER: &str = "Kafka";

/// Operations by name, of one service or all.
fn operations(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> BTreeMap<String, u64> {
    metrics.by(name, labels, &[OPERATION]).into_iter().map(|(key, count)| (key[0].clone(), count)).collect()
}

fn of(counts: &BTreeMap<String, u64>, api: &str) -> u64 {
    counts.get(api).copied().unwrap_or(0)
}

/// A broker with two topics, that has served a group before: the first one makes it create a topic of its own.
fn broker(sandbox: &Sandbox) -> Kafka {
    let kafka = Kafka::start(sandbox).unwrap();
    let mut client = Client::start(sandbox, Library::Librdkafka, kafka.port).unwrap();
    client.ask("create orders").unwrap();
    client.ask("create small max.message.bytes=1000").unwrap();
    client.ask("produce orders 10 all 100").unwrap();
    client.ask("consume orders first 10").unwrap();
    client.leave().unwrap();
    kafka
}

#[test]
fn operations_by_api_topic_and_error() {
    if !can_run_with(&NEEDS, &KITS) {
        return;
    }
    let sandbox = Sandbox::new("kafka").unwrap();
    let kafka = broker(&sandbox);
    let mut records = 10;
    for rung in ["socket", "syscall"] {
        let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
        let before = kafka.counts().unwrap();
        let mut said = BTreeMap::new();
        for (library, service) in [(Library::Librdkafka, "kafka_client.py"), (Library::Java, "KafkaClient")] {
            let mut client = Client::start(&sandbox, library, kafka.port).unwrap();
            client.ask("produce orders 100 all 100").unwrap();
            let mut sent = client.ask("produce small 3 all 5000").unwrap();
            assert_eq!(sent.remove("failed"), Some(3), "{service}");
            records += 150;
            let group = format!("{rung}-{service}");
            for order in ["produce orders 50 0 100".to_owned(), format!("consume orders {group} {records}")] {
                for (api, count) in client.ask(&order).unwrap() {
                    *sent.entry(api).or_default() += count;
                }
            }
            assert_eq!(of(&sent, "Produce"), 153, "{service}: {sent:?}");
            said.insert(service, sent);
            client.leave().unwrap();
        }
        let address = format!("127.0.0.1:{}", kafka.port);
        sandbox.write("lines", &"one line\n".repeat(40)).unwrap();
        let each_alone = ["-X", "batch.num.messages=1", "-X", "linger.ms=0", "-P", "-l", "lines"];
        sandbox.run("kcat", &[&["-b", &address, "-t", "orders"], &each_alone[..]].concat()).unwrap();
        sandbox.run("kcat", &["-b", &address, "-t", "orders", "-C", "-o", "-40", "-e", "-q"]).unwrap();
        records += 40;

        let settled = kafka.wait_counts(|counts| of(&counts.since(&before), "Produce") >= 346).unwrap();
        let truth = settled.since(&before);
        assert_eq!(of(&truth, "Produce"), 153 * 2 + 40, "{rung}: {truth:?}");
        let sum: u64 = truth.values().sum();
        let metrics =
            agent.metrics_until(|metrics| metrics.sum(SERVER, &[]) >= sum && metrics.sum(CLIENT, &[]) >= sum).unwrap();
        let kafka_only = ("messaging_system", "kafka");
        assert_eq!(operations(&metrics, SERVER, &[kafka_only, ("service_name", BROKER)]), truth, "{rung}, server");
        assert_eq!(operations(&metrics, CLIENT, &[kafka_only]), truth, "{rung}, all clients");
        for (service, sent) in &said {
            let seen = operations(&metrics, CLIENT, &[("service_name", service)]);
            for api in ["Produce", "Fetch", "OffsetCommit"] {
                // Closing a consumer of Kafka's own library ends its fetch session with one Fetch more.
                let closing = u64::from(api == "Fetch" && *service == "KafkaClient");
                assert_eq!(of(&seen, api), of(sent, api) + closing, "{rung}, {service}: {api}: {sent:?}");
            }
        }
        by_topic_and_error(&metrics, rung);
        agent.stop().unwrap();
    }
}

/// What the broker said about topics and errors.
fn by_topic_and_error(metrics: &Metrics, rung: &str) {
    for (name, side) in [(SERVER, "server"), (CLIENT, "client")] {
        let produced = metrics.by(name, &[(OPERATION, "Produce")], &[TOPIC, CODE, "error_type"]);
        // MESSAGE_TOO_LARGE, for which the broker is not to blame: to itself it is no error.
        let fault = if side == "client" { "10" } else { "" };
        let row = |labels: [&str; 3], count: u64| (labels.map(str::to_owned).to_vec(), count);
        let want = BTreeMap::from([row(["orders", "", ""], 340), row(["small", "10", fault], 6)]);
        assert_eq!(produced, want, "{rung}, {side}");
        // A fetch in a session that has not changed names no topic.
        for topic in metrics.by(name, &[(OPERATION, "Fetch")], &[TOPIC]).into_keys() {
            assert!(topic[0].is_empty() || topic[0] == "orders", "{rung}, {side}: {topic:?}");
        }
    }
}

/// Producer and consumer are there before the agent: metadata, and with it which topic an id stands for, went by unseen.
#[test]
fn connections_older_than_the_agent() {
    if !can_run_with(&NEEDS, &KITS) {
        return;
    }
    let sandbox = Sandbox::new("kafka").unwrap();
    let kafka = broker(&sandbox);
    let mut records = 10;
    for rung in ["socket", "syscall"] {
        for (library, service) in [(Library::Librdkafka, "kafka_client.py"), (Library::Java, "KafkaClient")] {
            let mut client = Client::start(&sandbox, library, kafka.port).unwrap();
            let group = format!("late-{rung}-{service}");
            client.ask("produce orders 20 all 100").unwrap();
            records += 20;
            client.ask(&format!("consume orders {group} {records}")).unwrap();
            let before = kafka.counts().unwrap();
            let agent = Agent::start(&sandbox, &["--rung", rung]).unwrap();
            client.ask("produce orders 60 all 100").unwrap();
            client.ask("produce small 2 all 5000").unwrap();
            client.ask(&format!("consume orders {group} 60")).unwrap();
            records += 60;
            let settled = kafka.wait_counts(|counts| of(&counts.since(&before), "Produce") >= 62).unwrap();
            let truth = settled.since(&before);
            let sum: u64 = truth.values().sum();
            let metrics = agent
                .metrics_until(|metrics| metrics.sum(SERVER, &[]) >= sum && metrics.sum(CLIENT, &[]) >= sum)
                .unwrap();
            for (name, labels) in [(SERVER, [("service_name", BROKER)]), (CLIENT, [("service_name", service)])] {
                let what = format!("{rung}, {service}, {name}");
                assert_eq!(operations(&metrics, name, &labels), truth, "{what}");
                let produced = metrics.by(name, &[(OPERATION, "Produce")], &[TOPIC]);
                let want: BTreeMap<Vec<String>, u64> =
                    [(vec!["orders".to_owned()], 60), (vec!["small".to_owned()], 2)].into();
                assert_eq!(produced, want, "{what}");
                for topic in metrics.by(name, &[(OPERATION, "Fetch")], &[TOPIC]).into_keys() {
                    assert!(topic[0].is_empty() || topic[0] == "orders", "{what}: {topic:?}");
                }
            }
            client.leave().unwrap();
            agent.stop().unwrap();
        }
    }
}
