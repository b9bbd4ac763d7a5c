//! What is wrong with a configuration: all of it at once, each with key, value, place and remedy.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path; empty if a whole file is wrong.
    pub key: String,
    /// The value as it was written; empty if it does not matter.
    pub value: String,
    /// The file, environment variable or flag that says so.
    pub origin: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}", self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {:?}", self.value)?;
            }
            write!(f, " ")?;
        }
        write!(f, "({}): {}; {}", self.origin, self.what, self.remedy)
    }
}

/// Everything that is wrong. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// In the order of the sources, then of the keys.
    pub problems: Vec<Problem>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.problems.len();
        write!(f, "the configuration has {n} {}:", if n == 1 { "problem" } else { "problems" })?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
