//! Digest authentication of requests, with nonces that need no memory.
//!
//! A nonce is `time` and a keyed MAC over it; it is good for [`NONCE_LIFETIME_S`] and bound to the
//! realm. What credentials are used for is remembered that long ([`Replays`]). Source: RFC 3261
//! section 22, RFC 7616, RFC 8760: a challenge for each algorithm, the preferred one first.

use std::time::Duration;

use crate::Time;
use crate::config::Auth;
use crate::digest::Algorithm;
use crate::replay::{Replays, Use};
use lampfield_wire::{HeaderName, Message, split_list, split_uri, unquote};

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
    pub(crate) fn challenge(
        &self,
        realm: &str,
        algorithm: Algorithm,
        now: Time,
        stale: bool,
    ) -> String {
        let nonce = self.nonce(realm, now.as_secs());
        let algorithm = algorithm.token();
        let stale = if stale { ",stale=true" } else { "" };
        format!(
            "Digest realm=\"{realm}\",nonce=\"{nonce}\",algorithm={algorithm},qop=\"auth\"{stale}"
        )
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
        let named = param(value, "algorithm").map(std::str::from_utf8);
        let algorithm =
            named.map_or(Some(Algorithm::Md5), |token| token.ok().and_then(Algorithm::from_token));
        // Nothing weaker than what was asked for.
        let secret = auth.secrets.iter().find(|secret| Some(secret.algorithm) == algorithm);
        let Some(secret) = secret else { return Verdict::Unproven };
        let hex = |parts: &[&[u8]]| secret.algorithm.hex(parts);
        let ha2 = hex(&[method, get("uri")]);
        let ha1 = secret.ha1.as_bytes();
        let want = match param(value, "qop") {
            None => hex(&[ha1, get("nonce"), ha2.as_bytes()]),
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let parts = [ha1, get("nonce"), get("nc"), get("cnonce"), qop, ha2.as_bytes()];
                hex(&parts)
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
        let request = (request.request_uri(), names.map(|name| request.header(name)));
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
        // A hash that keeps a part of its state to itself needs no second key. A quarter of it: a
        // challenge is not to be longer than the request, and 64 bits cannot be guessed in the
        // life of a nonce.
        let mac = Algorithm::Sha512_256.hex(&[&self.key, time.as_bytes(), realm.as_bytes()]);
        format!("{time}{}", &mac[..16])
    }
}

/// Challenges as short as RFC 7616 allows: the last one only, which is the one most peers know, and
/// MD5 is what no algorithm means.
pub(crate) fn shorten_challenges(headers: &[u8]) -> Vec<u8> {
    let headers = String::from_utf8_lossy(headers);
    let last = headers.split_inclusive("\r\n").last().unwrap_or_default();
    last.replace("algorithm=MD5,", "").into_bytes()
}

