//! Protocol `http1`.
