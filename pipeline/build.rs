//! Makes the table of the web interface's files, which the binary holds compressed: `ui/dist/` as it is committed.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::Write as _;
use std::io::{Error, Result, Write as _};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let text = |name: &str| std::env::var(name).map_err(|_| Error::other(format!("cargo does not set {name}")));
    let dist = Path::new(&text("CARGO_MANIFEST_DIR")?).join("ui/dist");
    let out = PathBuf::from(text("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    gather(&dist, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file)?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes)?;
        let name = out.join(format!("asset-{number}.gz"));
        std::fs::write(&name, packed.finish()?)?;
        let path = file.strip_prefix(&dist).map_err(Error::other)?;
        let path = path.to_str().ok_or_else(|| Error::other("a name that is not text"))?;
        let mut sum = flate2::Crc::new();
        sum.update(&bytes);
        let (tag, length) = (sum.sum(), bytes.len());
        let tag = format!("\"{tag:08x}-{length:x}\"");
        let _ = writeln!(
            table,
            "Asset {{ path: {:?}, tag: {tag:?}, length: {length}, packed: include_bytes!({name:?}) }},",
            format!("/{path}")
        );
    }
    table.push(']');
    std::fs::write(out.join("assets.rs"), table)
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
