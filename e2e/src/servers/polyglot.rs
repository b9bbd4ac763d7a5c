//! A chain of services in five languages with PostgreSQL, Redis and Kafka behind them (`e2e/clients/chain/`): PHP (pre-fork), Python (a thread
//! a connection), Go (goroutines), Java (a pool of threads), Node (an event loop), Python again (asyncio).
//!
//! A request has a number, which is in the path of each call between services. What they ask of others they ask over a connection of its
//! own, and write down its port beside the number: the truth that ties are held against. Each also writes down what it answered.

use super::kafka::{Client, Kafka, Library};
use super::postgres::Postgres;
use super::redis::Redis;
use crate::clients::sql::PASSWORD;
use crate::clients::{Kit, source};
use crate::sandbox::{Proc, Sandbox, find, free_port};
use anyhow::{Context, Result, anyhow, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One of its services, in the order in which they call each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// `php -S` with eight workers.
    Php,
    /// `http.server`.
    Python,
    /// `net/http`.
    Go,
    /// `com.sun.net.httpserver`.
    Java,
    /// `node:http`.
    Node,
    /// `asyncio.start_server`.
    Asyncio,
}

impl Link {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Php, Self::Python, Self::Go, Self::Java, Self::Node, Self::Asyncio];

    /// The first part of the paths that it answers.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Php => "php",
            Self::Python => "python",
            Self::Go => "go",
            Self::Java => "java",
            Self::Node => "node",
            Self::Asyncio => "asyncio",
        }
    }

    /// The service name that the agent should find.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::Php => "front.php",
            Self::Python => "threads.py",
            Self::Go => "chain-go",
            Self::Java => "Pool",
            Self::Node => "events.js",
            Self::Asyncio => "tasks.py",
        }
    }
}

/// Programs that must be there.
pub const NEEDS: [&str; 8] = ["php", "python3", "java", "javac", "node", "postgres", "redis-server", "redis-cli"];
/// Kits that must be built.
pub const KITS: [Kit; 4] = [Kit::Kafka, Kit::Python, Kit::SqlGo, Kit::SqlPhp];

/// What is behind the services, running.
#[derive(Debug)]
pub struct Behind {
    /// Asked by PHP and by Go, as users `php` and `go`.
    pub postgres: Postgres,
    /// Asked by Python (`GET`), Node (`EXISTS`) and asyncio (`STRLEN`).
    pub redis: Redis,
    /// Asked by Java, over one connection at its start and one for the topic `orders`.
    pub kafka: Kafka,
}

impl Behind {
    /// Starts all at the same time.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(sandbox: &Sandbox) -> Result<Self> {
        std::thread::scope(|scope| {
            let kafka = scope.spawn(|| {
                let kafka = Kafka::start(sandbox)?;
                let mut client = Client::start(sandbox, Library::Librdkafka, kafka.port)?;
                client.ask("create orders")?;
                client.leave()?;
                anyhow::Ok(kafka)
            });
            let java = scope.spawn(|| compile(sandbox));
            let postgres = Postgres::start(sandbox, &["php", "go", "nobody"])?;
            let redis = Redis::start(sandbox)?;
            java.join().map_err(|_| anyhow!("javac was not run"))??;
            Ok(Self { postgres, redis, kafka: kafka.join().map_err(|_| anyhow!("no broker"))?? })
        })
    }
}

fn classpath(sandbox: &Sandbox) -> String {
    format!("{}:{}/*", sandbox.folder().join("classes").display(), Kit::Kafka.folder().join("lib").display())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is not text")
}

fn compile(sandbox: &Sandbox) -> Result<()> {
    let (classes, path) = (sandbox.folder().join("classes"), classpath(sandbox));
    let mut javac = Command::new(find("javac").context("no javac")?);
    let output = javac.arg("-d").arg(classes).args(["-cp", &path]).arg(source("chain/Pool.java")).output()?;
    ensure!(output.status.success(), "javac: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The services, running.
#[derive(Debug)]
pub struct Polyglot {
    /// Port of the first of them.
    pub front: u16,
    services: BTreeMap<Link, Proc>,
}

impl Polyglot {
    /// Starts them, from the last to the first, and waits until all serve.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(sandbox: &Sandbox, behind: &Behind) -> Result<Self> {
        let port_of = Link::ALL.iter().map(|link| Ok((*link, free_port()?))).collect::<Result<BTreeMap<_, _>>>()?;
        let port = |link| port_of.get(&link).map(ToString::to_string).unwrap_or_default();
        let [postgres, redis, kafka] =
            [behind.postgres.port, behind.redis.port, behind.kafka.port].map(|port| port.to_string());
        let file = |name: &str| anyhow::Ok(text(&source(&format!("chain/{name}")))?.to_owned());
        let mut services = Vec::new();
        for link in Link::ALL {
            let (own, next) =
                (port(link), Link::ALL.into_iter().find(|next| *next > link).map(port).unwrap_or_default());
            let name = link.path();
            let process = match link {
                Link::Php => {
                    let env = [
                        ("PHP_CLI_SERVER_WORKERS", "8"),
                        ("GOES_ON", &next),
                        ("POSTGRES", &postgres),
                        ("PASSWORD", PASSWORD),
                    ];
                    sandbox.start_with(name, "php", &["-S", &format!("127.0.0.1:{own}"), &file("front.php")?], &env)
                }
                Link::Python => sandbox.start(name, "python3", &[&file("threads.py")?, &own, &next, &redis]),
                Link::Go => {
                    let program = Kit::SqlGo.folder().join("chain-go");
                    sandbox.start(name, text(&program)?, &[&own, &next, &postgres, PASSWORD])
                }
                Link::Java => {
                    let quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"];
                    let logged = "-Dlog4j.configuration=file:log4j.properties";
                    let path = classpath(sandbox);
                    let own = [logged, "-cp", &path, "Pool", &own, &next, &kafka];
                    sandbox.start(name, "java", &[&quick[..], &own].concat())
                }
                Link::Node => sandbox.start(name, "node", &[&file("events.js")?, &own, &next, &redis]),
                Link::Asyncio => sandbox.start(name, "python3", &[&file("tasks.py")?, &own, &redis]),
            };
            services.push((link, process?));
        }
        let ready = services.into_iter().map(|(link, process)| {
            let port = port_of.get(&link).copied().unwrap_or_default();
            Ok((link, process.wait_port(port)?))
        });
        let services = ready.collect::<Result<BTreeMap<_, _>>>()?;
        Ok(Self { front: port_of.get(&Link::Php).copied().unwrap_or_default(), services })
    }

    /// How many requests a service says that it answered.
    #[must_use]
    pub fn answered(&self, link: Link) -> u64 {
        self.log(link).lines().filter(|line| line.starts_with("answered ")).map(|_| 1).sum()
    }

    /// For which requests a service says that it asked something from a port: of several, one after the other.
    #[must_use]
    pub fn asked(&self, link: Link) -> BTreeMap<u16, BTreeSet<u64>> {
        let mut asked: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
        for line in self.log(link).lines() {
            let mut words = line.split(' ');
            if let (Some("asked"), Some(number), Some(port)) = (words.next(), words.next(), words.next())
                && let (Ok(number), Ok(port)) = (number.parse(), port.parse())
            {
                asked.entry(port).or_default().insert(number);
            }
        }
        asked
    }

    /// What a service printed.
    #[must_use]
    pub fn log(&self, link: Link) -> String {
        self.services.get(&link).map(Proc::log).unwrap_or_default()
    }
}
