//! The cache: a few commands of Redis (RESP 2, <https://redis.io/docs/latest/develop/reference/protocol-spec/>), server and client.
//!
//! Bounds: [`MAX_KEYS`] keys, [`MAX_WORDS`] words of [`MAX_WORD`] bytes a command. Absent: expiry, files, everything else.

use super::web::{WITHIN, each_connection};
use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// Most keys; then all are forgotten, as caches do.
const MAX_KEYS: usize = 1_000;
/// Most words of a command.
const MAX_WORDS: usize = 8;
/// Longest word.
const MAX_WORD: usize = 256;
/// Longest line: a type, a number, the end.
const MAX_LINE: u64 = 512;

type Keys = HashMap<String, String>;

/// Serves until the process is ended.
pub(super) fn run(listener: &TcpListener) -> Result<()> {
    let keys = Arc::new(Mutex::new(Keys::new()));
    each_connection(listener, move |_, stream| drop(serve(stream, &keys)))
}

fn serve(stream: TcpStream, keys: &Mutex<Keys>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(words) = command(&mut reader)? {
        let reply = reply(&words, &mut keys.lock());
        writer.write_all(reply.as_bytes())?;
    }
    Ok(())
}

fn reply(words: &[String], keys: &mut Keys) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["GET", key] => match keys.get(*key) {
            Some(value) => format!("${}\r\n{value}\r\n", value.len()),
            None => "$-1\r\n".to_owned(),
        },
        ["SET", key, value] => {
            if keys.len() >= MAX_KEYS {
                keys.clear();
            }
            keys.insert((*key).to_owned(), (*value).to_owned());
            "+OK\r\n".to_owned()
        }
        ["DEL", key] => format!(":{}\r\n", u8::from(keys.remove(*key).is_some())),
        ["INCR", key] => match keys.get(*key).map_or(Ok(0_i64), |value| value.parse()) {
            Ok(value) => {
                let value = value.saturating_add(1);
                keys.insert((*key).to_owned(), value.to_string());
                format!(":{value}\r\n")
            }
            Err(_) => "-ERR value is not an integer or out of range\r\n".to_owned(),
        },
        _ => "-ERR unknown command\r\n".to_owned(),
    }
}

fn line(reader: &mut BufReader<TcpStream>) -> Result<Option<String>> {
    let mut line = String::new();
    let read = reader.by_ref().take(MAX_LINE).read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

fn text(reader: &mut BufReader<TcpStream>, length: usize) -> Result<String> {
    ensure!(length <= MAX_WORD, "a word of {length} bytes");
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes)?;
    bytes.truncate(length);
    Ok(String::from_utf8(bytes)?)
}

/// The words of the next command; none at the end.
fn command(reader: &mut BufReader<TcpStream>) -> Result<Option<Vec<String>>> {
    let Some(head) = line(reader)? else { return Ok(None) };
    let count: usize = head.strip_prefix('*').context("not an array")?.parse()?;
    ensure!(count <= MAX_WORDS, "a command of {count} words");
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let head = line(reader)?.context("the end within a command")?;
        words.push(text(reader, head.strip_prefix('$').context("not a bulk string")?.parse()?)?);
    }
    Ok(Some(words))
}

/// What the cache answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A value, a number, or that it is done.
    Text(String),
    /// There is no such key.
    Nothing,
    /// It cannot be done.
    Error,
}

/// A client with one connection, which is made when it is needed. It blocks the thread, which has nothing else to do.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Of the server there.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// The reply to a command.
    pub(super) fn ask(&mut self, words: &[&str]) -> Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            let _ = write!(request, "${}\r\n{word}\r\n", word.len());
        }
        stream.get_mut().write_all(request.as_bytes())?;
        let head = line(&mut stream)?.context("no reply")?;
        let reply = match head.split_at_checked(1) {
            Some(("+" | ":", rest)) => Reply::Text(rest.to_owned()),
            Some(("-", _)) => Reply::Error,
            Some(("$", "-1")) => Reply::Nothing,
            Some(("$", length)) => Reply::Text(text(&mut stream, length.parse()?)?),
            _ => bail!("no reply: {head}"),
        };
        // One that failed on the way is not used again.
        self.stream = Some(stream);
        Ok(reply)
    }
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    Ok(BufReader::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_and_server_understand_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = Client::new(listener.local_addr().unwrap());
        std::thread::spawn(move || run(&listener));
        let mut ask = |words: &[&str]| client.ask(words).unwrap();
        let text = |text: &str| Reply::Text(text.to_owned());
        assert_eq!(ask(&["GET", "a"]), Reply::Nothing);
        assert_eq!(ask(&["SET", "a", "in stock"]), text("OK"));
        assert_eq!(ask(&["GET", "a"]), text("in stock"));
        assert_eq!(ask(&["INCR", "a"]), Reply::Error);
        assert_eq!(ask(&["INCR", "n"]), text("1"));
        assert_eq!(ask(&["DEL", "a"]), text("1"));
        assert_eq!(ask(&["GET", "a"]), Reply::Nothing);
        assert_eq!(ask(&["FLUSHALL"]), Reply::Error);
    }
}
