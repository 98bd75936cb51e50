//! Networks as configuration files write them.

use std::net::{IpAddr, SocketAddr};

use lampfield_core::config::Network;

/// Reads `192.0.2.1`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0` or the same in IPv6.
pub(super) fn network(text: &str) -> Option<Network> {
    let (address, mask) = text.split_once('/').map_or((text, None), |(a, m)| (a, Some(m)));
    let address: IpAddr = address.trim().trim_matches(['[', ']']).parse().ok()?;
    let bit_count = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match mask.map(str::trim) {
        None => bit_count,
        Some(mask) if mask.contains(['.', ':']) => contiguous(mask.parse().ok()?)?,
        Some(mask) => mask.parse().ok()?,
    };
    (prefix <= bit_count).then_some(Network { address, prefix })
}

/// The length of a netmask, which must be ones followed by zeros.
fn contiguous(mask: IpAddr) -> Option<u8> {
    let (bits, width) = match mask {
        IpAddr::V4(mask) => (u128::from(u32::from(mask)) << 96, 32),
        IpAddr::V6(mask) => (u128::from(mask), 128),
    };
    let ones = bits.leading_ones();
    (bits.count_ones() == ones && ones <= width).then_some(ones as u8)
}

/// Reads an address with or without a port: `192.0.2.1`, `192.0.2.1:5060`, `::1`, `[::1]:5060`.
pub(super) fn address(text: &str, default_port: u16) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, default_port)),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_read_in_every_notation() {
        for (text, want) in [
            ("127.0.0.1", Some(32)),
            ("10.0.0.0/8", Some(8)),
            ("10.0.0.0/255.255.0.0", Some(16)),
            ("0.0.0.0/0.0.0.0", Some(0)),
            ("::1", Some(128)),
            ("[2001:db8::]/32", Some(32)),
            ("fe80::/ffc0::", Some(10)),
            ("10.0.0.0/33", None),
            ("10.0.0.0/255.0.255.0", None),
            ("phones.example", None),
            ("10.0.0.0/", None),
            ("", None),
        ] {
            assert_eq!(network(text).map(|network| network.prefix), want, "{text}");
        }
    }

    #[test]
    fn addresses_read_with_and_without_port() {
        for (text, want) in [
            ("127.0.0.1", Some("127.0.0.1:5060")),
            ("127.0.0.1:5070", Some("127.0.0.1:5070")),
            ("::1", Some("[::1]:5060")),
            ("[::]", Some("[::]:5060")),
            ("[::1]:5070", Some("[::1]:5070")),
            ("localhost:5060", None),
            ("127.0.0.1:99999", None),
        ] {
            assert_eq!(address(text, 5060), want.map(|w| w.parse().unwrap()), "{text}");
        }
    }
}
