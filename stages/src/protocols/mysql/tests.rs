//! Tests of the protocol `mysql`.
