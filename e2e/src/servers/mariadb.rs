//! mariadbd and its own statistics. Each user is counted apart, so that questions (asked as root, over its unix socket) are
//! in nobody's way.

use crate::clients::sql::PASSWORD;
use crate::sandbox::{Proc, Sandbox, find, free_port};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// A running mariadbd with the schemas `shop` and `other`, and in `shop` an empty table `item (id, name, body)`.
#[derive(Debug)]
pub struct Mariadb {
    /// Its port.
    pub port: u16,
    socket: PathBuf,
    process: Proc,
}

/// What an event of the performance schema was: how often it happened, and how often with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Event {
    /// All of them.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
}

impl Mariadb {
    /// Makes a data folder and starts on it, as the user mysql.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(sandbox: &Sandbox, users: &[&str]) -> Result<Self> {
        let options = [
            "--local-infile=1",
            "--performance-schema=ON",
            "--performance-schema-instrument=statement/%=ON",
            "--performance-schema-consumer-statements-digest=ON",
        ];
        let server = Self::start_with(sandbox, &options)?;
        server.ask("CREATE DATABASE shop; CREATE DATABASE other")?;
        server.ask("CREATE TABLE shop.item (id INT PRIMARY KEY, name VARCHAR(64), body MEDIUMTEXT)")?;
        server.admit(users)?;
        Ok(server)
    }

    /// Starts one for load: without the performance schema, with an empty schema `sbtest` and one user.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_for_load(sandbox: &Sandbox, user: &str) -> Result<Self> {
        let server = Self::start_with(sandbox, &["--performance-schema=OFF", "--max-connections=1000"])?;
        server.ask("CREATE DATABASE sbtest")?;
        server.admit(&[user])?;
        Ok(server)
    }

    fn admit(&self, users: &[&str]) -> Result<()> {
        for user in users {
            let who = format!("'{user}'@'127.0.0.1'");
            self.ask(&format!("CREATE USER {who} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {who}"))?;
        }
        Ok(())
    }

    /// Makes a data folder and starts on it with further options.
    fn start_with(sandbox: &Sandbox, options: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let folder = sandbox.folder().join("mariadb");
        let path = folder.to_str().context("a path that is not text")?;
        sandbox.run_outside("install", &["-d", "-o", "mysql", path])?;
        let data = format!("--datadir={path}/data");
        let common = ["--no-defaults", "--user=mysql", &data, "--innodb-log-file-size=8M"];
        let install = [&common[..], &["--auth-root-authentication-method=normal", "--skip-test-db"]].concat();
        sandbox.run_outside("mariadb-install-db", &install)?;
        let (number, socket) = (format!("--port={port}"), folder.join("socket"));
        let (socket_option, pid) = (format!("--socket={path}/socket"), format!("--pid-file={path}/pid"));
        let own = [
            number.as_str(),
            &socket_option,
            &pid,
            "--bind-address=127.0.0.1",
            "--skip-ssl",
            "--skip-name-resolve",
            "--max-allowed-packet=64M",
            "--innodb-flush-log-at-trx-commit=0",
        ];
        let command = [&common[..], &own, options].concat();
        let process = sandbox.start("mariadb", "mariadbd", &command)?.wait_port(port)?;
        Ok(Self { port, socket, process })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Rows that it answers to root, their fields.
    fn ask(&self, statement: &str) -> Result<Vec<Vec<String>>> {
        let program = find("mariadb").context("no mariadb")?;
        let mut command = Command::new(program);
        command.args(["--no-defaults", "-uroot", "--batch", "--skip-column-names", "-S"]);
        let output = command.arg(&self.socket).args(["-e", statement]).output()?;
        ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    /// What it did for a user, by event (`statement/sql/select`, `statement/com/Execute`).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn events(&self, user: &str) -> Result<BTreeMap<String, Event>> {
        let rows = self.ask(&format!(
            "SELECT event_name, count_star, sum_errors \
             FROM performance_schema.events_statements_summary_by_user_by_event_name \
             WHERE user = '{user}' AND count_star > 0"
        ))?;
        rows.into_iter()
            .map(|row| match row.as_slice() {
                [name, count, errors] => Ok((name.clone(), Event { count: count.parse()?, errors: errors.parse()? })),
                other => anyhow::bail!("not a row: {other:?}"),
            })
            .collect()
    }

    /// How often it let a user in.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn logins(&self, user: &str) -> Result<u64> {
        let rows = self.ask(&format!(
            "SELECT COALESCE(SUM(total_connections), 0) FROM performance_schema.users WHERE user = '{user}'"
        ))?;
        Ok(rows.first().and_then(|row| row.first()).context("no row")?.parse()?)
    }

    /// How often it met a text whose literals are taken out, all users together, for texts that begin so.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn digests(&self, beginning: &str) -> Result<u64> {
        let rows = self.ask(&format!(
            "SELECT COALESCE(SUM(count_star), 0) FROM performance_schema.events_statements_summary_by_digest \
             WHERE digest_text LIKE '{beginning}%'"
        ))?;
        Ok(rows.first().and_then(|row| row.first()).context("no row")?.parse()?)
    }

    /// Its global counters that are not 0 (`Com_select`, `Access_denied_errors`).
    ///
    /// # Errors
    /// When it does not answer.
    pub fn counters(&self) -> Result<BTreeMap<String, u64>> {
        let rows = self.ask("SHOW GLOBAL STATUS")?;
        let pairs = rows.into_iter().filter_map(|row| match row.as_slice() {
            [name, value] => Some((name.clone(), value.parse().ok()?)),
            _ => None,
        });
        Ok(pairs.filter(|(_, value)| *value != 0).collect())
    }

    /// Waits until nobody but root is connected, so that all is counted: at most 5 s.
    ///
    /// # Errors
    /// When somebody stays.
    pub fn wait_idle(&self) -> Result<()> {
        for _ in 0..100 {
            let rows = self.ask(
                "SELECT COUNT(*) FROM information_schema.processlist \
                 WHERE user NOT IN ('root', 'system user', 'event_scheduler')",
            )?;
            if rows.first().and_then(|row| row.first()).is_some_and(|count| count == "0") {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        anyhow::bail!("somebody is still connected")
    }
}
