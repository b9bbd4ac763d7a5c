//! `redtap demo-service`: one service of the demo, a process of its own; hidden, because only `redtap demo` starts it.
//!
//! Life cycle: it asks the kernel to end it with its parent, enters the demo's cgroup, takes the socket that it finds as
//! standard input (bound by the parent, so that addresses are known before anybody runs), and serves until it is ended.
//!
//! Bounds: [`MAX_CONNECTIONS`] connections a service, answers of a few bytes, traffic that [`visitors`] alone make.
//! Absent: anything of the agent. What is served is made up.

mod cache;
mod keeper;
mod names;
mod payment;
mod shop;
mod stock;
mod visitors;
mod web;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

/// The first word of its command line.
pub(crate) const SERVICE: &str = "demo-service";
/// Most connections that a service has open; more are closed at once.
pub(super) const MAX_CONNECTIONS: usize = 32;

/// Who is who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Asks the shop for products, and orders.
    Visitors,
    /// HTTP: asks everybody else.
    Shop,
    /// HTTP: slow, and fails at times.
    Payment,
    /// gRPC.
    Stock,
    /// Speaks Redis.
    Cache,
    /// DNS.
    Names,
    /// Serves nothing: removes the cgroup when the parent is gone.
    Keeper,
}

impl Role {
    /// As it is shown, and as the command line takes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Visitors => "visitors",
            Self::Shop => "shop",
            Self::Payment => "payment",
            Self::Stock => "stock",
            Self::Cache => "cache",
            Self::Names => "names",
            Self::Keeper => "keeper",
        }
    }
}

/// What a service is told.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = SERVICE)]
pub(crate) struct Service {
    /// Which.
    #[arg(value_enum)]
    role: Role,
    /// The process that it ends with.
    #[arg(long)]
    parent: i32,
    /// The cgroup to enter.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Where the shop is.
    #[arg(long)]
    shop: Option<SocketAddr>,
    /// Where payment is.
    #[arg(long)]
    payment: Option<SocketAddr>,
    /// Where the stock is.
    #[arg(long)]
    stock: Option<SocketAddr>,
    /// Where the cache is.
    #[arg(long)]
    cache: Option<SocketAddr>,
    /// Where names are resolved.
    #[arg(long)]
    names: Option<SocketAddr>,
}

/// Runs one until it is ended.
pub(crate) fn service(options: &Service) -> Result<ExitCode> {
    let known = |address: Option<SocketAddr>| address.context("an address is missing; `redtap demo` gives them");
    if options.role == Role::Keeper {
        keeper::keep(options.cgroup.as_deref());
        return Ok(ExitCode::SUCCESS);
    }
    end_with(options.parent)?;
    if let Some(cgroup) = &options.cgroup {
        // 0 is who writes it.
        std::fs::write(cgroup.join("cgroup.procs"), "0")
            .with_context(|| format!("cannot enter {}", cgroup.display()))?;
    }
    match options.role {
        Role::Visitors => visitors::run(known(options.shop)?)?,
        Role::Shop => shop::run(
            listener()?,
            shop::Peers {
                payment: known(options.payment)?,
                stock: known(options.stock)?,
                cache: known(options.cache)?,
                names: known(options.names)?,
            },
        )?,
        Role::Payment => payment::run(&listener()?, known(options.cache)?)?,
        Role::Stock => stock::run(listener()?)?,
        Role::Cache => cache::run(&listener()?)?,
        Role::Names => names::run(&UdpSocket::from(standard_input()?))?,
        Role::Keeper => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// From now on the kernel ends this process when its parent ends, however that happens (PR_SET_PDEATHSIG, prctl(2)).
fn end_with(parent: i32) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot be ended with the demo")?;
    // It may have ended before the kernel knew.
    ensure!(getppid().map(Pid::as_raw_pid) == Some(parent), "the demo that started this has ended");
    Ok(())
}

fn standard_input() -> Result<OwnedFd> {
    std::io::stdin().as_fd().try_clone_to_owned().context("there is no socket as standard input")
}

fn listener() -> Result<TcpListener> {
    Ok(TcpListener::from(standard_input()?))
}
