//! Stage `identify`.
