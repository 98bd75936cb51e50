//! Digest authentication of requests, with nonces that need no memory.
//!
//! A nonce is `time` and a keyed MAC over it; it is good for [`NONCE_LIFETIME_S`] and bound to the
//! realm. Source: RFC 3261 section 22, RFC 7616; MD5 because that is what phones and `pjsip.conf`
//! have.

use lampfield_wire::{HeaderName, Message, split_list, unquote};
use md5::{Digest, Md5};

use crate::Time;
use crate::config::Auth;

/// Seconds a nonce is accepted; then the peer is told `stale=true` and tries again by itself.
const NONCE_LIFETIME_S: u64 = 300;

/// What a request proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It knows the secret.
    Proven,
    /// It does not, or said nothing.
    Unproven,
    /// It does, but with an old nonce.
    Stale,
}

/// Makes and checks nonces; its key lives as long as the process.
#[derive(Debug)]
pub(crate) struct Authenticator {
    key: [u8; 16],
}

impl Authenticator {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        Self { key: rng.u128(..).to_le_bytes() }
    }

    /// Value of a WWW-Authenticate header.
    pub(crate) fn challenge(&self, realm: &str, now: Time, stale: bool) -> String {
        let nonce = self.nonce(realm, now.as_secs());
        let stale = if stale { ",stale=true" } else { "" };
        format!("Digest realm=\"{realm}\",nonce=\"{nonce}\",algorithm=MD5,qop=\"auth\"{stale}")
    }

    /// Checks the Authorization headers of a request against one set of credentials.
    pub(crate) fn verify(&self, request: &Message<'_>, auth: &Auth, now: Time) -> Verdict {
        let method = request.method().unwrap_or_default();
        let mine = |value: &&[u8]| {
            let has = |name, want: &str| param(value, name) == Some(want.as_bytes());
            has("realm", &auth.realm) && has("username", &auth.username)
        };
        let Some(value) = request.headers(HeaderName::Authorization).find(mine) else {
            return Verdict::Unproven;
        };
        let get = |name| param(value, name).unwrap_or_default();
        let ha2 = md5_hex(&[method, get("uri")]);
        let ha1 = auth.ha1_md5.as_bytes();
        let want = match param(value, "qop") {
            None => md5_hex(&[ha1, get("nonce"), ha2.as_bytes()]),
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let parts = [ha1, get("nonce"), get("nc"), get("cnonce"), qop, ha2.as_bytes()];
                md5_hex(&parts)
            }
            Some(_) => return Verdict::Unproven,
        };
        if !is_equal(want.as_bytes(), get("response")) {
            return Verdict::Unproven;
        }
        self.judge_nonce(get("nonce"), &auth.realm, now)
    }

    fn judge_nonce(&self, nonce: &[u8], realm: &str, now: Time) -> Verdict {
        let made_at = nonce.get(..8).and_then(|t| std::str::from_utf8(t).ok());
        let Some(made_at) = made_at.and_then(|t| u64::from_str_radix(t, 16).ok()) else {
            return Verdict::Stale;
        };
        let is_ours = is_equal(self.nonce(realm, made_at).as_bytes(), nonce);
        let age_s = now.as_secs().checked_sub(made_at);
        match is_ours && age_s.is_some_and(|age_s| age_s < NONCE_LIFETIME_S) {
            true => Verdict::Proven,
            false => Verdict::Stale,
        }
    }

    fn nonce(&self, realm: &str, made_at_s: u64) -> String {
        let time = format!("{:08x}", made_at_s as u32);
        // Key at both ends: no length extension, no use of the inner hash alone.
        let inner = md5_hex(&[&self.key, time.as_bytes(), realm.as_bytes()]);
        format!("{time}{}", md5_hex(&[&self.key, inner.as_bytes()]))
    }
}

