//! Hash algorithms and secrets of digest authentication.
//!
//! Source: RFC 7616 (algorithms), RFC 8760 (their order in SIP). The `-sess` forms are not served:
//! no phone of `reference/` uses them.

use std::fmt;
use std::sync::Arc;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

/// A hash algorithm of a challenge.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// What every phone knows, and what a challenge without `algorithm` means.
    Md5,
    /// What RFC 8760 asks for.
    Sha256,
    /// SHA-512 cut to 256 bits, with start values of its own.
    Sha512_256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512_256];

    /// The token of `algorithm=`, as RFC 7616 section 6.1 registers it.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm a token names, in any case.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.token().eq_ignore_ascii_case(token))
    }

    /// Hexadecimal digits of its hashes.
    pub const fn digit_count(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 | Self::Sha512_256 => 64,
        }
    }

    /// Lower-case hexadecimal hash of the parts joined by colons.
    pub fn hex(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hex::<Md5>(parts),
            Self::Sha256 => hex::<Sha256>(parts),
            Self::Sha512_256 => hex::<Sha512_256>(parts),
        }
    }

    /// Hash of `username:realm:password` (RFC 7616 section 3.4.2).
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> Arc<str> {
        self.hex(&[username, realm, password].map(str::as_bytes)).into()
    }

    /// A hash made elsewhere, in lower case; `None` if it is none of this algorithm.
    pub fn parse_ha1(self, text: &str) -> Option<Arc<str>> {
        let is_hash =
            text.len() == self.digit_count() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then(|| text.to_ascii_lowercase().into())
    }
}

/// What an endpoint must know, in one algorithm.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret {
    /// The algorithm it is asked for in.
    pub algorithm: Algorithm,
    /// Lower-case hexadecimal hash of `username:realm:password`.
    pub ha1: Arc<str>,
}

impl fmt::Debug for Secret {
    /// Whoever has the hash can log in by it, so it is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn hex<D: Digest>(parts: &[&[u8]]) -> String {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response to a challenge with `qop=auth`.
    fn response(
        algorithm: Algorithm,
        [user, realm, password]: [&str; 3],
        rest: [&str; 6],
    ) -> String {
        let [method, uri, nonce, nc, cnonce, qop] = rest;
        let ha1 = algorithm.ha1(user, realm, password);
        let ha2 = algorithm.hex(&[method.as_bytes(), uri.as_bytes()]);
        algorithm.hex(&[&ha1, nonce, nc, cnonce, qop, &ha2].map(str::as_bytes))
    }

    #[test]
    fn the_examples_of_the_rfcs_come_out() {
        let mufasa = ["Mufasa", "http-auth@example.org", "Circle of Life"];
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let rest = ["GET", "/dir/index.html", nonce, "00000001", cnonce, "auth"];
        // RFC 7616 section 3.9.1.
        for (algorithm, want) in [
            (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (Algorithm::Sha256, "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            assert_eq!(response(algorithm, mufasa, rest), want);
        }
        // RFC 2617 section 3.5.
        let mufasa = ["Mufasa", "testrealm@host.com", "Circle Of Life"];
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let rest = ["GET", "/dir/index.html", nonce, "00000001", "0a4f113b", "auth"];
        assert_eq!(response(Algorithm::Md5, mufasa, rest), "6629fae49393a05397450978507c4ef1");
        // FIPS 180-4, SHA-512/256 of "abc".
        assert_eq!(
            Algorithm::Sha512_256.hex(&[b"abc"]),
            "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
        );
    }

    #[test]
    fn tokens_and_hashes_of_others_are_read() {
        for algorithm in Algorithm::ALL {
            let token = algorithm.token();
            assert_eq!(Algorithm::from_token(&token.to_lowercase()), Some(algorithm));
            let ha1 = algorithm.ha1("a", "b", "c");
            assert_eq!(algorithm.parse_ha1(&ha1.to_uppercase()), Some(Arc::clone(&ha1)));
            assert_eq!(algorithm.parse_ha1(&ha1[1..]), None);
            assert_eq!(algorithm.parse_ha1(&format!("{}g", &ha1[1..])), None);
        }
        assert_eq!(Algorithm::from_token("MD5-sess"), None);
        let secret = Secret { algorithm: Algorithm::Md5, ha1: "5eccre7".into() };
        assert!(!format!("{secret:?}").contains("5eccre7"));
    }
}
