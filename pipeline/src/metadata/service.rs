//! The name of a service, out of what is known of its process. Pure.
//!
//! In this order: the configuration; `OTEL_SERVICE_NAME`, then `service.name` in `OTEL_RESOURCE_ATTRIBUTES`; the pod's
//! workload, then the container's name; the jar, main class or script that an interpreter runs; the program. All
//! workers of a pre-fork server have one name, because titles such as `nginx: worker process` count up to the colon.

use super::container::{self, Container};
use std::collections::BTreeMap;

/// Longest service name, bytes; a longer one is cut.
pub const MAX_NAME: usize = 128;

/// What names a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The arguments, the program first; a title that the process gave itself is one argument.
    pub arguments: Vec<String>,
    /// Base name of the executable.
    pub executable: String,
    /// Name of the process (of its first thread).
    pub comm: String,
    /// The variables of [`VARIABLES`] that are set.
    pub environment: BTreeMap<String, String>,
    /// Out of the cgroup path.
    pub container: Container,
    /// Name that the container runtime gave, if it could be found.
    pub container_name: String,
}

/// The variables that are looked at. No others are kept.
pub const VARIABLES: &[&str] =
    &["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "POD_NAME", "POD_NAMESPACE", "HOSTNAME"];

/// Name and namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Name {
    /// `service.name`; never empty unless nothing at all is known.
    pub service: String,
    /// `service.namespace`; empty if not known.
    pub namespace: String,
}

/// Names a service. `overrides` is by process name, as configured.
#[must_use]
pub fn name(evidence: &Evidence, overrides: &BTreeMap<String, String>) -> Name {
    let program = program(evidence);
    let configured = [evidence.comm.as_str(), evidence.executable.as_str(), program]
        .iter()
        .find_map(|name| overrides.get(*name).or_else(|| overrides.get(&name.to_lowercase())))
        .cloned();
    let variable = |name: &str| evidence.environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let attributes = variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or("");
    let service = configured
        .or_else(|| variable("OTEL_SERVICE_NAME").map(str::to_owned))
        .or_else(|| attribute(attributes, "service.name"))
        .or_else(|| workload(evidence).map(str::to_owned))
        .or_else(|| Some(evidence.container_name.clone()).filter(|name| !name.is_empty()))
        .or_else(|| interpreted(program, evidence))
        .unwrap_or_else(|| program.to_owned());
    let namespace = attribute(attributes, "service.namespace")
        .or_else(|| variable("POD_NAMESPACE").map(str::to_owned))
        .unwrap_or_default();
    Name { service: cut(service), namespace: cut(namespace) }
}

/// The pod's name, as far as the environment tells.
#[must_use]
pub fn pod(evidence: &Evidence) -> Option<&str> {
    let variable = |name: &str| evidence.environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    // The host name of a pod is its name; outside of Kubernetes it says nothing about the service.
    variable("POD_NAME").or_else(|| variable("HOSTNAME").filter(|_| !evidence.container.pod_uid.is_empty()))
}

fn workload(evidence: &Evidence) -> Option<&str> {
    pod(evidence).map(container::workload)
}

fn cut(mut text: String) -> String {
    let end = (0..=MAX_NAME).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    if text.len() > MAX_NAME {
        text.truncate(end);
    }
    text
}

