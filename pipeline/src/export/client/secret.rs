//! What must not be shown: passwords and tokens, given as a value or as a file that is read anew for each request.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Most bytes of a file that holds a secret.
pub const MAX_SECRET: u64 = 64 << 10;

/// A secret or where it lies. Neither `Debug` nor any error shows the value.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret itself.
    Value(String),
    /// A file that holds it, without what is white at its ends.
    File(PathBuf),
}

impl Secret {
    /// The secret as it is now; of a file, without blocking the caller's thread.
    ///
    /// # Errors
    /// The file cannot be read, is longer than [`MAX_SECRET`], or is not UTF-8.
    pub async fn reveal(&self) -> io::Result<String> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => {
                let path = path.clone();
                tokio::task::spawn_blocking(move || read(&path)).await.map_err(io::Error::other)?
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_SECRET {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file of a secret is longer than 64 KiB"));
    }
    Ok(text.trim().to_owned())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("(hidden)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}