/// Lower-case hexadecimal MD5 of the parts joined by colons.
fn md5_hex(parts: &[&[u8]]) -> String {
    let mut md5 = Md5::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            md5.update(b":");
        }
        md5.update(part);
    }
    md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares without telling by its duration where the difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

/// A parameter of `Digest a=b, c="d"`, without quotes.
fn param<'a>(value: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = value.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case(b"Digest"))?;
    split_list(&value[rest.len()..]).find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let key = pair[..equals].trim_ascii();
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| unquote(pair[equals + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampfield_wire::Framing;

    fn subscribe(authorization: &str) -> Vec<u8> {
        format!(
            "SUBSCRIBE sip:1000@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:1000@h>\r\nCall-ID: c\r\nCSeq: 1 SUBSCRIBE\r\n{authorization}\r\n"
        )
        .into_bytes()
    }

    fn alice() -> Auth {
        let ha1_md5 = md5_hex(&[b"alice", b"lab", b"secret"]).into();
        Auth { username: "alice".into(), realm: "lab".into(), ha1_md5 }
    }

    fn nonce_of(challenge: &str) -> String {
        challenge
            .split("nonce=\"")
            .nth(1)
            .and_then(|n| n.split('"').next())
            .expect("a nonce")
            .into()
    }

    fn authorization(ha1: &str, nonce: &str) -> String {
        let ha2 = md5_hex(&[b"SUBSCRIBE", b"sip:1000@h"]);
        let parts = [ha1.as_bytes(), nonce.as_bytes(), b"0000000a", b"cn", b"auth", ha2.as_bytes()];
        format!(
            "Authorization: Digest username=\"alice\", realm=\"lab\", nonce=\"{nonce}\", uri=\"sip:1000@h\", \
             qop=auth, nc=0000000a, cnonce=\"cn\", response=\"{}\"\r\n",
            md5_hex(&parts)
        )
    }

    #[test]
    fn only_the_secret_and_a_young_nonce_of_ours_prove_anything() {
        let authenticator = Authenticator::new(&mut fastrand::Rng::with_seed(1));
        let other = Authenticator::new(&mut fastrand::Rng::with_seed(2));
        let now = Time::from_secs(1000);
        let nonce = nonce_of(&authenticator.challenge("lab", now, false));
        let foreign = nonce_of(&other.challenge("lab", now, false));
        let (good, bad) = (alice().ha1_md5, md5_hex(&[b"alice", b"lab", b"guess"]));
        for (header, at_s, want) in [
            (authorization(&good, &nonce), 1000, Verdict::Proven),
            (authorization(&good, &nonce), 1299, Verdict::Proven),
            (authorization(&good, &nonce), 1300, Verdict::Stale),
            (authorization(&good, &nonce), 999, Verdict::Stale),
            (authorization(&good, &foreign), 1000, Verdict::Stale),
            (authorization(&good, "x"), 1000, Verdict::Stale),
            (authorization(&bad, &nonce), 1000, Verdict::Unproven),
            (String::new(), 1000, Verdict::Unproven),
            ("Authorization: Digest\r\n".into(), 1000, Verdict::Unproven),
            ("Authorization: Basic eA==\r\n".into(), 1000, Verdict::Unproven),
        ] {
            let request = subscribe(&header);
            let request = Message::scan(&request, Framing::Datagram).expect("a request");
            let verdict = authenticator.verify(&request, &alice(), Time::from_secs(at_s));
            assert_eq!(verdict, want, "{header} at {at_s}");
        }
    }

    #[test]
    fn the_example_of_rfc_2617_comes_out() {
        let ha1 = md5_hex(&[b"Mufasa", b"testrealm@host.com", b"Circle Of Life"]);
        let ha2 = md5_hex(&[b"GET", b"/dir/index.html"]);
        let nonce = b"dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let parts = [ha1.as_bytes(), nonce, b"00000001", b"0a4f113b", b"auth", ha2.as_bytes()];
        assert_eq!(md5_hex(&parts), "6629fae49393a05397450978507c4ef1");
    }
}
