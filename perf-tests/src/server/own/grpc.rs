//! gRPC: every call is unary and answered with 32 bytes and OK, when its request has ended.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};

/// The answer: not compressed, 32 bytes, those.
const MESSAGE: &[u8] = b"\0\0\0\0\x20abcdefghijklmnopqrstuvwxyz012345";

pub(super) fn serve(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async move {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // A connection that breaks is over; its calls were not answered.
            tokio::task::spawn_local(async move { drop(connection(stream).await) });
        }
    }))
}

async fn connection(stream: TcpStream) -> Result<()> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(256).handshake::<_, Bytes>(stream).await?;
    while let Some(call) = connection.accept().await {
        let (request, answer) = call?;
        tokio::task::spawn_local(async move { drop(unary(request.into_body(), answer).await) });
    }
    Ok(())
}

async fn unary(mut body: RecvStream, mut answer: SendResponse<Bytes>) -> Result<()> {
    while let Some(bytes) = body.data().await {
        body.flow_control().release_capacity(bytes?.len())?;
    }
    super::answered();
    let head = Response::builder().status(200).header("content-type", "application/grpc").body(())?;
    let mut stream = answer.send_response(head, false).context("the connection is over")?;
    stream.send_data(Bytes::from_static(MESSAGE), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(stream.send_trailers(trailers)?)
}
