//! OTLP: metrics and traces for an OpenTelemetry Collector, or whatever speaks its protocol, over HTTP with protobuf bodies or
//! over gRPC.
//!
//! Two exporters with an account each, `otlp_metrics` (in data points) and `otlp_traces` (in exchanges, each of which would be a
//! span). Life cycle of both: [`metrics`] or [`traces`] -> running -> asked to end: they gather once more, and send what waits as
//! long as they may. What is made waits in a bounded queue while one request after the other is sent.
//!
//! **Invariant:** what was acknowledged is not sent again, and what was not is, until it is taken, refused, or crowded out.
//!
//! Bounds: `otlp.queue_bytes` for each; [`crate::calls::FOLLOWED_ALL`] calls that wait to be looked at. Metrics:
//! `redtap_export_*`. Absent: what a [client](super::client) is.

mod metrics;
mod outbox;
mod resources;
mod sampling;
mod send;
mod span;
mod traces;
mod wire;

pub use outbox::Encoding;
pub use sampling::Sampling;

use super::client::Client;
use super::{Account, Ending, Exporter, Gather};
use crate::calls::{Calls, FollowError};
use crate::registry::Registry;
use metrics::{Mapping, Temporality};
use outbox::{Outbox, Parcel};
use prost::Message as _;
use resources::Resources;
use send::Receiver;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// What the receiver speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`.
    Http,
    /// `grpc`: the client's [`http2`](super::client::ClientSettings::http2) is set.
    Grpc,
}

impl Protocol {
    /// Below a base: where metrics go, and where traces go.
    #[must_use]
    pub const fn paths(self) -> [&'static str; 2] {
        match self {
            Self::Http => ["v1/metrics", "v1/traces"],
            Self::Grpc => [
                "opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                "opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ],
        }
    }
}

/// What both signals share.
#[derive(Debug, Clone)]
pub struct Common {
    /// What the receiver speaks.
    pub protocol: Protocol,
    /// Name of this host.
    pub host: String,
    /// What the agent was told of itself.
    pub resource_attributes: BTreeMap<String, String>,
    /// How bodies are compressed.
    pub encoding: Encoding,
    /// Bytes that may wait to be sent.
    pub queue_bytes: usize,
}

/// How metrics are sent.
#[derive(Debug, Clone)]
pub struct MetricsPlan {
    /// What both signals share.
    pub common: Common,
    /// How often.
    pub interval: Duration,
    /// What was gained since the last time, instead of since the beginning.
    pub delta: bool,
    /// When the agent began to count, nanoseconds since the epoch.
    pub started: u64,
}

/// Sends metrics.
#[must_use]
pub fn metrics(plan: MetricsPlan, client: Client, gather: Arc<dyn Gather>) -> Exporter {
    let account = Arc::new(Account::new("otlp_metrics"));
    let counted = Arc::clone(&account);
    let begin = move |ending: Ending| -> super::Work {
        let outbox = Outbox::new(Arc::clone(&counted), plan.common.queue_bytes);
        Box::pin(async move {
            let receiver = Receiver::new(client, &plan.common, wire::rejected_points);
            let sending = send::deliver(&outbox, &receiver, ending.clone());
            tokio::join!(collect(&plan, &outbox, &counted, gather, ending), sending);
        })
    };
    Exporter { account, begin: Box::new(begin) }
}

/// How traces are sent.
#[derive(Debug, Clone)]
pub struct TracesPlan {
    /// What both signals share.
    pub common: Common,
    /// What is sent.
    pub sampling: Sampling,
}

/// Sends spans of `calls`, of services whose identities are in the `registry`. Follows them from now on.
///
/// # Errors
/// Too many follow already.
pub fn traces(
    plan: TracesPlan,
    client: Client,
    calls: Arc<Calls>,
    registry: Arc<Registry>,
) -> Result<Exporter, FollowError> {
    let account = Arc::new(Account::new("otlp_traces"));
    let counted = Arc::clone(&account);
    let followed = calls.follow_all()?;
    let begin = move |ending: Ending| -> super::Work {
        let outbox = Outbox::new(Arc::clone(&counted), plan.common.queue_bytes);
        Box::pin(async move {
            let receiver = Receiver::new(client, &plan.common, wire::rejected_spans);
            let sending = send::deliver(&outbox, &receiver, ending.clone());
            let watch = traces::Watch::new(&plan, &outbox, &counted, &calls, &registry);
            tokio::join!(watch.run(followed, ending), sending);
        })
    };
    Ok(Exporter { account, begin: Box::new(begin) })
}

/// Gathers metrics from time to time, and once more at the end.
async fn collect(plan: &MetricsPlan, outbox: &Outbox, account: &Account, gather: Arc<dyn Gather>, mut ending: Ending) {
    let temporality = if plan.delta { Temporality::Delta } else { Temporality::Cumulative };
    let resources = Resources::new(&plan.common.host, &plan.common.resource_attributes);
    let mut mapping = Mapping::new(temporality, resources, plan.started);
    let mut due = tokio::time::interval_at(tokio::time::Instant::now() + plan.interval, plan.interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = due.tick() => false,
            () = ending.asked() => true,
        };
        let (gather, encoding) = (Arc::clone(&gather), plan.common.encoding);
        // A large registry takes a second to encode: the other exporters need not wait for that.
        let encoded = tokio::task::spawn_blocking(move || {
            let mut parcels = Vec::new();
            mapping.map(&gather.gather(), |request| {
                let body = encoding.encode(request.message.encode_to_vec()).into();
                parcels.push(Parcel { body, items: request.points });
            });
            (mapping, parcels)
        });
        let parcels;
        (mapping, parcels) = match encoded.await {
            Ok(both) => both,
            Err(fault) => std::panic::resume_unwind(fault.into_panic()),
        };
        account.gathered(parcels.iter().map(|parcel| parcel.items).sum());
        parcels.into_iter().for_each(|parcel| outbox.put(parcel));
        if last {
            return outbox.close();
        }
    }
}
