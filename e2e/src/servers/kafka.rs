//! A Kafka broker (one node, which is its own controller), what it counts about itself, and two clients that say what they
//! sent.

use crate::clients::{Kit, Obedient, source};
use crate::sandbox::{Proc, Sandbox, free_port, get};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// A running broker.
#[derive(Debug)]
pub struct Kafka {
    /// Its port for clients.
    pub port: u16,
    /// The port at which it, as its own client, speaks with its controller.
    pub controller: u16,
    /// Its process.
    pub process: Proc,
    counts: u16,
}

/// What a broker counts about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered (or read, where no answer is due), by API.
    pub requests: BTreeMap<String, u64>,
    /// Results in answers, by API and name of the error (`NONE`): one a topic partition, so a request may count many times.
    pub results: BTreeMap<(String, String), u64>,
    /// Produce requests by topic.
    pub produced: BTreeMap<String, u64>,
}

impl Counts {
    /// Requests of each API since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> BTreeMap<String, u64> {
        let then = |api: &String| before.requests.get(api).copied().unwrap_or(0);
        self.requests
            .iter()
            .map(|(api, count)| (api.clone(), count - then(api)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

impl Kafka {
    /// Formats its storage and starts it; waits until it serves.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        let [port, controller, counts] = [free_port()?, free_port()?, free_port()?];
        sandbox.write("server.properties", &properties(port, controller))?;
        sandbox.write("log4j.properties", LOGGING)?;
        let kit = Kit::Kafka.folder();
        let lib = format!("{}/*", kit.join("lib").display());
        let mut arguments = vec![QUICK[0], QUICK[1], LOGGED, "-cp", &lib];
        let format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", "server.properties"];
        sandbox.run("java", &[&arguments[..], &format].concat())?;
        let agent = format!("-javaagent:{}={counts}", kit.join("counts.jar").display());
        arguments.extend(["-Xmx256m", &agent, "kafka.Kafka", "server.properties"]);
        let process = sandbox.start("kafka", "java", &arguments)?;
        let kafka = Self { port, controller, process: process.wait_port(port)?, counts };
        for _ in 0..300 {
            if kafka.process.log().contains("Kafka Server started") {
                return Ok(kafka);
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        anyhow::bail!("the broker does not start:\n{}", kafka.process.log())
    }

    /// What it counts about itself (asked from outside of the sandbox, over HTTP).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn counts(&self) -> Result<Counts> {
        let (status, body) = get(self.counts, "/count", "*/*")?;
        ensure!(status == 200, "/count answers {status}: {body}");
        let mut counts = Counts::default();
        for line in body.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match *words.as_slice() {
                // What it counts of consumers and followers it counts as Fetch too.
                ["request", "FetchConsumer" | "FetchFollower", _, _]
                | ["error", "FetchConsumer" | "FetchFollower", _, _] => {}
                ["request", api, _version, count] => {
                    *counts.requests.entry(api.to_owned()).or_default() += number(count)?
                }
                ["error", api, error, count] => {
                    *counts.results.entry((api.to_owned(), error.to_owned())).or_default() += number(count)?;
                }
                ["topic", "Produce", topic, count] => {
                    *counts.produced.entry(topic.to_owned()).or_default() += number(count)?;
                }
                _ => anyhow::bail!("/count says {line:?}"),
            }
        }
        Ok(counts)
    }

    /// Waits until it has counted what clients say they sent, at most 5 s, and then until its counts rest: it counts a request when
    /// it has answered it, and a fetch whose client has gone only when its time is over.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn wait_counts(&self, done: impl Fn(&Counts) -> bool) -> Result<Counts> {
        let mut counts = self.counts()?;
        for _ in 0..50 {
            std::thread::sleep(std::time::Duration::from_millis(if done(&counts) { 1_000 } else { 100 }));
            let next = self.counts()?;
            if done(&counts) && next == counts {
                return Ok(next);
            }
            counts = next;
        }
        Ok(counts)
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text:?} is no count"))
}

/// For a short life: no waiting for the second compiler, one thread to collect garbage.
const QUICK: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
const LOGGED: &str = "-Dlog4j.configuration=file:log4j.properties";
const CLUSTER: &str = "cmVkdGFwLWUyZS1rYWZrYQ";

const LOGGING: &str = "log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.target=System.err
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
";

/// Topics are made by those who want them, and the broker does not tell its controller every two seconds that it lives.
fn properties(port: u16, controller: u16) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=./data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.heartbeat.interval.ms=3600000
broker.session.timeout.ms=7200000
"
    )
}

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// librdkafka, from Python.
    Librdkafka,
    /// Kafka's own, in Java.
    Java,
}

/// A client that takes orders, and what it says it sent, by API; `requests` is all of them where it counts only that.
#[derive(Debug)]
pub struct Client(Obedient);

impl Client {
    /// Starts one in the sandbox.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, library: Library, port: u16) -> Result<Self> {
        let port = port.to_string();
        Ok(Self(match library {
            Library::Librdkafka => {
                let program = source("kafka/kafka_client.py");
                let modules = Kit::Python.folder();
                let env = [("PYTHONPATH", modules.to_str().context("a path that is not text")?)];
                let arguments = [program.to_str().context("a path that is not text")?, &port];
                Obedient::start(sandbox, "python3", &arguments, &env)?
            }
            Library::Java => {
                let kit = Kit::Kafka.folder();
                let path = format!("{}/*:{}", kit.join("lib").display(), kit.join("classes").display());
                let arguments = [QUICK[0], QUICK[1], LOGGED, "-cp", &path, "KafkaClient", &port];
                Obedient::start(sandbox, "java", &arguments, &[])?
            }
        }))
    }

    /// Gives an order (`e2e/clients/README.md`); what the client says it sent so far with what the order used.
    ///
    /// # Errors
    /// When it ends before.
    pub fn ask(&mut self, order: &str) -> Result<BTreeMap<String, u64>> {
        let said = self.0.ask(order)?;
        let mut sent = BTreeMap::new();
        for line in &said {
            if let [kind @ ("sent" | "taken" | "failed"), rest @ ..] = line.split(' ').collect::<Vec<_>>().as_slice() {
                match *rest {
                    [api, count] => *sent.entry(api.to_owned()).or_default() += number(count)?,
                    [count] if *kind == "taken" => *sent.entry("taken".to_owned()).or_default() += number(count)?,
                    _ => *sent.entry("failed".to_owned()).or_default() += 1,
                }
            }
        }
        Ok(sent)
    }

    /// Closes its connections and ends.
    ///
    /// # Errors
    /// When it ends with an error.
    pub fn leave(mut self) -> Result<()> {
        self.ask("close")?;
        self.0.dismiss()
    }
}
