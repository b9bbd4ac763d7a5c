//! Stage `filter`.