/// A value in `a=b,c=d`, percent-decoded as the OpenTelemetry specification asks.
fn attribute(list: &str, name: &str) -> Option<String> {
    let value = list.split(',').find_map(|pair| pair.split_once('=').filter(|(key, _)| key.trim() == name))?.1.trim();
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits = (byte == b'%').then(|| Some((hex(ahead.next()?)?, hex(ahead.next()?)?))).flatten();
        match digits {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|value| !value.is_empty())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The name of the program: of its first argument up to a space or colon, else of the executable, else the comm.
fn program(evidence: &Evidence) -> &str {
    let title = evidence.arguments.first().map_or("", String::as_str);
    let word = title.split([' ', ':']).next().unwrap_or("");
    let name = base(word).trim_start_matches('-');
    let plausible =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+@-".contains(&byte));
    if plausible {
        return name;
    }
    if evidence.executable.is_empty() { &evidence.comm } else { &evidence.executable }
}

fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// What an interpreter runs.
fn interpreted(program: &str, evidence: &Evidence) -> Option<String> {
    // A versioned name is the same interpreter: python3.11, php8.2, ruby3.1.
    let family = program.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let arguments = evidence.arguments.get(1..).unwrap_or(&[]);
    match family {
        "java" => java(arguments),
        "python" | "pypy" => python(arguments),
        "node" | "nodejs" | "bun" | "deno" => {
            script(arguments, &["-r", "--require", "--import", "--loader", "-C"], &["-e", "-p"])
        }
        "php" => php(arguments),
        "php-fpm" => {
            evidence.arguments.first()?.split_once("pool ").map(|(_, pool)| format!("php-fpm-{}", pool.trim()))
        }
        "ruby" | "perl" => script(arguments, &["-I", "-r", "-C"], &["-e"]),
        "dotnet" => script(arguments, &[], &[]).map(|name| name.trim_end_matches(".dll").to_owned()),
        "gunicorn" | "uvicorn" | "hypercorn" => application(arguments),
        _ => None,
    }
}

/// The first argument that is no option, as a base name; none if an option in `inline` holds the program itself.
fn script(arguments: &[String], with_value: &[&str], inline: &[&str]) -> Option<String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if inline.contains(&argument.as_str()) {
            return None;
        }
        if with_value.contains(&argument.as_str()) {
            rest.next();
        } else if argument.len() > 1 && argument.starts_with('-') {
        } else if matches!(argument.as_str(), "run" | "exec" | "-") {
            // `deno run FILE`, `bun run FILE`, `dotnet exec FILE`.
        } else {
            return Some(base(argument).to_owned()).filter(|name| !name.is_empty());
        }
    }
    None
}

fn python(arguments: &[String]) -> Option<String> {
    if let Some(at) = arguments.iter().position(|argument| argument == "-m") {
        // An option of the script itself does not count: what comes before must be options.
        let before = arguments.get(..at)?;
        if before.iter().all(|argument| argument.starts_with('-')) {
            let module = arguments.get(at + 1)?;
            let rest = arguments.get(at + 2..)?;
            return application_of(module, rest).or_else(|| Some(module.clone()));
        }
    }
    let name = script(arguments, &["-W", "-X", "--check-hash-based-pycs"], &["-c"])?;
    let at = arguments.iter().position(|argument| base(argument) == name)?;
    application_of(&name, arguments.get(at + 1..)?).or(Some(name))
}

/// Servers that run an application named `module:object`.
fn application_of(server: &str, arguments: &[String]) -> Option<String> {
    matches!(server, "gunicorn" | "uvicorn" | "hypercorn").then(|| application(arguments))?
}

fn application(arguments: &[String]) -> Option<String> {
    let name = arguments.iter().find(|argument| {
        !argument.starts_with('-')
            && argument.split_once(':').is_some_and(|(module, object)| {
                let word = |text: &str| {
                    text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.()".contains(&byte))
                };
                word(module) && word(object)
            })
    })?;
    name.split_once(':').map(|(module, _)| module.to_owned())
}

fn php(arguments: &[String]) -> Option<String> {
    if let Some(at) = arguments.iter().position(|argument| argument == "-f") {
        return arguments.get(at + 1).map(|path| base(path).to_owned());
    }
    script(arguments, &["-S", "-t", "-c", "-d", "-z"], &["-r", "-a"])
}

fn java(arguments: &[String]) -> Option<String> {
    const WITH_VALUE: &[&str] =
        &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "--add-opens", "--add-exports"];
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-jar" => return rest.next().map(|path| jar(base(path)).to_owned()),
            "-m" | "--module" => {
                return rest.next().map(|module| module.split('/').next().unwrap_or(module).to_owned());
            }
            option if WITH_VALUE.contains(&option) => drop(rest.next()),
            option if option.starts_with('-') || option.starts_with('@') => {}
            source if source.ends_with(".java") => return Some(base(source).trim_end_matches(".java").to_owned()),
            class => return class.rsplit('.').next().map(str::to_owned),
        }
    }
    None
}

