//! Metadata against real processes, sockets and the real /proc.
#![expect(clippy::unwrap_used, reason = "in tests a panic is a failure")]

use redtap::metadata::local::{addresses, listeners, sockets};
use redtap::metadata::{Found, MAX_SEARCHED, Resolver, ResolverSettings};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that has printed a line, so that it has become the program it is to be.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "here\n");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn end(mut self) -> u32 {
        let pid = self.pid();
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        pid
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const WAIT: &str = "import sys\nprint('here', flush=True)\nsys.stdin.read()\n";

fn script(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, WAIT).unwrap();
    path.display().to_string()
}

fn resolver(services: &[(&str, &str)]) -> Resolver {
    let services: BTreeMap<String, String> = services.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
    Resolver::new(ResolverSettings { services, ..ResolverSettings::default() })
}

fn service(found: &Found) -> &str {
    &found.identity.service
}

#[test]
fn names_a_script_by_its_file_and_by_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "shop.py");
    let mut resolver = resolver(&[]);
    let plain = Running::start(Command::new("python3").arg(&path));
    let found = resolver.look_up(plain.pid()).unwrap();
    assert_eq!(service(&found), "shop.py");
    assert!(found.identity.process.starts_with("python3"), "{}", found.identity.process);
    assert_eq!(&*found.identity.host, std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    let mut named = Command::new("python3");
    named.arg(&path).env("OTEL_RESOURCE_ATTRIBUTES", "service.name=till,service.namespace=eu");
    let named = Running::start(&mut named);
    let found = resolver.look_up(named.pid()).unwrap();
    assert_eq!((service(&found), &*found.identity.namespace), ("till", "eu"));
}

#[test]
fn configured_names_win() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("python3");
    command.arg(script(dir.path(), "shop.py")).env("OTEL_SERVICE_NAME", "till");
    let running = Running::start(&mut command);
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", running.pid())).unwrap();
    assert_eq!(service(&resolver(&[(comm.trim(), "edge")]).look_up(running.pid()).unwrap()), "edge");
    assert_eq!(service(&resolver(&[]).look_up(running.pid()).unwrap()), "till");
}

#[test]
fn a_shell_that_becomes_another_program_is_named_anew() {
    let mut resolver = resolver(&[]);
    let mut command = Command::new("sh");
    command.arg("-c").arg("echo here; read line; echo again; exec sleep 1000");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "here");
    assert_eq!(service(&resolver.look_up(child.id()).unwrap()), "sh");
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "again");
    // The exec follows the line at once; wait for what is to be seen, not for a time.
    while std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    assert_eq!(service(&resolver.look_up(child.id()).unwrap()), "sleep");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn tells_which_processes_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(dir.path(), "a.py");
    let mut resolver = resolver(&[]);
    let stays = Running::start(Command::new("setsid").arg("python3").arg(&path));
    let goes = Running::start(Command::new("python3").arg(&path));
    let first = resolver.look_up(stays.pid()).unwrap();
    let second = resolver.look_up(goes.pid()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first.identity, &second.identity), "processes alike share one identity");
    assert!(resolver.gone().is_empty());
    let pid = goes.end();
    assert_eq!(resolver.gone(), [pid]);
    assert_eq!(resolver.look_up(pid), None);
    assert_eq!(resolver.stats().missed, 1);
    assert_eq!(&*resolver.by_name("curl").service, "curl");
    assert_eq!(resolver.stats().known, 1);
}

#[test]
fn a_zombie_is_gone() {
    let mut child = Command::new("true").spawn().unwrap();
    let mut resolver = resolver(&[]);
    while !std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    assert_eq!(resolver.look_up(child.id()), None);
    child.wait().unwrap();
}

#[test]
fn finds_what_listens_and_not_what_is_connected() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let udp = (21_540..21_560).find_map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()).unwrap();
    let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let found: Vec<_> =
        listeners(Path::new("/proc"), std::iter::once(std::process::id())).into_iter().map(|one| one.address).collect();
    for address in [tcp.local_addr().unwrap(), six.local_addr().unwrap(), udp.local_addr().unwrap()] {
        assert_eq!(found.iter().filter(|&&one| one == address).count(), 1, "{address} in {found:?}");
    }
    assert!(!found.contains(&client.local_addr().unwrap()));
}

#[test]
fn finds_who_holds_a_listening_socket() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listening = listeners(Path::new("/proc"), std::iter::empty());
    let one = listening.iter().find(|one| one.address == tcp.local_addr().unwrap()).unwrap();
    assert!(sockets(Path::new("/proc"), std::process::id()).contains(&one.inode));
    assert!(!sockets(Path::new("/proc"), 1).contains(&one.inode));
    drop(tcp);
    assert!(!sockets(Path::new("/proc"), std::process::id()).contains(&one.inode));
}

#[test]
fn finds_the_addresses_of_this_host() {
    let found = addresses(Path::new("/proc"));
    assert!(found.contains(&Ipv4Addr::LOCALHOST.into()), "{found:?}");
    assert!(!found.contains(&Ipv4Addr::UNSPECIFIED.into()));
}

#[test]
fn who_listens_is_known_before_anybody_asks() {
    let _socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut resolver = resolver(&[]);
    resolver.know_listeners();
    let own = std::process::id();
    let (_, identity) = resolver.processes().find(|(pid, _)| *pid == own).expect("this process listens");
    assert!(identity.process.starts_with("metadata"), "{identity:?}");
    assert!(resolver.processes().count() < MAX_SEARCHED);
    let plain = Running::start(Command::new("sh").arg("-c").arg("echo here; exec sleep 1000"));
    resolver.know_listeners();
    assert!(resolver.processes().all(|(pid, _)| pid != plain.pid()), "one that does not listen is not looked at");
}
