//! Values as they were written, and who wrote them.

use std::collections::BTreeMap;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// One value.
    One(String),
    /// A list.
    List(Vec<String>),
    /// A table.
    Table(BTreeMap<String, String>),
    /// Tables by name.
    Tables(Tables),
}

/// Tables by name, each its fields.
pub type Tables = BTreeMap<String, BTreeMap<String, String>>;

/// A value and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The value.
    pub value: Written,
    /// `default`, a file, an environment variable or a flag.
    pub origin: String,
}

/// What holds after all layers, by path; every key of the table is in it.
pub type Layers = BTreeMap<&'static str, Said>;
