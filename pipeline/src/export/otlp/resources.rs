//! Resources: who a metric or a span is about. One for each service that is watched, one for the agent itself.
//!
//! A service may have many processes, in many containers, and they come and go. A span is of one of them; so its resource says
//! what all of the service's identities have in common now, and nothing of what differs. A series of metrics is of all of them,
//! and its resource is part of what tells it from others (data model, "Timeseries model"): a container that is replaced must not begin
//! another series, with the counts of the first. So the resource of metrics names what stays: the service, its namespace as
//! it was first known, this host, and as the instance the one that counts, which is the agent ("Single-Writer").
//!
//! What the environment of the agent says of resources (`OTEL_RESOURCE_ATTRIBUTES`, `otlp.resource_attributes`) is about the
//! agent. It is said of the services too as far as it is about where they run, which they share ([`is_shared`]), and
//! never in the place of what is known of them.
//!
//! Absent: where identities come from.

use super::wire::{KeyValue, Resource, text};
use redtap_stages::flow::joined::Identity;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Attributes that are about one service or process: what the agent is told of itself is not said of others.
const OWN: &[&str] = &["service.", "process.", "container.", "telemetry.", "k8s.pod.", "k8s.container.", "host.name"];

/// Makes resources.
#[derive(Debug, Clone)]
pub(super) struct Resources {
    host: String,
    extra: BTreeMap<String, String>,
}

/// True if an attribute that the agent was told of itself holds for what it watches as well.
fn is_shared(name: &str) -> bool {
    !OWN.iter().any(|prefix| name.starts_with(prefix))
}

impl Resources {
    /// `host` is the name of this host, `extra` what the agent was told of itself.
    pub(super) fn new(host: &str, extra: &BTreeMap<String, String>) -> Self {
        Self { host: host.to_owned(), extra: extra.clone() }
    }

    /// The agent.
    pub(super) fn agent(&self) -> Resource {
        let known = BTreeMap::from([
            ("service.name", "redtap"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("service.instance.id", self.instance()),
            ("host.name", self.host.as_str()),
        ]);
        let told = self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let told = told.filter(|(name, _)| *name != "service.name");
        let mut all = known;
        all.extend(told);
        resource(&all)
    }

    /// Which agent this is.
    fn instance(&self) -> &str {
        self.extra.get("service.instance.id").filter(|id| !id.is_empty()).unwrap_or(&self.host)
    }

    /// A service that is watched, for its metrics: the same from the first time that it is asked for, whatever becomes of its processes.
    /// `namespaces` keeps what was said: hand in the same map each time.
    pub(super) fn of_metrics(
        &self,
        service: &str,
        identities: &[Arc<Identity>],
        namespaces: &mut HashMap<String, Box<str>>,
    ) -> Resource {
        let first = || identities.iter().find(|identity| &*identity.service == service);
        if !namespaces.contains_key(service) {
            let namespace = first().map_or_else(Box::default, |identity| identity.namespace.clone());
            namespaces.insert(service.to_owned(), namespace);
        }
        let told = self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut all: BTreeMap<&str, &str> = told.filter(|(name, _)| is_shared(name)).collect();
        all.insert("host.name", &self.host);
        all.insert("service.instance.id", self.instance());
        all.insert("service.name", service);
        all.insert("service.namespace", namespaces.get(service).map_or("", |namespace| namespace));
        resource(&all)
    }

    /// A service that is watched, for its spans: what all of its identities say.
    pub(super) fn service(&self, service: &str, identities: &[Arc<Identity>]) -> Resource {
        let mut own = identities.iter().filter(|identity| &*identity.service == service);
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        let told = self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.extend(told.filter(|(name, _)| is_shared(name)));
        all.insert("host.name", &self.host);
        let instance = match own.next() {
            Some(first) => {
                let mut common = known(first);
                for other in own {
                    let other = known(other);
                    common.retain(|name, value| other.get(name) == Some(value));
                }
                if !common.contains_key("host.name") {
                    all.remove("host.name");
                }
                all.extend(&common);
                let of_one = ["k8s.pod.name", "container.id"].iter().find_map(|name| common.get(name).copied());
                of_one.unwrap_or(&self.host)
            }
            None => &self.host,
        };
        all.insert("service.instance.id", instance);
        all.insert("service.name", service);
        resource(&all)
    }
}

/// What an identity says, without what is empty.
fn known(identity: &Identity) -> BTreeMap<&'static str, &str> {
    let all = [
        ("service.namespace", &identity.namespace),
        ("container.id", &identity.container),
        ("k8s.pod.name", &identity.pod),
        ("process.executable.name", &identity.process),
        ("host.name", &identity.host),
    ];
    all.into_iter().map(|(name, value)| (name, &**value)).filter(|(_, value)| !value.is_empty()).collect()
}

