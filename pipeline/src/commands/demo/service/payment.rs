//! Payment: HTTP, slow, and down for one charge of ten; it keeps receipts in the cache.

use super::cache;
use super::web::{self, Answer};
use anyhow::Result;
use http::{Method, StatusCode};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// One charge in milliseconds.
const CHARGE_MS: std::ops::Range<u64> = 40..160;
/// One charge of so many fails.
const FAILS: u32 = 10;

struct Payment {
    cache: cache::Client,
    chance: fastrand::Rng,
}

/// Serves until the process is ended.
pub(super) fn run(listener: &TcpListener, cache: SocketAddr) -> Result<()> {
    web::serve(listener, move |number| Payment {
        cache: cache::Client::new(cache),
        chance: fastrand::Rng::with_seed(100 + number),
    })
}

impl Answer for Payment {
    async fn answer(&mut self, method: &Method, path: &str, _trace: Option<&str>) -> (StatusCode, String) {
        if (method, path) != (&Method::POST, "/charges") {
            return (StatusCode::NOT_FOUND, String::new());
        }
        tokio::time::sleep(Duration::from_millis(self.chance.u64(CHARGE_MS))).await;
        if self.chance.u32(..FAILS) == 0 {
            return (StatusCode::SERVICE_UNAVAILABLE, "the bank does not answer\n".to_owned());
        }
        let _ = self.cache.ask(&["SET", &format!("receipt:{}", self.chance.u8(..)), "paid"]);
        (StatusCode::OK, "paid\n".to_owned())
    }
}
