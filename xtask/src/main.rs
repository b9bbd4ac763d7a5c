//! Developer commands. `cargo xtask bpf [--check]` builds the kernel programs.

mod bpf;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bpf"] => bpf::run(false),
        ["bpf", "--check"] => bpf::run(true),
        _ => bail!("usage: cargo xtask bpf [--check]"),
    }
}
