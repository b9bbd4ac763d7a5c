//! Names of addresses out of `/etc/hosts`.

use std::net::IpAddr;
use std::path::Path;

/// Most names read.
pub const MAX_NAMES: usize = 4_096;

/// Address and first name of each line. Loopback addresses are left out: they name the host itself, not a peer.
#[must_use]
pub fn parse(text: &str) -> Vec<(IpAddr, String)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let ip: IpAddr = words.next()?.parse().ok()?;
            let name = words.next()?.trim_end_matches('.').to_ascii_lowercase();
            let multicast_names = name.starts_with("ip6-");
            (!ip.is_loopback() && !ip.is_unspecified() && !multicast_names && name.len() <= 253).then_some((ip, name))
        })
        .take(MAX_NAMES)
        .collect()
}

/// Reads and parses a file; nothing if it cannot be read.
#[must_use]
pub fn load(path: &Path) -> Vec<(IpAddr, String)> {
    super::process::read_text(path).map(|text| parse(&text)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_first_names() {
        let text = "127.0.0.1 localhost\n::1 ip6-localhost\nff02::1 ip6-allnodes\n# x\n\
                    10.0.0.5\tDB.example. db # the database\nfd00::1 cache\nnonsense here\n10.0.0.6\n";
        let names: Vec<(String, String)> = parse(text).into_iter().map(|(ip, name)| (ip.to_string(), name)).collect();
        assert_eq!(
            names,
            [("10.0.0.5".to_owned(), "db.example".to_owned()), ("fd00::1".to_owned(), "cache".to_owned())]
        );
    }
}
