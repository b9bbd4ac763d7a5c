//! The visitors: all traffic of the demo begins here, at a bounded pace, the same in each run.
//!
//! Some browse with a trace context (`traceparent`), some order without. They wait for a word on standard input, so that
//! nothing happens before somebody watches.

use super::web::{self, Client};
use anyhow::{Context as _, Result};
use http::Method;
use std::io::Read as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Visitors that browse, and that order.
const BROWSING: u64 = 2;
/// Likewise.
const ORDERING: u64 = 2;
/// Between two requests of one visitor, milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 100..300;
/// One look of so many is a search.
const SEARCHES: u32 = 8;
/// Products there are; 17 and its multiples are unknown to the stock.
const PRODUCTS: std::ops::Range<u8> = 1..100;

/// Asks until the process is ended.
pub(super) fn run(shop: SocketAddr) -> Result<()> {
    let begun = std::io::stdin().lock().read(&mut [0]).context("cannot wait for the beginning")?;
    if begun == 0 {
        return Ok(());
    }
    let visitors: Vec<_> = (0..BROWSING + ORDERING)
        .map(|number| std::thread::spawn(move || web::runtime()?.block_on(visit(shop, number))))
        .collect();
    for visitor in visitors {
        visitor.join().map_err(|_| anyhow::anyhow!("a visitor failed"))??;
    }
    Ok(())
}

async fn visit(shop: SocketAddr, number: u64) -> Result<()> {
    let (mut chance, mut client) = (fastrand::Rng::with_seed(number), Client::new(shop));
    loop {
        // What fails is the demo's point; the client connects anew.
        let _ = if number < BROWSING {
            let trace = format!("00-{:032x}-{:016x}-01", chance.u128(1..), chance.u64(1..));
            let path = if chance.u32(..SEARCHES) == 0 {
                "/search".to_owned()
            } else {
                format!("/products/{}", chance.u8(PRODUCTS))
            };
            client.ask(Method::GET, &path, Some(&trace)).await
        } else {
            client.ask(Method::POST, "/orders", None).await
        };
        tokio::time::sleep(Duration::from_millis(chance.u64(PAUSE_MS))).await;
    }
}
