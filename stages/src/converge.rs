//! Stage `converge`.
