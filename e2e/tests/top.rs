//! `redtap top` under tmux, on the agent of a `redtap demo`: what is on the screen is what the agent says, and the terminal is as
//! before when it ends.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use redtap_e2e::agent::{Agent, binary};
use redtap_e2e::can_run;
use redtap_e2e::prometheus::Metrics;
use redtap_e2e::sandbox::{Sandbox, free_port, get};
use redtap_e2e::servers::nginx::Nginx;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A tmux server of its own, with one pane.
struct Pane {
    socket: std::path::PathBuf,
}

impl Pane {
    /// Runs `command` in a shell, which says its exit status and waits.
    fn open(folder: &std::path::Path, (width, height): (u16, u16), command: &str) -> Self {
        let pane = Self { socket: folder.join("tmux") };
        let script = format!("{command}; echo \"ended with $?\"; stty -a | grep -o -- '-\\?icanon'; exec sleep 60");
        pane.tmux(&[
            "new-session",
            "-d",
            "-x",
            &width.to_string(),
            "-y",
            &height.to_string(),
            "/bin/sh",
            "-c",
            &script,
        ]);
        pane
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.socket.to_str().unwrap();
        let output = Command::new("tmux").args(["-f", "/dev/null", "-S", socket]).args(arguments).output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// The screen, once it is as wanted; an assertion with the last one if it is not within 30 s.
    fn screen(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        for _ in 0..300 {
            screen = self.tmux(&["capture-pane", "-p"]);
            if wanted(&screen) {
                return screen;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("not on the screen:\n{screen}");
    }

    /// The process of `redtap top`: the child of the shell.
    fn top(&self) -> Pid {
        let shell = self.tmux(&["list-panes", "-F", "#{pane_pid}"]);
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        Pid::from_raw(std::fs::read_to_string(children).unwrap().trim().parse().unwrap()).unwrap()
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        let socket = self.socket.to_str().unwrap_or_default();
        drop(Command::new("tmux").args(["-S", socket, "kill-server"]).output());
    }
}

/// Ended with SIGINT, so that it leaves nothing behind.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::INT);
        }
        drop(self.0.wait());
    }
}

/// The row that is about this, in words; its sign and choice left out.
fn row<'a>(screen: &'a str, first: &str) -> Vec<&'a str> {
    let words = |line: &'a str| line.trim_start_matches(['>', '!', '~', ' ']).split_whitespace().collect::<Vec<_>>();
    screen.lines().map(words).find(|words| words.first() == Some(&first)).unwrap_or_default()
}

/// The rate in the row, if it has one.
fn rate(row: &[&str]) -> f64 {
    row.iter().filter(|word| word.contains('.')).find_map(|word| word.parse().ok()).unwrap_or(0.0)
}

