//! Real servers, one module each, and what they themselves say they did.

pub mod apps;
pub mod dnsmasq;
pub mod nginx;
pub mod redis;
