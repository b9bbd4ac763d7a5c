//! A cgroup of its own, and processes that are born in it.

use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Where the cgroup v2 hierarchy is mounted, if anywhere.
#[must_use]
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let folder = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(folder))
    })
}

/// The program of that name, looked for where Debian puts servers as well.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // PostgreSQL has a folder for each of its versions.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .chain(versions.map(|version| version.path().join("bin")))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A port of the proving ground that nobody listens on. Each call gives another one, in other processes too, as long as this one lives.
///
/// # Errors
/// When all are taken.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // A server may take seconds until it listens: what is given away is locked against other test files that run beside this one.
    static GIVEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    // Test files run one after the other, but not on the same second: begin at a place of their own.
    let first = u16::try_from(std::process::id() % 400).unwrap_or(0);
    for _ in 0..900 {
        let port = 22_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 900;
        let Some(lock) = lock(&std::env::temp_dir(), port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            GIVEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return Ok(port);
        }
    }
    bail!("no port between 22000 and 22899 is free and can be locked in {}", std::env::temp_dir().display())
}

/// Locks a port, if nobody else has. A file of another user cannot even be opened in a folder that all may write to
/// (`fs.protected_regular`): its port is theirs.
fn lock(folder: &Path, port: u16) -> Option<File> {
    let file = File::create(folder.join(format!("redtap-port-{port}"))).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// A cgroup, a folder, and the processes in them. All gone when dropped.
#[derive(Debug)]
pub struct Sandbox {
    cgroup: PathBuf,
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// A new one; `name` only helps to recognise it.
    ///
    /// # Errors
    /// When the cgroup or the folder cannot be made (needs root and cgroup v2).
    pub fn new(name: &str) -> Result<Self> {
        let root = cgroup_root().context("no cgroup v2 hierarchy is mounted")?;
        let folder = tempfile::Builder::new().prefix(&format!("redtap-{name}-")).tempdir()?;
        // Servers that drop their privileges must still enter it.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let cgroup = root.join(folder.path().file_name().context("a folder without a name")?);
        std::fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        Ok(Self { cgroup, folder })
    }

    /// One whose cgroup lies below this one's; it must go first.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn below(&self, name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("redtap-{name}-")).tempdir()?;
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let cgroup = self.cgroup.join(name);
        std::fs::create_dir(&cgroup).with_context(|| format!("cannot make {}", cgroup.display()))?;
        Ok(Self { cgroup, folder })
    }

    /// The cgroup's directory, for the agent's filter.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A folder for the servers' files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder and gives its path.
    ///
    /// # Errors
    /// As writing does.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// A command that is born in the cgroup: a shell moves itself there before it becomes the program.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Result<Command> {
        let path = if program.contains('/') {
            PathBuf::from(program)
        } else {
            find(program).with_context(|| format!("no {program}"))?
        };
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.cgroup)
            .arg(path)
            .args(arguments)
            .current_dir(self.folder())
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a server; its output goes to a file named after it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, program: &str, arguments: &[&str]) -> Result<Proc> {
        self.start_with(name, program, arguments, &[])
    }

    /// The same with environment variables.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(&self, name: &str, program: &str, arguments: &[&str], env: &[(&str, &str)]) -> Result<Proc> {
        let log = self.folder().join(format!("{name}.log"));
        let out = std::fs::File::create(&log)?;
        let child = self
            .command(program, arguments)?
            .envs(env.iter().copied())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Proc { child, name: name.to_owned(), log })
    }

    /// Runs a client to its end, at most 120 s (by timeout(1), which ends only what it started).
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.run_any(program, arguments)?;
        ensure!(
            output.status.success(),
            "{program} {}: {}\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The same, whatever its exit status.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run_any(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let path = find(program).with_context(|| format!("no {program}"))?;
        let mut all = vec!["120", path.to_str().context("a path that is not text")?];
        all.extend(arguments);
        Ok(self.command("timeout", &all)?.output()?)
    }

    /// Runs a client outside of the cgroup, so that only the servers are watched.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run_outside(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let path = find(program).with_context(|| format!("no {program}"))?;
        let output =
            Command::new("timeout").arg("120").arg(path).args(arguments).current_dir(self.folder()).output()?;
        ensure!(output.status.success(), "{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Everything in the cgroup was started in it by this sandbox. cgroup.kill is 5.14; the removal below waits for it.
        drop(std::fs::write(self.cgroup.join("cgroup.kill"), "1"));
        for _ in 0..200 {
            if std::fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("{} is still in use", self.cgroup.display());
    }
}

/// A server that runs in a sandbox. Ended (it alone) when dropped.
#[derive(Debug)]
pub struct Proc {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Proc {
    /// Its process id (the shell that started it became it).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a TCP port of it accepts, at most 60 s.
    ///
    /// # Errors
    /// When it does not, or ended before.
    pub fn wait_port(mut self, port: u16) -> Result<Self> {
        for _ in 0..3_000 {
            if TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_millis(200)).is_ok()
            {
                return Ok(self);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not listen on {port}:\n{}", self.name, self.log())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
        rustix::process::kill_process(pid, signal)?;
        Ok(())
    }

    /// Waits for its end, at most `limit`; its exit status.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let rounds = limit.as_millis() / 20;
        for _ in 0..=rounds {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not end:\n{}", self.name, self.log())
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// When it does not within 10 s.
    pub fn stop(mut self) -> Result<std::process::ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        self.wait(Duration::from_secs(10))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// One HTTP/1.1 GET over a connection of its own, from this process (which is not in the sandbox); status and body.
///
/// # Errors
/// When there is no answer.
pub fn get(port: u16, path: &str, accept: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // In one piece: PHP's own server gives up on a request that comes in several.
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if chunked { unchunk(body) } else { body.to_owned() }))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size @ 1..) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some((chunk, rest)) = rest.split_at_checked(size) else { break };
        whole.push_str(chunk);
        body = rest.trim_start_matches("\r\n");
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_whose_lock_cannot_be_made_or_had_is_another_ones() {
        let folder = tempfile::tempdir().unwrap();
        // What cannot be opened for writing, even by root.
        std::fs::create_dir(folder.path().join("redtap-port-22000")).unwrap();
        assert!(lock(folder.path(), 22_000).is_none());
        let ours = lock(folder.path(), 22_001);
        assert!(ours.is_some() && lock(folder.path(), 22_001).is_none());
        drop(ours);
        assert!(lock(folder.path(), 22_001).is_some());
    }
}
