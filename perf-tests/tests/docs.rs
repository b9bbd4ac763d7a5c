//! The README names what there is: measures, cases, options.

use redtap_perf::case::Case;
use redtap_perf::measure::Measure;
use std::path::Path;

const README: &str = include_str!("../README.md");

#[test]
fn the_readme_names_every_measure_and_every_case() {
    let cases = Case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), &[]).unwrap();
    let names =
        Measure::ALL.iter().map(|measure| measure.name().to_owned()).chain(cases.into_iter().map(|case| case.name));
    let missing: Vec<String> = names.filter(|name| !README.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_readme_names_options_that_there_are() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_redtap-perf")).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let named = README.split('`').filter(|text| text.starts_with("--") && !text.contains(' '));
    let unknown: Vec<&str> = named.filter(|option| !help.contains(*option)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
