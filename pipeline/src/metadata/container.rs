//! Container and pod out of cgroup paths, v1 and v2.
//!
//! All runtimes put the container's id, 64 hexadecimal digits, into the last directory that names it: `docker-ID.scope`,
//! `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope` with systemd, the bare id without. Kubernetes puts the
//! pod's uid above it: `podUID`, with underscores for dashes under systemd.

/// What a cgroup file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// 64 hexadecimal digits; empty outside of a container.
    pub id: String,
    /// Uid of the pod; empty outside of Kubernetes.
    pub pod_uid: String,
}

/// Reads the text of `/proc/PID/cgroup`. The last id of the first line that has one counts: containers in containers are
/// known by the innermost.
#[must_use]
pub fn parse(text: &str) -> Container {
    let mut container = Container::default();
    for line in text.lines().take(64) {
        let path = line.splitn(3, ':').nth(2).unwrap_or("");
        for part in path.split('/') {
            if container.pod_uid.is_empty()
                && let Some(uid) = pod_uid(part)
            {
                container.pod_uid = uid;
            }
        }
        if let Some(id) = path.rsplit('/').find_map(container_id) {
            container.id = id.to_owned();
            break;
        }
    }
    container
}

fn container_id(part: &str) -> Option<&str> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    // `crio-conmon-ID` is the monitor beside a container, not the container.
    if name.contains("conmon") {
        return None;
    }
    let id = name.rsplit(['-', ':']).next().unwrap_or(name);
    (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = name.rsplit_once("-pod").map_or_else(|| name.strip_prefix("pod"), |(_, uid)| Some(uid))?;
    let uid = uid.replace('_', "-");
    let plausible = uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    plausible.then_some(uid)
}

/// The workload that a pod belongs to, by the names that controllers give: `shop-6d4cf56db6-x2v9k` and `shop-x2v9k`
/// give `shop`, `store-0` gives `store`. What looks like none of these is left as it is.
#[must_use]
pub fn workload(pod: &str) -> &str {
    // The alphabet of generated names: no vowels, no 0, 1, 3.
    let generated =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte));
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod };
    if last.len() == 5 && generated(last) {
        return match rest.rsplit_once('-') {
            Some((name, hash)) if (6..=10).contains(&hash.len()) && generated(hash) => name,
            _ => rest,
        };
    }
    if last.len() <= 4 && last.bytes().all(|byte| byte.is_ascii_digit()) { rest } else { pod }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f";

    #[test]
    fn finds_the_container_of_every_runtime() {
        for path in [
            "0::/system.slice/docker-{}.scope",
            "12:memory:/docker/{}",
            "0::/kubepods.slice/kubepods-burstable.slice/x.slice/cri-containerd-{}.scope",
            "0::/kubepods.slice/crio-{}.scope/container",
            "0::/machine.slice/libpod-{}.scope",
            "3:cpu:/kubepods/besteffort/pod1/{}",
            "0::/system.slice/containerd.service/kubepods-x.slice:cri-containerd:{}",
            "11:devices:/x\n0::/ecs/task/{}",
        ] {
            assert_eq!(parse(&path.replace("{}", ID)).id, ID, "{path}");
        }
        for path in ["0::/", "0::/user.slice/user-0.slice/session-1.scope", "0::/crio-conmon-{}.scope", "", "nonsense"]
        {
            assert_eq!(parse(&path.replace("{}", ID)).id, "", "{path}");
        }
    }

    #[test]
    fn finds_the_pod_with_and_without_systemd() {
        let uid = "2b5f3a7e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
        let systemd = format!(
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{ID}.scope",
            uid.replace('-', "_")
        );
        assert_eq!(parse(&systemd), Container { id: ID.to_owned(), pod_uid: uid.to_owned() });
        assert_eq!(parse(&format!("4:pids:/kubepods/burstable/pod{uid}/{ID}")).pod_uid, uid);
        assert_eq!(parse("0::/podman-pod/podcast").pod_uid, "");
    }

    #[test]
    fn takes_generated_endings_off_pod_names() {
        for (pod, name) in [
            ("shop-6d4cf56db6-x2v9k", "shop"),
            ("my-shop-7c9d-x2v9k", "my-shop-7c9d"),
            ("node-exporter-x2v9k", "node-exporter"),
            ("store-0", "store"),
            ("store-12", "store"),
            ("shop", "shop"),
            ("web-admin", "web-admin"),
            ("release-2024a", "release-2024a"),
        ] {
            assert_eq!(workload(pod), name, "{pod}");
        }
    }
}
