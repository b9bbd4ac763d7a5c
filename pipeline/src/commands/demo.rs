//! `redtap demo`: a handful of small real services with traffic between them on loopback, watched by a real agent.
//!
//! Life cycle: services are started ([`ensemble`]) -> an agent that watches exactly them -> visitors begin -> a signal, or the
//! end of a service -> all of it is ended, the cgroup too. Whatever is configured for other agents is not read.
//!
//! Absent: the services themselves, which are [`service`]; anything that listens elsewhere than on loopback, but for the
//! agent's endpoint when it is told to.

mod cgroup;
mod ensemble;
mod service;

pub(super) use service::{SERVICE, Service, service};

use super::run::{Around, run_within};
use anyhow::Result;
use ensemble::{Ensemble, Selection};
use redtap::http::HttpError;
use redtap::settings::{self, Flag, Settings, Sources};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  sudo redtap demo                               then open the address that it prints
  sudo redtap demo --listen 127.0.0.1:8080       with the pages at another port
  redtap top                                     the same in a second terminal
  redtap tail --status error                     and what fails, as it happens

What is started listens on loopback only, and ends with the demo.";

const NEEDS: &str = "the demo needs what `redtap run` needs: root (try `sudo redtap demo`) and a kernel that lets it watch; \
    `redtap doctor` says what is missing here, and `redtap replay FILE` shows a capture without any of it";

/// What `demo` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// Address of the HTTP endpoint; otherwise 127.0.0.1:9464, or a free port if that is taken.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Which hooks to use: auto, socket or syscall.
    #[arg(long)]
    rung: Option<String>,
}

/// Runs it until a signal.
pub(super) fn demo(options: &Demo) -> Result<ExitCode> {
    let mut ensemble = Ensemble::start()?;
    let settings = settings(options, &ensemble.selection())?;
    let mut shown = Shown { ensemble: &mut ensemble, begun: false };
    let ended = run_within(&settings, false, &mut shown);
    // What fails later, or because of an address, says by itself what to do.
    let apart = shown.begun;
    ended.map_err(|error| if apart || error.is::<HttpError>() { error } else { error.context(NEEDS) })
}

/// The settings of its agent: those that everybody has, but for what is said here.
fn settings(options: &Demo, selection: &Selection) -> Result<Settings> {
    let flag = |path, name, values| Flag { path, name, values };
    let mut flags = vec![
        // What it has to say is said here.
        flag("log.level", "log.level", vec!["warn".to_owned()]),
        // There is little to do, and it is bounded: nothing to save.
        flag("governor.cpu", "--governor-cpu", vec!["0".to_owned()]),
        // The demo's names are worth seeing, and few.
        flag("converge.dns_labels", "converge.dns_labels", vec!["3".to_owned()]),
        match selection {
            Selection::Cgroup(path) => flag("probe.allow.cgroup", "--cgroup", vec![path.display().to_string()]),
            Selection::Processes(pids) => {
                flag("probe.allow.process", "--process", pids.iter().map(ToString::to_string).collect())
            }
        },
    ];
    flags.extend(options.rung.iter().map(|rung| flag("probe.rung", "--rung", vec![rung.clone()])));
    flags.extend(listen(options).map(|address| flag("http.listen", "--listen", vec![address])));
    let sources = Sources { flags, ..Sources::default() };
    Ok(settings::load(&sources)?.settings)
}

/// As asked for; without a wish the usual address, unless somebody else has it.
fn listen(options: &Demo) -> Option<String> {
    if let Some(address) = options.listen {
        return Some(address.to_string());
    }
    let usual = settings::keys::find("http.listen")?.default;
    TcpListener::bind(usual).is_err().then(|| "127.0.0.1:0".to_owned())
}

/// Says what there is to see, and notices when a service has ended.
struct Shown<'a> {
    ensemble: &'a mut Ensemble,
    begun: bool,
}

impl Around for Shown<'_> {
    fn begun(&mut self, address: SocketAddr) -> Result<()> {
        self.begun = true;
        self.ensemble.begin()?;
        // Who reads this may be gone; the demo goes on.
        let _ = std::io::stdout().lock().write_all(introduction(address).as_bytes());
        Ok(())
    }

    fn goes_on(&mut self) -> Result<()> {
        self.ensemble.check()
    }

    /// Before the agent, so that it sees the last answers and then nothing more.
    fn ending(&mut self) {
        self.ensemble.end();
    }
}

fn introduction(address: SocketAddr) -> String {
    let usual = settings::keys::find("http.listen").is_some_and(|key| key.default == address.to_string());
    let where_to = if usual { String::new() } else { format!(" --address {address}") };
    format!(
        "redtap demo: five small services and their visitors, on loopback; redtap watches their sockets and nothing else.

    http://{address}/    open this
    http://{address}/metrics    the same for Prometheus
    redtap top{where_to}    or this, in another terminal
    redtap tail{where_to} --status error

What there is to see
    visitors -> shop       HTTP   GET /search takes 250 to 900 ms; some products are not there (404)
    shop     -> cache      Redis  a few errors that no visitor notices (INCR of a text)
    shop     -> stock      gRPC   stock.v1.Stock/Check; one of 25 fails with UNAVAILABLE
    shop     -> names      DNS    at times a name that does not exist (NXDOMAIN)
    shop     -> payment    HTTP   POST /charges is slow, and one of 10 fails (503; the order, too: 502)
    payment  -> cache      Redis
Who looks at products sends a trace context (traceparent); who orders does not, and the calls are tied all the same.

Ctrl-C ends all of it.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use redtap::settings::ProcessChoice;

    #[test]
    fn its_agent_watches_the_services_and_nothing_else() {
        let options = Demo { listen: Some("127.0.0.1:1".parse().unwrap()), rung: Some("socket".to_owned()) };
        let of = |selection| settings(&options, &selection).unwrap();
        let settings = of(Selection::Cgroup("/sys/fs/cgroup/redtap-demo-1".into()));
        assert_eq!(settings.probe.allow.cgroups, ["/sys/fs/cgroup/redtap-demo-1"]);
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:1");
        let settings = of(Selection::Processes(vec![7, 8]));
        assert_eq!(settings.probe.allow.processes, [ProcessChoice::Pid(7), ProcessChoice::Pid(8)]);
        assert!(settings.probe.allow.cgroups.is_empty());
    }

    #[test]
    fn says_how_to_reach_an_agent_at_another_port() {
        assert!(introduction("127.0.0.1:9464".parse().unwrap()).contains("redtap top    or this"));
        assert!(introduction("127.0.0.1:8080".parse().unwrap()).contains("redtap top --address 127.0.0.1:8080 "));
    }
}