fn resource(attributes: &BTreeMap<&str, &str>) -> Resource {
    let attributes: Vec<KeyValue> =
        attributes.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| text(name, value)).collect();
    Resource { attributes, ..Resource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::otlp::wire::as_text;

    fn identity(service: &str, container: &str, process: &str) -> Arc<Identity> {
        Arc::new(Identity {
            service: service.into(),
            namespace: "shop".into(),
            container: container.into(),
            process: process.into(),
            host: "node-1".into(),
            ..Identity::default()
        })
    }

    fn shown(resource: &Resource) -> Vec<(String, String)> {
        let shown = |attribute: &KeyValue| (attribute.key.clone(), as_text(attribute).unwrap());
        resource.attributes.iter().map(shown).collect()
    }

    fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
        wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_service_says_what_all_of_its_processes_have_in_common() {
        let resources = Resources::new("node-1", &BTreeMap::new());
        let identities =
            [identity("web", "c1", "nginx"), identity("web", "c2", "nginx"), identity("db", "c3", "postgres")];
        let web = resources.service("web", &identities);
        let wanted = pairs(&[
            ("host.name", "node-1"),
            ("process.executable.name", "nginx"),
            ("service.instance.id", "node-1"),
            ("service.name", "web"),
            ("service.namespace", "shop"),
        ]);
        assert_eq!(shown(&web), wanted, "not the containers, which differ");
        let db = shown(&resources.service("db", &identities));
        assert!(db.contains(&("service.instance.id".into(), "c3".into())), "{db:?}");
    }

    #[test]
    fn metrics_keep_their_resource_while_processes_come_and_go() {
        let resources = Resources::new("node-1", &BTreeMap::new());
        let mut said = HashMap::new();
        let (old, new) = (identity("web", "c1", "nginx"), identity("web", "c2", "nginx-debug"));
        let first = resources.of_metrics("web", &[Arc::clone(&old)], &mut said);
        let wanted = pairs(&[
            ("host.name", "node-1"),
            ("service.instance.id", "node-1"),
            ("service.name", "web"),
            ("service.namespace", "shop"),
        ]);
        assert_eq!(shown(&first), wanted, "no container, no process");
        let moved = Arc::new(Identity { namespace: "other".into(), ..Identity::clone(&new) });
        for later in [vec![Arc::clone(&old), Arc::clone(&new)], vec![new], vec![moved], vec![]] {
            assert_eq!(resources.of_metrics("web", &later, &mut said), first, "{later:?}");
        }
        let named = [("service.instance.id".to_owned(), "sidecar-7".to_owned())].into();
        let named = shown(&Resources::new("node-1", &named).of_metrics("web", &[old], &mut HashMap::new()));
        assert!(named.contains(&("service.instance.id".into(), "sidecar-7".into())), "the agent's: {named:?}");
    }

    #[test]
    fn what_the_agent_is_told_of_itself_is_said_of_others_only_where_they_share_it() {
        let extra = [
            ("service.name", "sidecar"),
            ("service.version", "9"),
            ("k8s.pod.name", "agent-1"),
            ("deployment.environment.name", "prod"),
        ];
        let extra = extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let resources = Resources::new("node-1", &extra);
        let unknown = shown(&resources.service("web", &[]));
        let wanted = [
            ("deployment.environment.name", "prod"),
            ("host.name", "node-1"),
            ("service.instance.id", "node-1"),
            ("service.name", "web"),
        ];
        assert_eq!(unknown, pairs(&wanted));
        let agent = shown(&resources.agent());
        let wanted = [
            ("deployment.environment.name", "prod"),
            ("host.name", "node-1"),
            ("k8s.pod.name", "agent-1"),
            ("service.instance.id", "node-1"),
            ("service.name", "redtap"),
            ("service.version", "9"),
        ];
        assert_eq!(agent, pairs(&wanted));
    }
}
