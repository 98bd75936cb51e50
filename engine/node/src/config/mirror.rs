//! What is known of a PBX that is mirrored: where it is, how to log in, whose sources it feeds.

use std::fmt;
use std::time::Duration;

use lampfield_core::placement::TenantId;

use super::acl;

/// One PBX whose states are followed over its manager interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MirrorConfig {
    /// What it is called on the console and in messages.
    pub name: String,
    /// `HOST:PORT` of its manager interface.
    pub address: String,
    /// The manager user.
    pub user: String,
    /// Its secret.
    pub secret: Secret,
    /// How it logs in.
    pub login: MirrorLogin,
    /// Whose sources it feeds.
    pub tenants: Vec<TenantId>,
    /// Which devices.
    pub devices: NamePatterns,
    /// Which presentities.
    pub presentities: NamePatterns,
    /// What watchers see when the PBX cannot be seen.
    pub stale: StalePolicy,
    /// From when on.
    pub stale_after: Duration,
    /// Pause before a second attempt to connect; it doubles with every further one.
    pub retry: Duration,
    /// Longest such pause.
    pub retry_max: Duration,
    /// Time between two pings.
    pub ping: Duration,
    /// How long an answer may take.
    pub answer: Duration,
    /// Time between two comparisons of everything; zero for none.
    pub resync: Duration,
    /// Devices and presentities it may have.
    pub name_count_max: usize,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            address: String::new(),
            user: String::new(),
            secret: Secret::default(),
            login: MirrorLogin::Md5,
            tenants: vec![TenantId(0)],
            devices: NamePatterns::default(),
            presentities: NamePatterns::default(),
            stale: StalePolicy::Unavailable,
            // A PBX that restarts is back before its lamps go dark.
            stale_after: Duration::from_secs(300),
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            ping: Duration::from_secs(10),
            answer: Duration::from_secs(5),
            resync: Duration::from_secs(900),
            name_count_max: 250_000,
        }
    }
}

/// A text that is not printed.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// How a mirror proves who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MirrorLogin {
    /// By the MD5 of a challenge and the secret, which does not cross the network.
    Md5,
    /// By the secret.
    Plain,
}

/// What watchers see of a PBX that has not been seen for [`MirrorConfig::stale_after`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StalePolicy {
    /// What was last known.
    Keep,
    /// Devices are `UNKNOWN`, which phones show as idle; presence is not set.
    Unknown,
    /// Devices are `UNAVAILABLE`; presence is not set.
    Unavailable,
}

impl StalePolicy {
    /// Every policy, with its name in files.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Keep, "keep"), (Self::Unknown, "unknown"), (Self::Unavailable, "unavailable")];

    /// Its name in files and on the console.
    pub fn token(self) -> &'static str {
        Self::ALL.iter().find(|(policy, _)| *policy == self).map_or("", |(_, token)| token)
    }
}

/// Names in which `*` stands for any text; one that begins with `!` excludes. Letter case does not
/// matter. The last that fits decides; a name that none fits is in only if there are no patterns
/// that include.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamePatterns {
    rows: Vec<String>,
}

impl NamePatterns {
    /// Patterns in their order.
    pub fn new(rows: Vec<String>) -> Self {
        Self { rows }
    }

    /// The patterns as they were written.
    pub fn rows(&self) -> &[String] {
        &self.rows
    }

    /// Whether a name is in.
    pub fn contains(&self, name: &str) -> bool {
        let fits = |row: &&String| matches(row.strip_prefix('!').unwrap_or(row), name);
        match self.rows.iter().rev().find(fits) {
            Some(row) => !row.starts_with('!'),
            None => self.rows.iter().all(|row| row.starts_with('!')),
        }
    }
}

/// Reads `HOST` or `HOST:PORT`, by name or IP address; the port is always in the result.
pub(super) fn address(text: &str, port: u16) -> Option<String> {
    let text = text.trim();
    if let Some(address) = acl::address(text, port) {
        return Some(address.to_string());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, port),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = host.contains(|c: char| c.is_ascii_alphabetic()) && host.chars().all(is_host);
    is_name.then(|| format!("{host}:{port}"))
}

/// Whether `name` fits `pattern`. Goes back to the last `*` only, so it takes at most the product
/// of both lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at_pattern, mut at_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&name[at_name]) => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at_pattern, at_name) = (after + 1, from + 1);
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_include_and_exclude() {
        for (rows, name, want) in [
            (&[][..], "PJSIP/2000", true),
            (&["*"], "PJSIP/2000", true),
            (&["PJSIP/2*"], "pjsip/2000", true),
            (&["PJSIP/2*"], "PJSIP/1000", false),
            (&["*2*0"], "PJSIP/2000", true),
            (&["*2*0"], "PJSIP/2001", false),
            (&["PJSIP/2000"], "PJSIP/2000", true),
            (&["PJSIP/2000"], "PJSIP/20000", false),
            (&["!Local/*"], "Local/x", false),
            (&["!Local/*"], "PJSIP/x", true),
            (&["PJSIP/*", "!PJSIP/9*", "PJSIP/99"], "PJSIP/98", false),
            (&["PJSIP/*", "!PJSIP/9*", "PJSIP/99"], "PJSIP/99", true),
            (&["PJSIP/*", "!PJSIP/9*", "PJSIP/99"], "SIP/1", false),
            (&[""], "", true),
            (&["**"], "", true),
        ] {
            let patterns = NamePatterns::new(rows.iter().map(|row| (*row).to_owned()).collect());
            assert_eq!(patterns.contains(name), want, "{rows:?} {name}");
        }
    }

    #[test]
    fn a_long_name_full_of_almosts_is_soon_decided() {
        assert!(!matches(&"a*".repeat(200), &"a".repeat(199)));
        assert!(!matches("*a*a*a*a*a*a*a*a*b", &"a".repeat(10_000)));
    }

    #[test]
    fn addresses_are_hosts_with_or_without_port() {
        for (text, want) in [
            ("192.0.2.1", Some("192.0.2.1:5038")),
            ("192.0.2.1:5039", Some("192.0.2.1:5039")),
            ("::1", Some("[::1]:5038")),
            ("[::1]:5039", Some("[::1]:5039")),
            ("pbx", Some("pbx:5038")),
            ("pbx-1.example.org:5039", Some("pbx-1.example.org:5039")),
            ("192.0.2.1.5", None),
            ("pbx:ami", None),
            ("pbx:99999", None),
            ("a b", None),
            ("", None),
        ] {
            assert_eq!(address(text, 5038).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let config = MirrorConfig { secret: Secret("geheim".into()), ..MirrorConfig::default() };
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
