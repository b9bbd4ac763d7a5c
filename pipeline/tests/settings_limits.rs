//! The bounds are written down: a bound that is added or changed without `docs/limits.md` fails here.

#[test]
fn every_bound_of_the_stages_is_documented() {
    let source = include_str!("../../stages/src/limits.rs");
    let text = include_str!("../../docs/limits.md");
    let names: Vec<&str> =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert!(names.len() > 30, "the bounds were found: {names:?}");
    for name in names {
        assert!(text.contains(&format!("| `{name}` |")), "docs/limits.md lacks {name}");
    }
}

#[test]
fn every_counter_that_is_named_exists() {
    let text = include_str!("../../docs/limits.md");
    let known: Vec<&str> = redtap::self_metrics::HELP.iter().map(|(name, _)| *name).collect();
    let named = text.split('`').filter(|word| word.starts_with("redtap_"));
    for name in named.map(|word| word.split('{').next().unwrap_or(word)) {
        assert!(known.contains(&name), "docs/limits.md names {name}, which there is not");
    }
}
