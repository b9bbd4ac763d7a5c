//! The services of the demo as child processes of this one.
//!
//! The parent binds their sockets and hands each its own as standard input, so that everybody's address is known before
//! anybody runs, and no port is taken by somebody else in between. Life cycle: [`Ensemble::start`] -> the probe is attached ->
//! [`Ensemble::begin`] -> [`Ensemble::check`] now and then -> dropped.
//!
//! **Invariant:** nothing is left behind. Dropped (also by a panic), the services are killed and waited for, and the cgroup is
//! removed. After a SIGKILL of this process the kernel kills the services (PR_SET_PDEATHSIG, which each asks for itself), and
//! the keeper, which holds the other end of a pipe, ends what is left in the cgroup and removes it. Services have process
//! groups of their own, so that a Ctrl-C reaches only this process, which ends them in order.

use super::cgroup::Cgroup;
use super::service::{Role, SERVICE};
use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What none of them could be started with.
const FAILED: &str = "cannot start a service of the demo";

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// Everything in here.
    Cgroup(PathBuf),
    /// These; where there is no cgroup v2.
    Processes(Vec<u32>),
}

/// All of them.
#[derive(Debug)]
pub(super) struct Ensemble {
    services: Vec<(Role, Child)>,
    /// What the visitors wait on.
    go: Option<ChildStdin>,
    cgroup: Option<Cgroup>,
    /// Waits for the end of its standard input.
    keeper: Option<Child>,
}

impl Ensemble {
    /// Starts them. No request is made yet.
    pub(super) fn start() -> Result<Self> {
        let mut ensemble = Self { services: Vec::new(), go: None, cgroup: Cgroup::make(), keeper: None };
        if ensemble.cgroup.is_some() {
            // First, so that there is no moment in which nobody would clear the cgroup.
            ensemble.keeper = Some(ensemble.command(Role::Keeper, &[]).stdin(Stdio::piped()).spawn().context(FAILED)?);
        }
        let tcp = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1");
        let (shop, payment, stock, cache) = (tcp()?, tcp()?, tcp()?, tcp()?);
        let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        let addresses = [
            ("--shop", shop.local_addr()?),
            ("--payment", payment.local_addr()?),
            ("--stock", stock.local_addr()?),
            ("--cache", cache.local_addr()?),
            ("--names", names.local_addr()?),
        ];
        for (role, socket) in [
            (Role::Names, OwnedFd::from(names)),
            (Role::Cache, cache.into()),
            (Role::Stock, stock.into()),
            (Role::Payment, payment.into()),
            (Role::Shop, shop.into()),
        ] {
            let child = ensemble.command(role, &addresses).stdin(socket).spawn().context(FAILED)?;
            ensemble.services.push((role, child));
        }
        let mut visitors =
            ensemble.command(Role::Visitors, &addresses).stdin(Stdio::piped()).spawn().context(FAILED)?;
        ensemble.go = visitors.stdin.take();
        ensemble.services.push((Role::Visitors, visitors));
        Ok(ensemble)
    }

    fn command(&self, role: Role, addresses: &[(&str, SocketAddr)]) -> Command {
        // This program; by another name where its file has been replaced.
        let program = std::env::current_exe().ok().filter(|path| path.is_file());
        let mut command = Command::new(program.unwrap_or_else(|| PathBuf::from("/proc/self/exe")));
        command.arg0("redtap").args([SERVICE, role.name(), "--parent", &std::process::id().to_string()]);
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(cgroup.path());
        }
        for (name, address) in addresses {
            command.args([*name, &address.to_string()]);
        }
        command.env_clear().env("OTEL_SERVICE_NAME", role.name()).process_group(0).stdout(Stdio::null());
        command
    }

    /// What the agent is to watch.
    pub(super) fn selection(&self) -> Selection {
        match &self.cgroup {
            Some(cgroup) => Selection::Cgroup(cgroup.path().to_owned()),
            None => Selection::Processes(self.services.iter().map(|(_, child)| child.id()).collect()),
        }
    }

    /// The visitors may come.
    pub(super) fn begin(&mut self) -> Result<()> {
        let mut go = self.go.take().context("the visitors came before")?;
        go.write_all(b"\n").context("the visitors are gone")
    }

    /// An error when one of them has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        for (role, child) in &mut self.services {
            if let Some(status) = child.try_wait()? {
                bail!("the service {} of the demo has ended ({status}); start the demo anew", role.name());
            }
        }
        Ok(())
    }

    /// Ends the services, those that ask first.
    pub(super) fn end(&mut self) {
        for (_, mut child) in self.services.drain(..).rev() {
            // One that has ended by itself is only waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        self.end();
        drop(self.cgroup.take());
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}
