//! A client of the shop on tonic's channel. Prints how each call ended.

use bytes::Bytes;
use grpc_rust::{BytesCodec, SERVICE, name};
use http::uri::PathAndQuery;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;
use tokio_stream::{StreamExt, iter};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

const PATIENCE: Duration = Duration::from_millis(300);
const COUNT: usize = 3;

/// Reads a stream of answers to its end.
async fn all(mut answers: Streaming<Bytes>) -> Result<(), Status> {
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// Makes one call to its end.
async fn call(channel: Channel, method: &str, order: Bytes, deadline: Option<Duration>) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(format!("{SERVICE}{method}")).map_err(|_| Status::internal("no path"))?;
    let messages = iter(vec![order.clone(); COUNT]);
    match method {
        "List" => all(grpc.server_streaming(asked(order, deadline), path, BytesCodec).await?.into_inner()).await,
        "Upload" => grpc.client_streaming(asked(messages, deadline), path, BytesCodec).await.map(drop),
        "Chat" => all(grpc.streaming(asked(messages, deadline), path, BytesCodec).await?.into_inner()).await,
        _ => grpc.unary(asked(order, deadline), path, BytesCodec).await.map(drop),
    }
}

fn asked<T>(what: T, deadline: Option<Duration>) -> Request<T> {
    let mut request = Request::new(what);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    request
}

/// The same with an end of the client's choice; the status as it sees it.
async fn ended(channel: Channel, method: &str, end: &str, delay: u64) -> Code {
    let early = matches!(end, "cancel" | "deadline");
    let (word, delay) = if early { ("OK", 10_000) } else { (end, delay) };
    let order = Bytes::from(format!("{word} {COUNT} {delay}"));
    let deadline = (end == "deadline").then_some(PATIENCE);
    let call = call(channel, method, order, deadline);
    let result = if early {
        // Dropping the call resets its stream. tonic itself watches a deadline only until the answer begins.
        tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| {
            Err(if deadline.is_some() { Status::deadline_exceeded("late") } else { Status::cancelled("given up") })
        })
    } else {
        call.await
    };
    result.err().map_or(Code::Ok, |status| status.code())
}

async fn plan(channel: &Channel, line: &str) {
    let mut words = line.split_whitespace();
    let concurrency = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let limit = Arc::new(Semaphore::new(concurrency));
    let mut tasks = Vec::new();
    for word in words {
        let part: Vec<String> = word.split(':').map(str::to_owned).collect();
        let [method, end, times, ..] = &part[..] else { panic!("not METHOD:END:TIMES: {word}") };
        let delay = part.get(3).and_then(|part| part.parse().ok()).unwrap_or(0);
        for _ in 0..times.parse().unwrap_or(0) {
            let (channel, limit, method, end) = (channel.clone(), limit.clone(), method.clone(), end.clone());
            tasks.push(tokio::spawn(async move {
                let _permit = limit.acquire_owned().await;
                println!("{SERVICE}{method} {}", name(ended(channel, &method, &end, delay).await));
            }));
        }
    }
    for task in tasks {
        task.await.expect("a call does not panic");
    }
    println!("done");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let port = std::env::args().nth(1).expect("usage: grpc-rust-client PORT");
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("a port is a number");
    let channel = endpoint.connect().await.expect("cannot connect");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        plan(&channel, &line).await;
    }
}
