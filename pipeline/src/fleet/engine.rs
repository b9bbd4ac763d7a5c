//! Asks the engine: `/api/v1/query` and `/api/v1/query_range` of Prometheus' HTTP API, by POST.
//!
//! The same question within a step is asked once: answers are kept for [`KEPT_FOR`]. Bounds: [`MAX_ANSWER`] bytes and
//! [`MAX_SERIES`] series an answer, [`AT_A_TIME`] questions of one report at a time, [`CACHE_BYTES`] of kept answers; time is
//! bounded by the client.
//!
//! Absent: trying again (who looks at a page does), redirections, native histograms.

use crate::clock;
use crate::export::client::{Client, Failure, Outcome, Request, Retryable, shown};
use crate::reports::{Range, ReportError};
use bytes::Bytes;
use parking_lot::Mutex;
use redtap_stages::time::Nanos;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Most bytes of an answer.
pub const MAX_ANSWER: usize = 16 << 20;
/// Most series of an answer.
pub const MAX_SERIES: usize = 50_000;
/// Questions of one report that are asked at a time.
pub const AT_A_TIME: usize = 4;
/// Most bytes of answers that are kept, as they came.
pub const CACHE_BYTES: usize = 16 << 20;
/// How long an answer is good.
pub const KEPT_FOR: Nanos = Nanos::from_secs(10);

/// A series of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Row {
    /// Its labels.
    pub(super) metric: BTreeMap<String, String>,
    /// Of a range: time (seconds since the epoch) and value, as text.
    #[serde(default)]
    values: Vec<(f64, String)>,
    /// At one time.
    value: Option<(f64, String)>,
}

impl Row {
    /// The value of a label; empty without it.
    pub(super) fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    /// Times and values; what is no number is not there.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let read = |(at, value): &(f64, String)| Some((*at, value.parse().ok()?));
        self.values.iter().chain(&self.value).filter_map(read)
    }
}

#[derive(Deserialize)]
struct Answered {
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Row>,
}

/// What engines say when they refuse.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    range: Option<(i64, i64, u32)>,
    at: i64,
    query: String,
}

impl Question {
    /// At the end of each step of a range.
    pub(super) fn steps(query: String, range: Range) -> Self {
        let first = range.from.saturating_add(i64::from(range.step));
        Self { range: Some((first, range.to, range.step)), at: 0, query }
    }

    /// At one time.
    pub(super) fn at(query: String, at: i64) -> Self {
        Self { range: None, at, query }
    }
}

type Rows = Arc<Vec<Row>>;

#[derive(Debug)]
struct Kept {
    question: String,
    until: Nanos,
    bytes: usize,
    rows: Rows,
}

/// Answers of the last seconds, oldest first.
#[derive(Debug, Default)]
struct Cache {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Cache {
    fn find(&mut self, now: Nanos, question: &str) -> Option<Rows> {
        while self.kept.front().is_some_and(|oldest| oldest.until <= now) {
            self.drop_oldest();
        }
        self.kept.iter().find(|kept| kept.question == question).map(|kept| Arc::clone(&kept.rows))
    }

    fn keep(&mut self, kept: Kept) {
        if kept.bytes > CACHE_BYTES {
            return;
        }
        self.bytes += kept.bytes;
        self.kept.push_back(kept);
        while self.bytes > CACHE_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
        }
    }
}

/// The engine.
#[derive(Debug)]
pub(super) struct Engine {
    client: Client,
    cache: Mutex<Cache>,
}

impl Engine {
    /// That of the client's URL, to which the paths of the API are added.
    pub(super) fn new(client: Client) -> Self {
        Self { client, cache: Mutex::default() }
    }

    /// Its address, as it may be shown.
    pub(super) fn address(&self) -> String {
        shown(&self.client.settings().url)
    }

