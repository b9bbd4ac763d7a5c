//! PostgreSQL and what it says of itself: its log, a line a message of the protocol that it executed, and
//! `pg_stat_statements`, a count a statement. Each user is counted apart, so that questions (asked as postgres, over its unix
//! socket) are in nobody's way.

use crate::clients::sql::{PASSWORD, Requests};
use crate::sandbox::{Proc, Sandbox, find, free_port};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// A running server with the database `shop`, and in it an empty table `item (id, name)`.
#[derive(Debug)]
pub struct Postgres {
    /// Its port.
    pub port: u16,
    folder: PathBuf,
    process: Proc,
}

/// A line of its log begins with this: process, user, code of the error.
const PREFIX: &str = "@%p|%u|%e|";

impl Postgres {
    /// Makes a data folder and starts on it, as the user postgres. Users log in by SCRAM, the last of them by MD5.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, users: &[&str]) -> Result<Self> {
        let by_md5 = users.last().copied().unwrap_or("nobody");
        let rules = format!(
            "local all all trust\nhost all {by_md5} 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 scram-sha-256\n"
        );
        let server = Self::start_with(
            sandbox,
            &rules,
            &format!(
                "shared_preload_libraries = 'pg_stat_statements'\npg_stat_statements.track_utility = on\n\
                 log_min_duration_statement = 0\nlog_connections = on\n\
                 log_disconnections = on\nlog_line_prefix = '{PREFIX}'\n"
            ),
        )?;
        server.ask("postgres", "CREATE EXTENSION pg_stat_statements")?;
        server.ask("postgres", "CREATE DATABASE shop")?;
        server.ask("shop", "CREATE TABLE item (id int PRIMARY KEY, name text); GRANT ALL ON item TO public")?;
        for user in users {
            let encryption = if *user == by_md5 { "md5" } else { "scram-sha-256" };
            let create = format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'");
            server.ask("postgres", &format!("SET password_encryption = '{encryption}'; {create}"))?;
        }
        Ok(server)
    }

    /// Starts one for load: nothing is logged or counted by statement, the tables are pgbench's (100 000 accounts, in the
    /// database postgres), and postgres may log in over TCP without a password.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_for_load(sandbox: &Sandbox) -> Result<Self> {
        let server = Self::start_with(sandbox, "local all all trust\nhost all all 127.0.0.1/32 trust\n", "")?;
        let (folder, port) = (server.folder.display().to_string(), server.port.to_string());
        let options = ["-i", "-q", "-s", "1", "-U", "postgres", "-h", &folder, "-p", &port, "postgres"];
        sandbox.run_outside("pgbench", &options)?;
        Ok(server)
    }

    /// Accounts of pgbench's looked up so far by their number. A session tells at most a second late, or at its end
    /// ([`Self::wait_idle`] does not see pgbench: it is postgres).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn looked_up(&self) -> Result<u64> {
        let rows = self.ask(
            "postgres",
            "SELECT COALESCE(SUM(idx_scan), 0) FROM pg_stat_user_tables WHERE relname = 'pgbench_accounts'",
        )?;
        Ok(rows.first().and_then(|row| row.first()).context("no row")?.parse()?)
    }

    /// Makes a data folder and starts on it, with those rules of access and further settings.
    fn start_with(sandbox: &Sandbox, rules: &str, settings: &str) -> Result<Self> {
        let port = free_port()?;
        let folder = sandbox.folder().join("postgres");
        let path = folder.to_str().context("a path that is not text")?;
        sandbox.run_outside("install", &["-d", "-o", "postgres", path])?;
        let data = format!("{path}/data");
        let drop_root = ["--reuid=postgres", "--regid=postgres", "--clear-groups"];
        let find = |program: &str| {
            let found = find(program).with_context(|| format!("no {program}"))?;
            anyhow::Ok(found.to_str().context("a path that is not text")?.to_owned())
        };
        let init = find("initdb")?;
        let options = ["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync", "--no-locale", "-E", "UTF8"];
        sandbox.run_outside("setpriv", &[&drop_root[..], &[&init], &options].concat())?;
        std::fs::write(folder.join("data/pg_hba.conf"), rules)?;
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{path}'\nfsync = off\n\
             autovacuum = off\n{settings}"
        );
        std::fs::write(folder.join("data/postgresql.auto.conf"), settings)?;
        let server = find("postgres")?;
        let command = [&drop_root[..], &[&server, "-D", &data]].concat();
        let process = sandbox.start("postgres", "setpriv", &command)?.wait_port(port)?;
        Ok(Self { port, folder, process })
    }

    /// Its process id (of the postmaster).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Rows that it answers to postgres, their fields.
    fn ask(&self, database: &str, statement: &str) -> Result<Vec<Vec<String>>> {
        let mut command = Command::new(find("psql").context("no psql")?);
        command.args(["-X", "-q", "-A", "-t", "-F", "\t", "-U", "postgres", "-d", database, "-c", statement]);
        let output = command.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]).output()?;
        ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// Requests of a user that it has finished, by operation and code, out of its log: each simple query, each Execute, and
    /// each that failed.
    #[must_use]
    pub fn requests(&self, user: &str) -> Requests {
        let mut requests = Requests::new();
        for line in lines(&self.process.log(), user) {
            let (text, code) = match line {
                Line::Done("statement" | "execute", text) => (text, ""),
                Line::Failed(code, text) => (text, code),
                Line::Done(..) | Line::Refused(_) | Line::Welcome | Line::Goodbye => continue,
            };
            *requests.entry((operation(text), code.to_owned())).or_default() += 1;
        }
        requests
    }

    /// How often it let a user in.
    #[must_use]
    pub fn logins(&self, user: &str) -> u64 {
        lines(&self.process.log(), user).filter(|line| *line == Line::Welcome).map(|_| 1).sum()
    }

    /// How often a user left.
    #[must_use]
    pub fn goodbyes(&self, user: &str) -> u64 {
        lines(&self.process.log(), user).filter(|line| *line == Line::Goodbye).map(|_| 1).sum()
    }

    /// How often it refused a user with that code before it let it in.
    #[must_use]
    pub fn refused(&self, user: &str, code: &str) -> u64 {
        lines(&self.process.log(), user).filter(|line| *line == Line::Refused(code)).map(|_| 1).sum()
    }

    /// Statements that it executed for a user without an error, by operation, as `pg_stat_statements` counts them.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn calls(&self, user: &str) -> Result<BTreeMap<String, u64>> {
        let rows = self.ask(
            "postgres",
            &format!(
                "SELECT upper(substring(query from '[A-Za-z]+')), sum(calls) FROM pg_stat_statements s \
                 JOIN pg_roles r ON r.oid = s.userid WHERE rolname = '{user}' GROUP BY 1"
            ),
        )?;
        rows.into_iter()
            .map(|row| match row.as_slice() {
                [operation, calls] => Ok((operation.clone(), calls.parse()?)),
                other => anyhow::bail!("not a row: {other:?}"),
            })
            .collect()
    }

    /// Transactions of all users in `shop` that were rolled back.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn rollbacks(&self) -> Result<u64> {
        let rows = self.ask("postgres", "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'shop'")?;
        Ok(rows.first().and_then(|row| row.first()).context("no row")?.parse()?)
    }

    /// Waits until nobody but postgres is connected, so that all is counted: at most 5 s.
    ///
    /// # Errors
    /// When somebody stays.
    pub fn wait_idle(&self) -> Result<()> {
        for _ in 0..100 {
            let rows = self.ask("postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename <> 'postgres'")?;
            if rows.first().and_then(|row| row.first()).is_some_and(|count| count == "0") {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        anyhow::bail!("somebody is still connected")
    }
}

/// A line of the log that tells what became of something a client sent.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    /// `statement` (a simple query), `parse`, `bind` or `execute`, and the text of the statement.
    Done(&'a str, &'a str),
    /// The code of the error, and the text of the statement.
    Failed(&'a str, &'a str),
    /// The code of the error.
    Refused(&'a str),
    /// Let in.
    Welcome,
    /// Gone.
    Goodbye,
}

fn lines<'a>(log: &'a str, user: &str) -> impl Iterator<Item = Line<'a>> {
    log.lines().filter_map(move |line| {
        let mut fields = line.strip_prefix('@')?.splitn(4, '|');
        let (_, name, code, said) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if name != user {
            return None;
        }
        if let Some(rest) = said.strip_prefix("LOG:  duration: ") {
            // 0.038 ms  execute <unnamed>: SELECT ...
            let (_, rest) = rest.split_once(" ms  ")?;
            let (what, text) = rest.split_once(": ")?;
            return Some(Line::Done(what.split(' ').next()?, text));
        }
        if said.starts_with("LOG:  connection authorized") {
            return Some(Line::Welcome);
        }
        if said.starts_with("LOG:  disconnection: ") {
            return Some(Line::Goodbye);
        }
        if let Some(text) = said.strip_prefix("STATEMENT:  ") {
            // It follows the line that begins with `ERROR:`.
            return (code != "00000").then_some(Line::Failed(code, text));
        }
        said.starts_with("FATAL:").then_some(Line::Refused(code))
    })
}

/// The first keyword in upper case; nothing if there is only a comment.
fn operation(text: &str) -> String {
    let mut text = text.trim_start();
    while let Some(rest) = text.strip_prefix("/*") {
        text = rest.split_once("*/").map_or("", |(_, rest)| rest).trim_start();
    }
    text.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or("").to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_log_says_of_a_user() {
        let log = "@7|a|00000|LOG:  duration: 0.038 ms  execute by id: SELECT 1\n@7|b|00000|LOG:  duration: 1 ms  parse x: y\n\
                   @7|a|23505|ERROR:  duplicate key\n@7|a|23505|STATEMENT:  insert into t\n@8|a|28P01|FATAL:  no\n\
                   @7|a|00000|LOG:  disconnection: session time: 0:00:00.010 user=a\n";
        let lines: Vec<_> = lines(log, "a").collect();
        assert_eq!(
            lines,
            [
                Line::Done("execute", "SELECT 1"),
                Line::Failed("23505", "insert into t"),
                Line::Refused("28P01"),
                Line::Goodbye
            ]
        );
    }

    #[test]
    fn the_operation_is_the_first_word_behind_comments() {
        assert_eq!(operation("/* a */ select 1"), "SELECT");
        assert_eq!(operation("-- ping"), "");
    }
}
