//! Real servers, one module each, and what they themselves say they did.

pub mod apps;
pub mod dnsmasq;
pub mod mariadb;
pub mod nginx;
pub mod postgres;
pub mod redis;
