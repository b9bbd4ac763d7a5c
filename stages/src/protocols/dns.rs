//! Protocol `dns`.
