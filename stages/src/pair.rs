//! Stage `pair`.
