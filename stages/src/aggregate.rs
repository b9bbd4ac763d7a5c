//! Stage `aggregate`.