    /// Answers in the order of the questions.
    ///
    /// # Errors
    /// One of them has no answer: the first that was found out.
    pub(super) async fn ask(&self, questions: Vec<Question>) -> Result<Vec<Rows>, ReportError> {
        let mut answers: Vec<Rows> = vec![Rows::default(); questions.len()];
        let mut asking = JoinSet::new();
        for (at, question) in questions.into_iter().enumerate() {
            let (url, form) = self.form(&question);
            let key = format!("{} {form}", url.path());
            if let Some(rows) = self.cache.lock().find(clock::monotonic(), &key) {
                put(&mut answers, at, rows);
                continue;
            }
            while asking.len() >= AT_A_TIME {
                self.take(asking.join_next().await, &mut answers)?;
            }
            let client = self.client.clone();
            asking.spawn(async move {
                let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
                let request = Request::post(Bytes::from(form), Retryable::ServerErrors).to(url).reading(MAX_ANSWER);
                (at, key, client.send(request.with(CONTENT_TYPE, urlencoded)).await)
            });
        }
        while !asking.is_empty() {
            self.take(asking.join_next().await, &mut answers)?;
        }
        Ok(answers)
    }

    /// Reads an answer, in the thread of who asked.
    fn take(&self, joined: Joined, answers: &mut [Rows]) -> Result<(), ReportError> {
        let Some(joined) = joined else { return Ok(()) };
        let Ok((at, question, outcome)) = joined else {
            return Err(self.failed("the question was given up".to_owned()));
        };
        let (rows, bytes) = read(outcome).map_err(|why| self.failed(why))?;
        let rows = Arc::new(rows);
        let bytes = bytes + question.len();
        let until = clock::monotonic() + KEPT_FOR;
        self.cache.lock().keep(Kept { question, until, bytes, rows: Arc::clone(&rows) });
        put(answers, at, rows);
        Ok(())
    }

    fn failed(&self, why: String) -> ReportError {
        ReportError::Engine { engine: self.address(), why }
    }

    /// Where to, and the body.
    fn form(&self, question: &Question) -> (Url, String) {
        let mut url = self.client.settings().url.clone();
        let path = if question.range.is_some() { "query_range" } else { "query" };
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/api/v1/{path}"));
        let mut form = url.clone();
        {
            let mut pairs = form.query_pairs_mut();
            pairs.clear().append_pair("query", &question.query);
            match question.range {
                Some((start, end, step)) => {
                    pairs.append_pair("start", &start.to_string());
                    pairs.append_pair("end", &end.to_string());
                    pairs.append_pair("step", &step.to_string());
                }
                None => {
                    pairs.append_pair("time", &question.at.to_string());
                }
            }
            let timeout = self.client.settings().timeout;
            pairs.append_pair("timeout", &format!("{}ms", timeout.as_millis()));
            // VictoriaMetrics would move the ends of a range otherwise; others do not know it.
            pairs.append_pair("nocache", "1");
        }
        (url, form.query().unwrap_or_default().to_owned())
    }
}

type Joined = Option<Result<(usize, String, Outcome), tokio::task::JoinError>>;

fn put(answers: &mut [Rows], at: usize, rows: Rows) {
    if let Some(place) = answers.get_mut(at) {
        *place = rows;
    }
}

/// The rows of an answer and its bytes, or what is wrong and what to do.
fn read(outcome: Outcome) -> Result<(Vec<Row>, usize), String> {
    let answer = match outcome {
        Outcome::Delivered(answer) => answer,
        Outcome::Retry { why: Failure::Timeout, .. } => {
            let remedy = "ask for a shorter range, narrow what is shown with ui.query_labels, or give it longer with ui.query_timeout";
            return Err(format!("{}; {remedy}", Failure::Timeout));
        }
        Outcome::Retry { why, .. } => return Err(format!("{why}; is it up, and is ui.query_url right?")),
        Outcome::Refused { status, said, .. } => return Err(refusal(status, &said)),
    };
    if answer.body.len() >= MAX_ANSWER {
        return Err("it has too much to say; ask for a shorter range, or narrow it with ui.query_labels".to_owned());
    }
    let answered: Answered = serde_json::from_slice(&answer.body)
        .map_err(|_| "its answer is none of Prometheus' HTTP API, or was cut; is ui.query_url right?".to_owned())?;
    let data = answered.data.ok_or("its answer has no data; is ui.query_url right?")?;
    if !matches!(data.result_type.as_str(), "matrix" | "vector") {
        return Err(format!("it answers with a {} where series were asked for", one_word(&data.result_type)));
    }
    if data.result.len() > MAX_SERIES {
        return Err(format!("more than {MAX_SERIES} series; narrow them with ui.query_labels"));
    }
    Ok((data.result, answer.body.len()))
}