/// Whether credentials for `uri` are good for a request to `request_uri`: the same bytes, or the
/// same user and host. A proxy may have changed parameters or the port on the way, and some clients
/// (SIPp among them) name the host alone. RFC 3261 section 22.4 leaves the check to us.
fn is_same_target(uri: &[u8], request_uri: &[u8]) -> bool {
    let [Ok(a), Ok(b)] = [uri, request_uri].map(split_uri) else { return uri == request_uri };
    (a.user.is_empty() || a.user == b.user) && a.host.eq_ignore_ascii_case(b.host)
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
    use crate::digest::Secret;
    use lampfield_wire::Framing;

    fn subscribe(cseq: u32, authorization: &str) -> Vec<u8> {
        format!(
            "SUBSCRIBE sip:1000@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:1000@h>\r\nCall-ID: c\r\nCSeq: {cseq} SUBSCRIBE\r\n{authorization}\r\n"
        )
        .into_bytes()
    }

    /// Asked for two of the three algorithms.
    fn alice() -> Auth {
        let secrets = [Algorithm::Sha256, Algorithm::Md5]
            .map(|algorithm| Secret { algorithm, ha1: algorithm.ha1("alice", "lab", "secret") });
        Auth { username: "alice".into(), realm: "lab".into(), secrets: secrets.into() }
    }

    fn nonce_of(challenge: &str) -> String {
        challenge
            .split("nonce=\"")
            .nth(1)
            .and_then(|n| n.split('"').next())
            .expect("a nonce")
            .into()
    }

    /// What a client writes that names its algorithm, or, for `None`, does not.
    fn authorization(
        algorithm: Option<Algorithm>,
        password: &str,
        nonce: &str,
        uri: &str,
        nc: u32,
    ) -> String {
        let named = algorithm.map(|algorithm| format!(", algorithm={}", algorithm.token()));
        let algorithm = algorithm.unwrap_or(Algorithm::Md5);
        let ha1 = algorithm.ha1("alice", "lab", password);
        let ha2 = algorithm.hex(&[b"SUBSCRIBE", uri.as_bytes()]);
        let nc = format!("{nc:08x}");
        let response = algorithm.hex(&[&ha1, nonce, &nc, "cn", "auth", &ha2].map(str::as_bytes));
        let named = named.unwrap_or_default();
        format!(
            "Authorization: Digest username=\"alice\", realm=\"lab\", nonce=\"{nonce}\", uri=\"{uri}\", \
             qop=auth, nc={nc}, cnonce=\"cn\", response=\"{response}\"{named}\r\n"
        )
    }

    fn verdict(authenticator: &mut Authenticator, header: &str, cseq: u32, at_s: u64) -> Verdict {
        let request = subscribe(cseq, header);
        let request = Message::scan(&request, Framing::Datagram).expect("a request");
        authenticator.verify(&request, &alice(), Time::from_secs(at_s))
    }

    #[test]
    fn only_the_secret_a_young_nonce_of_ours_and_a_new_count_prove_anything() {
        let mut authenticator = Authenticator::new(&mut fastrand::Rng::with_seed(1));
        let other = Authenticator::new(&mut fastrand::Rng::with_seed(2));
        let now = Time::from_secs(1000);
        let nonce = nonce_of(&authenticator.challenge("lab", Algorithm::Md5, now, false));
        let foreign = nonce_of(&other.challenge("lab", Algorithm::Md5, now, false));
        let here = "sip:1000@h";
        let authorize = |password, nonce, uri, nc| authorization(None, password, nonce, uri, nc);
        let with = |nc| authorize("secret", &nonce, here, nc);
        for (header, cseq, at_s, want) in [
            (with(1), 1, 1000, Verdict::Proven),
            (with(1), 1, 1031, Verdict::Proven),
            (with(1), 2, 1031, Verdict::Stale),
            (with(2), 2, 1031, Verdict::Proven),
            (with(1), 1, 1032, Verdict::Stale),
            (with(3), 3, 1299, Verdict::Proven),
            (with(4), 4, 1300, Verdict::Stale),
            (with(4), 4, 999, Verdict::Stale),
            (authorize("secret", &foreign, here, 5), 5, 1000, Verdict::Stale),
            (authorize("secret", "x", here, 5), 5, 1000, Verdict::Stale),
            (authorize("guess", &nonce, here, 5), 5, 1000, Verdict::Unproven),
            (authorize("secret", &nonce, "sip:1001@h", 5), 5, 1000, Verdict::Unproven),
            (authorize("secret", &nonce, "sip:1000@i", 5), 5, 1000, Verdict::Unproven),
            (authorize("secret", &nonce, "", 5), 5, 1000, Verdict::Unproven),
            (authorize("secret", &nonce, "sip:i", 5), 5, 1000, Verdict::Unproven),
            (authorize("secret", &nonce, "sip:h:5060", 6), 6, 1299, Verdict::Proven),
            (authorize("secret", &nonce, "sip:1000@H:5060;a=b", 5), 5, 1299, Verdict::Proven),
            (String::new(), 6, 1000, Verdict::Unproven),
            ("Authorization: Digest\r\n".into(), 6, 1000, Verdict::Unproven),
            ("Authorization: Basic eA==\r\n".into(), 6, 1000, Verdict::Unproven),
        ] {
            let verdict = verdict(&mut authenticator, &header, cseq, at_s);
            assert_eq!(verdict, want, "{header} at {at_s}");
        }
    }

    #[test]
    fn a_secret_is_proven_in_the_algorithms_asked_for_and_in_no_other() {
        let mut authenticator = Authenticator::new(&mut fastrand::Rng::with_seed(1));
        let challenge =
            authenticator.challenge("lab", Algorithm::Sha256, Time::from_secs(9), false);
        assert!(challenge.contains("algorithm=SHA-256,"), "{challenge}");
        let nonce = nonce_of(&challenge);
        for (nc, (algorithm, password, want)) in [
            (Some(Algorithm::Md5), "secret", Verdict::Proven),
            (Some(Algorithm::Sha256), "secret", Verdict::Proven),
            (Some(Algorithm::Sha256), "guess", Verdict::Unproven),
            (Some(Algorithm::Sha512_256), "secret", Verdict::Unproven),
        ]
        .into_iter()
        .enumerate()
        {
            let header = authorization(algorithm, password, &nonce, "sip:1000@h", nc as u32 + 1);
            let verdict = verdict(&mut authenticator, &header, nc as u32, 9);
            assert_eq!(verdict, want, "{header}");
        }
        let sess = authorization(Some(Algorithm::Md5), "secret", &nonce, "sip:1000@h", 9);
        let sess = sess.replace("algorithm=MD5", "algorithm=MD5-sess");
        assert_eq!(verdict(&mut authenticator, &sess, 9, 9), Verdict::Unproven);
    }

    #[test]
    fn a_short_answer_holds_the_challenge_most_peers_know() {
        let both = b"WWW-Authenticate: Digest algorithm=SHA-256,a\r\nWWW-Authenticate: Digest algorithm=MD5,a\r\n";
        assert_eq!(shorten_challenges(both), b"WWW-Authenticate: Digest a\r\n");
    }
}
