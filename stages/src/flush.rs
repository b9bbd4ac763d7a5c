//! Stage `flush`.