fn refusal(status: u16, said: &str) -> String {
    let said = serde_json::from_str::<Refused>(said).map_or_else(|_| said.to_owned(), |refused| refused.error);
    let what = if said.is_empty() { String::new() } else { format!(": {said}") };
    let remedy = match status {
        401 | 403 => "; give ui.query_basic_user and its password, ui.query_bearer_token or ui.query_headers",
        300..=399 | 404 | 405 => "; is ui.query_url right? It is what /api/v1/query comes after",
        _ => "",
    };
    format!("it answered {status}{what}{remedy}")
}

fn one_word(text: &str) -> String {
    text.chars().take(32).filter(char::is_ascii_alphanumeric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::client::{Answer, ClientSettings};
    use std::time::Duration;

    fn delivered(body: &str) -> Outcome {
        Outcome::Delivered(Answer { status: 200, body: body.as_bytes().to_vec(), ..Answer::default() })
    }

    #[test]
    fn reads_vectors_and_matrices_and_says_what_is_neither() {
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"le":"+Inf"},"values":[[100,"1"],[115.0,"NaN"],[130,"2.5"]]}]}}"#;
        let (rows, _) = read(delivered(matrix)).unwrap();
        assert_eq!(rows[0].label("le"), "+Inf");
        let points: Vec<_> = rows[0].points().filter(|point| !point.1.is_nan()).collect();
        assert_eq!(points, [(100.0, 1.0), (130.0, 2.5)]);
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}}"#;
        assert_eq!(read(delivered(vector)).unwrap().0[0].points().next(), Some((1.0, 7.0)));
        for body in ["", "<html>", "{}", &matrix[..60], r#"{"data":{"resultType":"scalar","result":[]}}"#] {
            assert!(read(delivered(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let said = refusal(422, r#"{"status":"error","errorType":"execution","error":"too many samples"}"#);
        assert_eq!(said, "it answered 422: too many samples");
        assert!(refusal(401, "").contains("ui.query_bearer_token"));
        assert!(refusal(404, "not found").contains("ui.query_url"));
    }

    #[test]
    fn the_paths_come_after_the_url() {
        let url = Url::parse("http://mimir:8080/prometheus/?x=1").unwrap();
        let engine = Engine::new(Client::new(ClientSettings::new(url, Duration::from_secs(5))).unwrap());
        let range = Range { from: 100, to: 160, step: 15 };
        let (url, form) = engine.form(&Question::steps("a{b=\"c&d\"}".to_owned(), range));
        assert_eq!(url.as_str(), "http://mimir:8080/prometheus/api/v1/query_range?x=1");
        assert_eq!(form, "query=a%7Bb%3D%22c%26d%22%7D&start=115&end=160&step=15&timeout=5000ms&nocache=1");
    }

    #[test]
    fn the_cache_is_bounded_in_time_and_bytes() {
        let mut cache = Cache::default();
        let kept = |question: &str, until, bytes| Kept {
            question: question.to_owned(),
            until: Nanos(until),
            bytes,
            rows: Rows::default(),
        };
        cache.keep(kept("a", 10, 5));
        cache.keep(kept("b", 20, 5));
        assert!(cache.find(Nanos(9), "a").is_some());
        assert!(cache.find(Nanos(10), "a").is_none() && cache.find(Nanos(10), "b").is_some());
        cache.keep(kept("large", 30, CACHE_BYTES + 1));
        assert!(cache.find(Nanos(10), "large").is_none());
        cache.keep(kept("c", 30, CACHE_BYTES));
        assert!(cache.find(Nanos(10), "b").is_none() && cache.find(Nanos(10), "c").is_some());
        assert_eq!(cache.bytes, CACHE_BYTES);
    }
}