/// `shop-1.2.3-SNAPSHOT.jar` is `shop`.
fn jar(file: &str) -> &str {
    let name = file.strip_suffix(".jar").unwrap_or(file);
    let version = name.match_indices('-').find(|&(at, _)| {
        name.get(at + 1..).and_then(|rest| rest.bytes().next()).is_some_and(|byte| byte.is_ascii_digit())
    });
    version.and_then(|(at, _)| name.get(..at)).filter(|name| !name.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(arguments: &[&str]) -> String {
        let evidence = Evidence {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            executable: "the-executable".to_owned(),
            comm: "the-comm".to_owned(),
            ..Evidence::default()
        };
        name(&evidence, &BTreeMap::new()).service
    }

    #[test]
    fn names_what_interpreters_run() {
        for (arguments, wanted) in [
            (&["python3", "/srv/shop.py", "--port", "80"][..], "shop.py"),
            (&["/usr/bin/python3.11", "-u", "-W", "ignore", "app.py"], "app.py"),
            (&["python3", "-m", "http.server", "80"], "http.server"),
            (&["python3", "tool.py", "-m", "x"], "tool.py"),
            (&["python3", "-c", "import x"], "python3"),
            (&["python3", "/usr/bin/gunicorn", "-w", "4", "-b", "0.0.0.0:80", "shop.wsgi:app"], "shop.wsgi"),
            (&["python3", "-m", "uvicorn", "main:app"], "main"),
            (&["gunicorn: master [shop]"], "gunicorn"),
            (&["node", "--require", "./trace.js", "/srv/server.js"], "server.js"),
            (&["node", "-e", "1"], "node"),
            (&["php", "-S", "127.0.0.1:80", "-t", "/srv", "shop.php"], "shop.php"),
            (&["php", "-S", "127.0.0.1:80"], "php"),
            (&["php-fpm: pool www"], "php-fpm-www"),
            (&["php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)"], "php-fpm"),
            (&["ruby", "-I", "lib", "bin/web"], "web"),
            (&["dotnet", "/app/Shop.dll"], "Shop"),
            (&["java", "-Xmx1g", "-jar", "/opt/shop-1.2.3-SNAPSHOT.jar", "x"], "shop"),
            (&["java", "-cp", "a:b", "com.example.Shop", "x"], "Shop"),
            (&["java", "/srv/Shop.java"], "Shop"),
            (&["java", "-m", "com.example/com.example.Main"], "com.example"),
        ] {
            assert_eq!(named(arguments), wanted, "{arguments:?}");
        }
    }

    #[test]
    fn names_programs_and_all_their_workers_alike() {
        for (arguments, wanted) in [
            (&["nginx: worker process"][..], "nginx"),
            (&["nginx: master process /usr/sbin/nginx -g daemon off;"], "nginx"),
            (&["redis-server 127.0.0.1:6379"], "redis-server"),
            (&["/usr/sbin/dnsmasq", "-k"], "dnsmasq"),
            (&["-bash"], "bash"),
            (&["postgres: shop shop 127.0.0.1(4) idle"], "postgres"),
            (&["./shop-go", "80"], "shop-go"),
            (&["\u{1}\u{2}"], "the-executable"),
            (&[], "the-executable"),
        ] {
            assert_eq!(named(arguments), wanted, "{arguments:?}");
        }
    }

    fn with(environment: &[(&str, &str)]) -> Evidence {
        Evidence {
            arguments: vec!["nginx".to_owned()],
            comm: "nginx".to_owned(),
            environment: environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..Evidence::default()
        }
    }

    #[test]
    fn what_people_say_comes_before_what_is_inferred() {
        let none = BTreeMap::new();
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=my%20shop,service.namespace=eu,x=%zz");
        assert_eq!(name(&with(&[attributes]), &none), Name { service: "my shop".into(), namespace: "eu".into() });
        let both = with(&[attributes, ("OTEL_SERVICE_NAME", "direct")]);
        assert_eq!(name(&both, &none).service, "direct");
        let configured = BTreeMap::from([("nginx".to_owned(), "edge".to_owned())]);
        assert_eq!(name(&both, &configured).service, "edge");
        assert_eq!(name(&with(&[("OTEL_SERVICE_NAME", "")]), &none).service, "nginx", "empty is as if unset");
    }

    #[test]
    fn a_pod_names_its_workload_and_a_container_is_named_by_its_runtime() {
        let none = BTreeMap::new();
        let mut evidence = with(&[("HOSTNAME", "shop-6d4cf56db6-x2v9k"), ("POD_NAMESPACE", "prod")]);
        assert_eq!(name(&evidence, &none).service, "nginx", "outside of a pod a host name names no service");
        evidence.container_name = "shop_web_1".to_owned();
        assert_eq!(name(&evidence, &none).service, "shop_web_1");
        evidence.container.pod_uid = "uid".to_owned();
        assert_eq!(name(&evidence, &none), Name { service: "shop".into(), namespace: "prod".into() });
    }

    #[test]
    fn names_are_cut_at_their_bound() {
        let long = "é".repeat(MAX_NAME);
        let service = name(&with(&[("OTEL_SERVICE_NAME", &format!("x{long}"))]), &BTreeMap::new()).service;
        assert_eq!(service.len(), MAX_NAME - 1);
    }
}
