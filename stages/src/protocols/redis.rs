//! Protocol `redis`.
