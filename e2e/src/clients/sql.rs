//! Programs that talk to a database through one driver each, and end. Each is a user of its own at the server, and a service
//! of its own for the agent, both named after it.

use super::{Kit, source};
use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The password of every user.
pub const PASSWORD: &str = "sesame";

/// Requests by operation and by the code of their error (empty if they went well).
pub type Requests = BTreeMap<(String, String), u64>;

/// What a client is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The `mariadb` client with further arguments, over `clients/sql/mariadb.sql`.
    Mariadb(&'static [&'static str]),
    /// `psql`, over `clients/sql/psql.sql`.
    Psql,
    /// `clients/sql-python/`.
    Python,
    /// `clients/sql-node/`.
    Node,
    /// `clients/sql-php/`.
    Php,
    /// `clients/sql-go/`.
    Go,
    /// `clients/sql-java/`.
    Java,
}

/// A request: its operation, the code of its error (empty if it went well), and how many there are.
pub type Row = (&'static str, &'static str, u64);

/// A client and what it sends.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Its name, its user and what it is to do.
    pub name: &'static str,
    /// What runs.
    pub language: Language,
    /// Its requests as they go over the wire: operation, code of the error, how many.
    pub requests: &'static [Row],
    /// What the server executes besides: statements that are not the first of their request.
    pub further: &'static [(&'static str, u64)],
    /// And requests that are no statement of their own: executes of a portal that go on where the last one ended.
    pub again: &'static [(&'static str, u64)],
    /// How often it logs in.
    pub logins: u64,
    /// Messages of the protocol that are answered, or that end the session, and that the server keeps no count of.
    pub besides: &'static [Row],
}

impl Client {
    /// What must be there for it to run.
    #[must_use]
    pub fn needs(&self) -> &'static [&'static str] {
        match self.language {
            Language::Mariadb(_) => &["mariadb"],
            Language::Psql => &["psql"],
            Language::Python => &["python3"],
            Language::Node => &["node"],
            Language::Php => &["php"],
            Language::Go => &[],
            Language::Java => &["java"],
        }
    }

    /// What of `e2e/clients/` must be built for it.
    #[must_use]
    pub fn kits(&self) -> &'static [Kit] {
        match self.language {
            Language::Mariadb(_) | Language::Psql => &[],
            Language::Python => &[Kit::SqlPython],
            Language::Node => &[Kit::SqlNode],
            Language::Php => &[Kit::SqlPhp],
            Language::Go => &[Kit::SqlGo],
            Language::Java => &[Kit::SqlJava],
        }
    }

    /// Its requests, summed up.
    #[must_use]
    pub fn requests(&self) -> Requests {
        sum(self.requests)
    }

    /// Runs it against a port of the loopback, to its end, at most 60 s.
    ///
    /// # Errors
    /// When it fails, which it does on any answer that it does not expect.
    pub fn run(&self, sandbox: &Sandbox, port: u16) -> Result<()> {
        let output = self.command(sandbox, port, PASSWORD)?.output()?;
        ensure!(
            output.status.success(),
            "{}: {}\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Lets it try a password that is not its own.
    ///
    /// # Errors
    /// When it cannot be started, or does not fail.
    pub fn run_refused(&self, sandbox: &Sandbox, port: u16) -> Result<()> {
        let output = self.command(sandbox, port, "open barley")?.output()?;
        ensure!(!output.status.success(), "{} is let in with a wrong password", self.name);
        Ok(())
    }

    fn command(&self, sandbox: &Sandbox, port: u16, password: &str) -> Result<Command> {
        // The command line tools load this file.
        let rows: String = (1_000..4_000).map(|at| format!("{at}\tloaded\n")).collect();
        sandbox.write("cli.tsv", &rows)?;
        let port = port.to_string();
        let (user, pass) = (format!("-u{}", self.name), format!("-p{password}"));
        let url = format!("postgresql://{}:{password}@127.0.0.1:{port}/shop", self.name);
        let script = |name: &str| text(source(name));
        let built = |kit: Kit, file: &str| text(kit.folder().join(file));
        let mut words: Vec<String> = vec!["60".into()];
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        match self.language {
            Language::Mariadb(more) => {
                add(&["mariadb", "--no-defaults", "--skip-ssl", "--force", "--no-auto-rehash", "--local-infile=1"]);
                add(more);
                add(&["-h127.0.0.1", "-P", &port, &user, &pass, "shop"]);
            }
            Language::Psql => add(&["psql", "-X", "-q", &url, "-f", &script("sql/psql.sql")?]),
            Language::Python => add(&["python3", &script("sql-python/sql.py")?, self.name, &port, password]),
            Language::Node => add(&["node", &script("sql-node/sql.js")?, self.name, &port, password]),
            Language::Php => add(&["php", &script("sql-php/sql.php")?, self.name, &port, password]),
            Language::Go => add(&[&built(Kit::SqlGo, "sql")?, self.name, &port, password]),
            Language::Java => {
                let path = format!("{}:{}", built(Kit::SqlJava, "lib/*")?, built(Kit::SqlJava, "classes")?);
                add(&["java", "-Xmx128m", "-cp", &path, "Sql", self.name, &port, password]);
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = sandbox.command("timeout", &words)?;
        command.env("OTEL_SERVICE_NAME", self.name);
        match self.language {
            Language::Mariadb(_) => drop(command.stdin(std::fs::File::open(source("sql/mariadb.sql"))?)),
            Language::Python => drop(command.env("PYTHONPATH", built(Kit::SqlPython, "")?)),
            Language::Node => drop(command.env("NODE_PATH", built(Kit::SqlNode, "node_modules")?)),
            _ => {}
        }
        Ok(command)
    }

    /// Starts one that stops in the middle, once and once again, until it is told to go on.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, sandbox: &Sandbox, port: u16) -> Result<Patient> {
        let mut command = self.command(sandbox, port, PASSWORD)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Patient { child, lines })
    }
}

/// Sums up rows.
pub fn sum<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Requests {
    let mut sums = Requests::new();
    for (operation, code, count) in rows {
        *sums.entry(((*operation).to_owned(), (*code).to_owned())).or_default() += count;
    }
    sums
}

fn text(path: std::path::PathBuf) -> Result<String> {
    Ok(path.to_str().context("a path that is not text")?.to_owned())
}

/// A client that waits for the test in the middle of its session. Ends when dropped: its standard input does.
#[derive(Debug)]
pub struct Patient {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Patient {
    /// Waits until it says that word.
    ///
    /// # Errors
    /// When it says another, or ends.
    pub fn expect(&mut self, word: &str) -> Result<()> {
        match self.lines.next() {
            Some(Ok(said)) if said == word => Ok(()),
            said => bail!("the client says {said:?}, not {word:?}"),
        }
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn go_on(&mut self) -> Result<()> {
        Ok(self.child.stdin.as_mut().context("no standard input")?.write_all(b"\n")?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it fails.
    pub fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }
}
