//! Digest authentication of requests, with nonces that need no memory.
//!
//! A nonce is `time` and a keyed MAC over it; it is good for [`NONCE_LIFETIME_S`] and bound to the
//! realm. What credentials are used for is remembered that long ([`Replays`]). Source: RFC 3261 section 22, RFC 7616; MD5 because that is what phones and `pjsip.conf`
//! have.

use std::time::Duration;

use lampfield_wire::{HeaderName, Message, split_list, split_uri, unquote};
use md5::{Digest, Md5};

use crate::Time;
use crate::config::Auth;
use crate::replay::{Replays, Use};

/// Seconds a nonce is accepted; then the peer is told `stale=true` and tries again by itself.
const NONCE_LIFETIME_S: u64 = 300;

/// What a request proved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It knows the secret.
    Proven,
    /// It does not, or said nothing.
    Unproven,
    /// It does, but with an old nonce, or one whose count was used for another request.
    Stale,
}

/// Makes and checks nonces; its key lives as long as the process.
#[derive(Debug)]
pub(crate) struct Authenticator {
    key: [u8; 16],
    replays: Replays,
    hasher: ahash::RandomState,
}

impl Authenticator {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        let key = rng.u128(..).to_le_bytes();
        let [a, b, c, d] = [(); 4].map(|()| rng.u64(..));
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let replays = Replays::new(hasher.clone(), Duration::from_secs(NONCE_LIFETIME_S));
        Self { key, replays, hasher }
    }

    /// Value of a WWW-Authenticate header.
    pub(crate) fn challenge(&self, realm: &str, now: Time, stale: bool) -> String {
        let nonce = self.nonce(realm, now.as_secs());
        let stale = if stale { ",stale=true" } else { "" };
        format!("Digest realm=\"{realm}\",nonce=\"{nonce}\",algorithm=MD5,qop=\"auth\"{stale}")
    }

    /// Checks the Authorization headers of a request against one set of credentials.
    pub(crate) fn verify(&mut self, request: &Message<'_>, auth: &Auth, now: Time) -> Verdict {
        let method = request.method().unwrap_or_default();
        let mine = |value: &&[u8]| {
            let has = |name, want: &str| param(value, name) == Some(want.as_bytes());
            has("realm", &auth.realm) && has("username", &auth.username)
        };
        let Some(value) = request.headers(HeaderName::Authorization).find(mine) else {
            return Verdict::Unproven;
        };
        let get = |name| param(value, name).unwrap_or_default();
        if !is_same_target(get("uri"), request.request_uri().unwrap_or_default()) {
            return Verdict::Unproven;
        }
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
        let verdict = self.judge_nonce(get("nonce"), &auth.realm, now);
        // Without qop there is no count: RFC 2069 clients use a nonce as long as it is good.
        if verdict != Verdict::Proven || param(value, "qop").is_none() {
            return verdict;
        }
        let credentials = ["username", "nonce", "nc", "cnonce"].map(get);
        let names = [HeaderName::CallId, HeaderName::From, HeaderName::CSeq];
        let request = names.map(|name| request.header(name));
        let used = Use {
            credentials: self.hasher.hash_one(credentials),
            request: self.hasher.hash_one(request),
        };
        if self.replays.admit(used, now) { Verdict::Proven } else { Verdict::Stale }
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
        // Half of the MAC: a challenge is not to be longer than the request, and 64 bits cannot be
        // guessed in the life of a nonce.
        let mac = md5_hex(&[&self.key, inner.as_bytes()]);
        format!("{time}{}", &mac[..16])
    }
}

/// A challenge as short as RFC 7616 allows: MD5 is what no algorithm means.
pub(crate) fn shorten_challenge(header: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(header).replace("algorithm=MD5,", "").into_bytes()
}

/// Whether credentials for `uri` are good for a request to `request_uri`: the same bytes, or the
/// same user and host. A proxy may have changed parameters or the port on the way.
fn is_same_target(uri: &[u8], request_uri: &[u8]) -> bool {
    let [Ok(a), Ok(b)] = [uri, request_uri].map(split_uri) else { return uri == request_uri };
    a.user == b.user && a.host.eq_ignore_ascii_case(b.host)
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

    fn subscribe(cseq: u32, authorization: &str) -> Vec<u8> {
        format!(
            "SUBSCRIBE sip:1000@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:1000@h>\r\nCall-ID: c\r\nCSeq: {cseq} SUBSCRIBE\r\n{authorization}\r\n"
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

    fn authorization(ha1: &str, nonce: &str, uri: &str, nc: u32) -> String {
        let (ha2, nc) = (md5_hex(&[b"SUBSCRIBE", uri.as_bytes()]), format!("{nc:08x}"));
        let parts = [ha1, nonce, &nc, "cn", "auth", &ha2].map(str::as_bytes);
        let response = md5_hex(&parts);
        format!(
            "Authorization: Digest username=\"alice\", realm=\"lab\", nonce=\"{nonce}\", uri=\"{uri}\", \
             qop=auth, nc={nc}, cnonce=\"cn\", response=\"{response}\"\r\n"
        )
    }

    #[test]
    fn only_the_secret_a_young_nonce_of_ours_and_a_new_count_prove_anything() {
        let mut authenticator = Authenticator::new(&mut fastrand::Rng::with_seed(1));
        let other = Authenticator::new(&mut fastrand::Rng::with_seed(2));
        let now = Time::from_secs(1000);
        let nonce = nonce_of(&authenticator.challenge("lab", now, false));
        let foreign = nonce_of(&other.challenge("lab", now, false));
        let (good, bad) = (alice().ha1_md5, md5_hex(&[b"alice", b"lab", b"guess"]));
        let here = "sip:1000@h";
        let with = |nc| authorization(&good, &nonce, here, nc);
        for (header, cseq, at_s, want) in [
            (with(1), 1, 1000, Verdict::Proven),
            (with(1), 1, 1031, Verdict::Proven),
            (with(1), 2, 1031, Verdict::Stale),
            (with(2), 2, 1031, Verdict::Proven),
            (with(1), 1, 1032, Verdict::Stale),
            (with(3), 3, 1299, Verdict::Proven),
            (with(4), 4, 1300, Verdict::Stale),
            (with(4), 4, 999, Verdict::Stale),
            (authorization(&good, &foreign, here, 5), 5, 1000, Verdict::Stale),
            (authorization(&good, "x", here, 5), 5, 1000, Verdict::Stale),
            (authorization(&bad, &nonce, here, 5), 5, 1000, Verdict::Unproven),
            (authorization(&good, &nonce, "sip:1001@h", 5), 5, 1000, Verdict::Unproven),
            (authorization(&good, &nonce, "sip:1000@i", 5), 5, 1000, Verdict::Unproven),
            (authorization(&good, &nonce, "", 5), 5, 1000, Verdict::Unproven),
            (authorization(&good, &nonce, "sip:1000@H:5060;a=b", 5), 5, 1299, Verdict::Proven),
            (String::new(), 6, 1000, Verdict::Unproven),
            ("Authorization: Digest\r\n".into(), 6, 1000, Verdict::Unproven),
            ("Authorization: Basic eA==\r\n".into(), 6, 1000, Verdict::Unproven),
        ] {
            let request = subscribe(cseq, &header);
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