#[test]
fn screens_of_a_running_agent_are_what_it_says() {
    if !can_run(&["tmux", "stty"]) {
        return;
    }
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
    let address = format!("127.0.0.1:{port}");
    let top = format!("{} top --address {address}", binary().display());
    // Nobody answers yet: it says so, and what to do; then the agent comes.
    let pane = Pane::open(folder.path(), (80, 24), &top);
    pane.screen(|screen| screen.contains("no agent answers") && screen.contains("redtap run"));
    let demo = Command::new(binary())
        .args(["demo", "--listen", &address])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let demo = Demo(demo);
    let services = ["shop", "payment", "stock", "cache", "names", "visitors"];
    let screen = pane.screen(|screen| services.iter().all(|name| rate(&row(screen, name)) > 0.0));
    assert!(screen.starts_with(&format!("redtap top  {address}  last 1m  rung ")), "{screen}");
    assert!(screen.contains("captured 100.00%") && screen.contains("[1 Services]"), "{screen}");
    assert!(screen.contains("req/s errors     p50     p90     p99"), "{screen}");
    assert_eq!(row(&screen, "visitors")[1..3], ["calls", "http"]);
    assert!(row(&screen, "payment").last().unwrap().ends_with("ms"), "{screen}");
    // Worst first, as the agent orders them.
    let (status, body) = get(port, "/api/v1/services?last=1m", "application/json").unwrap();
    assert_eq!(status, 200);
    let report: serde_json::Value = serde_json::from_str(&body).unwrap();
    let shop = report["services"].as_array().unwrap().iter().find(|row| row["service"] == "shop").unwrap();
    // Both of the last minute, a second or a step apart: the pace of the visitors is steady.
    let (shown, told) = (rate(&row(&screen, "shop")), shop["served"]["requests_per_second"].as_f64().unwrap());
    assert!((shown - told).abs() < 0.5 * told, "{shown} on the screen, {told} by the API");

    // The endpoints of the shop, on both sides.
    pane.keys(&["/", "s", "h", "o", "p", "Enter"]);
    pane.screen(|screen| screen.contains("filter: shop") && row(screen, "payment").is_empty());
    pane.keys(&["Enter"]);
    let screen = pane.screen(|screen| screen.contains("[2 Endpoints of shop]") && screen.contains("/products/{id}"));
    for endpoint in ["GET /products/{id}", "POST /orders", "POST /charges", "stock.v1.Stock/Check"] {
        assert!(screen.contains(endpoint), "{endpoint}:\n{screen}");
    }
    pane.keys(&["3"]);
    let edges = [["shop", "cache"], ["payment", "cache"], ["shop", "payment"], ["shop", "stock"], ["visitors", "shop"]];
    let words =
        |line: &str| line.replace(['>', '!', '~'], "").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let has =
        |screen: &str, edge: &[&str; 2]| screen.lines().any(|line| words(line).starts_with(&edge.map(str::to_owned)));
    pane.screen(|screen| edges.iter().all(|edge| has(screen, edge)));
    pane.keys(&["4"]);
    pane.screen(|screen| {
        screen.contains("POST /orders") && screen.contains("-> payment") && screen.contains("<- visitors")
    });
    pane.keys(&["?"]);
    pane.screen(|screen| screen.contains("share that failed"));
    pane.keys(&["Escape"]);
    // Smaller, and it fits.
    pane.keys(&["1"]);
    pane.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    let screen = pane.screen(|screen| screen.contains("[1 Services] 2  3  4") && rate(&row(screen, "shop")) > 0.0);
    assert!(screen.lines().count() <= 10 && screen.lines().all(|line| line.chars().count() <= 40), "{screen}");
    pane.keys(&["q"]);
    let screen = pane.screen(|screen| screen.contains("ended with 0") && screen.contains("icanon"));
    assert!(!screen.contains("SERVICE") && !screen.contains("-icanon"), "the terminal is as before:\n{screen}");

    let (_, metrics) = get(port, "/metrics", "text/plain").unwrap();
    assert_eq!(Metrics::parse(&metrics).sum("redtap_capture_ratio", &[]), 1);
    drop(demo);
}

#[test]
fn with_a_probe_of_its_own_until_a_signal() {
    if !can_run(&["tmux", "stty", "nginx", "wrk"]) {
        return;
    }
    let sandbox = Sandbox::new("top").unwrap();
    let nginx = Nginx::start(&sandbox, 1).unwrap();
    let top = format!("NO_COLOR=1 {} top --own --cgroup {}", binary().display(), sandbox.cgroup().display());
    let pane = Pane::open(sandbox.folder(), (80, 24), &top);
    pane.screen(|screen| screen.contains("its own probe") && screen.contains("rung "));
    sandbox.run("wrk", &["-t", "1", "-c", "2", "-d", "7s", &nginx.url("/static/a.html")]).unwrap();
    let screen =
        pane.screen(|screen| rate(&row(screen, "nginx")) + rate(&row(screen, "wrk")) > 0.0 || screen.contains("nginx"));
    assert_eq!(row(&screen, "nginx")[1..3], ["serves", "http"]);
    pane.keys(&["4"]);
    pane.screen(|screen| screen.contains("GET /static/a.html"));
    // Nothing of it is coloured.
    let coloured = pane.tmux(&["capture-pane", "-p", "-e"]);
    let colours = (1..8).flat_map(|colour| [format!("[3{colour}m"), format!(";3{colour}m"), format!("[9{colour}m")]);
    let colours: Vec<String> = colours.filter(|colour| coloured.contains(colour)).collect();
    assert!(colours.is_empty() && coloured.contains("[1m"), "{colours:?}: {coloured:?}");
    kill_process(pane.top(), Signal::TERM).unwrap();
    let screen = pane.screen(|screen| screen.contains("ended with 0") && screen.contains("icanon"));
    assert!(!screen.contains("TIME UTC") && !screen.contains("-icanon"), "the terminal is as before:\n{screen}");
}

#[test]
fn says_what_is_missing_without_a_terminal() {
    if !can_run(&["timeout"]) {
        return;
    }
    let sandbox = Sandbox::new("top").unwrap();
    let agent = Agent::start(&sandbox, &[]).unwrap();
    let address = format!("127.0.0.1:{}", agent.port());
    let said = redtap_e2e::cli::redtap(sandbox.folder(), &["top", "--address", &address]).unwrap();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("needs a terminal") && said.err.contains("/api/v1/services"), "{}", said.err);
    agent.stop().unwrap();
}
