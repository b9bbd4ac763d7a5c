//! Real servers, one module each, and what they themselves say they did.

pub mod apache;
pub mod apps;
pub mod chain;
pub mod dnsmasq;
pub mod go_web;
pub mod grpc;
pub mod kafka;
pub mod mariadb;
pub mod nginx;
pub mod otel_collector;
pub mod polyglot;
pub mod postgres;
pub mod redis;
pub mod store;
pub mod web;
