//! Who is asked: one type over the servers of the end-to-end proofs and the harness's own, with what each counts itself.

pub mod own;

use crate::case::{ServerKind, Tool};
use crate::pin::{self, Cpus};
use anyhow::Result;
use own::Own;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::Sandbox;
use redtap_e2e::servers::dnsmasq::Dnsmasq;
use redtap_e2e::servers::mariadb::Mariadb;
use redtap_e2e::servers::postgres::Postgres;
use redtap_e2e::servers::redis::Redis;
use redtap_e2e::servers::web::Web;

/// The user of sysbench in MariaDB.
pub const SYSBENCH_USER: &str = "sbtest";

/// A running server.
#[derive(Debug)]
pub struct Server {
    kind: ServerKind,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Web(Web),
    Own(Own),
    Redis(Redis),
    Mariadb(Mariadb),
    Postgres(Postgres),
    Dnsmasq(Dnsmasq),
}

impl Server {
    /// Starts one for so many connections and pins it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, kind: ServerKind, connections: u32, cpus: Option<&Cpus>) -> Result<Self> {
        let running = match kind {
            ServerKind::Nginx => Running::Web(Web::start(sandbox, connections)?),
            ServerKind::Http | ServerKind::Grpc => Running::Own(Own::start(sandbox, kind == ServerKind::Grpc)?),
            ServerKind::Redis => Running::Redis(Redis::start(sandbox)?),
            ServerKind::Mariadb => Running::Mariadb(Mariadb::start_for_load(sandbox, SYSBENCH_USER)?),
            ServerKind::Postgres => Running::Postgres(Postgres::start_for_load(sandbox)?),
            ServerKind::Dnsmasq => Running::Dnsmasq(Dnsmasq::start_for_load(sandbox)?),
        };
        let server = Self { kind, running };
        if let Some(cpus) = cpus {
            pin::family(server.pid(), cpus)?;
        }
        Ok(server)
    }

    /// Which one.
    #[must_use]
    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    /// The process id of its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match &self.running {
            Running::Web(web) => web.pid(),
            Running::Own(own) => own.pid(),
            Running::Redis(redis) => redis.pid(),
            Running::Mariadb(mariadb) => mariadb.pid(),
            Running::Postgres(postgres) => postgres.pid(),
            Running::Dnsmasq(dnsmasq) => dnsmasq.pid(),
        }
    }

    /// The port that a tool asks.
    #[must_use]
    pub fn port(&self, tool: Tool) -> u16 {
        match &self.running {
            Running::Web(web) if tool == Tool::H2load => web.http2,
            Running::Web(web) => web.port,
            Running::Own(own) => own.port,
            Running::Redis(redis) => redis.port,
            Running::Mariadb(mariadb) => mariadb.port,
            Running::Postgres(postgres) => postgres.port,
            Running::Dnsmasq(dnsmasq) => dnsmasq.port,
        }
    }

    /// Requests so far, as it counts them itself. nginx is asked over HTTP: that is one of them. What is asked of the others
    /// for this is not (`INFO` of Redis and questions to the databases are left out, here and in [`Self::reported`]).
    ///
    /// # Errors
    /// When it does not say.
    pub fn count(&self) -> Result<u64> {
        match &self.running {
            Running::Web(web) => web.requests(),
            Running::Own(own) => own.requests(),
            Running::Redis(redis) => {
                Ok(redis.calls()?.into_iter().filter(|(name, _)| name != "INFO").map(|(_, calls)| calls).sum())
            }
            Running::Mariadb(mariadb) => Ok(mariadb.counters()?.get("Com_select").copied().unwrap_or(0)),
            Running::Postgres(postgres) => postgres.looked_up(),
            Running::Dnsmasq(dnsmasq) => dnsmasq.answered(),
        }
    }

    /// The same as the agent reported them at the server's end.
    #[must_use]
    pub fn reported(&self, metrics: &Metrics) -> u64 {
        let dns = "dns_server_lookup_duration_seconds_count";
        self.reported_in(metrics, "server", dns)
    }

    /// The same as the agent reported them at the client's end.
    #[must_use]
    pub fn reported_by_clients(&self, metrics: &Metrics) -> u64 {
        self.reported_in(metrics, "client", "dns_lookup_duration_seconds_count")
    }

    fn reported_in(&self, metrics: &Metrics, end: &str, dns: &str) -> u64 {
        let db = format!("db_{end}_operation_duration_seconds_count");
        let db = db.as_str();
        match self.kind {
            ServerKind::Nginx | ServerKind::Http => {
                metrics.sum(&format!("http_{end}_request_duration_seconds_count"), &[])
            }
            ServerKind::Grpc => metrics.sum(&format!("rpc_{end}_call_duration_seconds_count"), &[]),
            ServerKind::Redis => {
                let redis = ("db_system_name", "redis");
                metrics.sum(db, &[redis]) - metrics.sum(db, &[redis, ("db_operation_name", "INFO")])
            }
            ServerKind::Mariadb => metrics.sum(db, &[("db_operation_name", "SELECT")]),
            ServerKind::Postgres => {
                // Parse has the summary of its statement too.
                let select = ("db_operation_name", "SELECT");
                metrics.sum(db, &[select, ("db_query_summary", "SELECT pgbench_accounts")])
            }
            ServerKind::Dnsmasq => metrics.sum(dns, &[]),
        }
    }
}
