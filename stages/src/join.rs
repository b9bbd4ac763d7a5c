//! Stage `join`.
