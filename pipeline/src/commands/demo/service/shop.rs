//! The shop: HTTP, and a client of all others.
//!
//! `GET /products/{id}` looks into the cache and asks the stock what is not there; `GET /search` is slow; `POST /orders`
//! resolves the name of payment and charges there.

use super::web::{self, Answer, Client};
use super::{cache, names, stock};
use anyhow::Result;
use http::{Method, StatusCode};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// One search in milliseconds.
const SEARCH_MS: std::ops::Range<u64> = 250..900;
/// One order of so many takes the wrong name of payment first.
const MISSPELT: u32 = 12;
/// One product of so many is counted under a key that holds no number.
const MISCOUNTED: u32 = 40;

/// Whom the shop asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peers {
    pub(super) payment: SocketAddr,
    pub(super) stock: SocketAddr,
    pub(super) cache: SocketAddr,
    pub(super) names: SocketAddr,
}

struct Shop {
    names: SocketAddr,
    payment: Client,
    stock: stock::Client,
    cache: cache::Client,
    chance: fastrand::Rng,
}

/// Serves until the process is ended.
pub(super) fn run(listener: TcpListener, peers: Peers) -> Result<()> {
    web::serve(&listener, move |number| Shop {
        names: peers.names,
        payment: Client::new(peers.payment),
        stock: stock::Client::new(peers.stock),
        cache: cache::Client::new(peers.cache),
        chance: fastrand::Rng::with_seed(number),
    })
}

impl Answer for Shop {
    async fn answer(&mut self, method: &Method, path: &str, trace: Option<&str>) -> (StatusCode, String) {
        let status = match (method.as_str(), path) {
            ("GET", "/search") => {
                tokio::time::sleep(Duration::from_millis(self.chance.u64(SEARCH_MS))).await;
                StatusCode::OK
            }
            ("POST", "/orders") => self.order(trace).await,
            ("GET", path) => match path.strip_prefix("/products/").and_then(|id| id.parse().ok()) {
                Some(id) => self.product(id, trace).await,
                None => StatusCode::NOT_FOUND,
            },
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        (status, format!("{{\"status\": {}}}\n", status.as_u16()))
    }
}

impl Shop {
    async fn product(&mut self, id: u8, trace: Option<&str>) -> StatusCode {
        let key = format!("product:{id}");
        let Ok(found) = self.cache.ask(&["GET", &key]) else { return StatusCode::BAD_GATEWAY };
        if self.chance.u32(..MISCOUNTED) == 0 {
            // The mistake is the point: an error of the cache that no visitor notices.
            let _ = self.cache.ask(&["INCR", &key]);
        }
        if matches!(found, cache::Reply::Text(_)) {
            return StatusCode::OK;
        }
        let trace = trace.and_then(|trace| web::child(trace, &mut self.chance));
        match self.stock.check(id, trace.as_deref()).await {
            Ok(stock::Status::Ok) => {
                let _ = self.cache.ask(&["SET", &key, "in stock"]);
                StatusCode::OK
            }
            Ok(stock::Status::NotFound) => StatusCode::NOT_FOUND,
            Ok(stock::Status::Unavailable) | Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    async fn order(&mut self, trace: Option<&str>) -> StatusCode {
        if self.chance.u32(..MISSPELT) == 0 {
            let _ = names::resolve(self.names, "payments.demo.test");
        }
        match names::resolve(self.names, names::PAYMENT) {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return StatusCode::BAD_GATEWAY,
        }
        let trace = trace.and_then(|trace| web::child(trace, &mut self.chance));
        let charged = self.payment.ask(Method::POST, "/charges", trace.as_deref()).await;
        // What was bought is looked up anew.
        let _ = self.cache.ask(&["DEL", &format!("product:{}", self.chance.u8(1..100))]);
        match charged {
            Ok(status) if status.is_success() => StatusCode::CREATED,
            Ok(_) | Err(_) => StatusCode::BAD_GATEWAY,
        }
    }
}
