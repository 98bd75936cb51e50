//! What an extension shows: devices, presence sources, display name.
//!
//! ```text
//! PJSIP/2000&Custom:door,CustomPresence:2000(Reception)
//! `---- devices -------' `--- presence ----' `- name -'
//! ```
//!
//! Source: `reference/states.md` section 5.

use std::sync::Arc;

/// Bytes of a hint's text; what a line of a dialplan file holds.
pub const HINT_BYTES_MAX: usize = 8192;

/// Devices, and presence sources, of one hint. Every one costs a listener on another shard.
pub const HINT_SOURCE_COUNT_MAX: usize = 256;

/// What an extension shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hint {
    /// The hint text as configured (variables expanded), as in AMI `Hint`.
    pub text: Arc<str>,
    /// Device names; their states are aggregated. May be empty.
    pub devices: Vec<Arc<str>>,
    /// Presence sources; the highest rank wins. May be empty.
    pub presence: Vec<Arc<str>>,
    /// Display name from the parentheses.
    pub display_name: Option<Arc<str>>,
    /// While the last device and the last presence source say something, the others do not count.
    pub last_overrules: bool,
    /// The extension that plays the messages, for mailboxes.
    pub voicemail_extension: Option<Arc<str>>,
    /// Where it was configured, as `file:line`; empty if generated.
    pub origin: Arc<str>,
}

/// Why a text is not a hint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HintError {
    /// Too long a text.
    #[error("a hint has at most {HINT_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Too many devices or presence sources.
    #[error("a hint names at most {HINT_SOURCE_COUNT_MAX} devices and as many presence sources")]
    TooManySources,
    /// A control character would break the line-based protocols that print hints.
    #[error("a hint holds no control characters")]
    ControlCharacter,
}

impl Hint {
    /// Reads a hint whose variables are already expanded.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn parse(text: &str, origin: &str) -> Result<Self, HintError> {
        let (text, display_name) = split_display_name(text);
        Self::from_parts(text, display_name, origin)
    }

    /// A hint at these devices and nothing else, whatever their names.
    ///
    /// # Errors
    ///
    /// Too many of them, or names that no line can hold.
    pub(crate) fn of_devices(
        devices: impl Iterator<Item = Arc<str>>,
        origin: &str,
    ) -> Result<Self, HintError> {
        let devices: Vec<Arc<str>> = devices.collect();
        if devices.len() > HINT_SOURCE_COUNT_MAX {
            return Err(HintError::TooManySources);
        }
        let text = devices.join("&");
        if text.len() > HINT_BYTES_MAX {
            return Err(HintError::TooLong(text.len()));
        }
        if text.contains(char::is_control) {
            return Err(HintError::ControlCharacter);
        }
        Ok(Self { text: text.into(), devices, origin: origin.into(), ..Self::default() })
    }

    /// Reads a hint whose display name was split off before its variables were expanded.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn from_parts(
        text: &str,
        display_name: Option<&str>,
        origin: &str,
    ) -> Result<Self, HintError> {
        check(text)?;
        check(display_name.unwrap_or_default())?;
        let (devices, presence) = split_sources(text)?;
        let owned = |names: Vec<&str>| names.into_iter().map(Arc::from).collect();
        Ok(Self {
            text: text.into(),
            devices: owned(devices),
            presence: owned(presence),
            display_name: display_name.filter(|name| !name.is_empty()).map(Arc::from),
            last_overrules: false,
            voicemail_extension: None,
            origin: origin.into(),
        })
    }
}

/// Splits `devices,presence(Display name)` before the parenthesis.
///
/// A variable or expression before the parenthesis makes the parenthesis part of the hint: Asterisk
/// takes it for a function's then. Without a closing parenthesis the name goes to the end.
pub fn split_display_name(text: &str) -> (&str, Option<&str>) {
    let text = text.trim_start_matches([' ', '\t']);
    let Some((hint, rest)) = text.split_once('(') else { return (text, None) };
    if hint.contains("${") || hint.contains("$[") {
        return (text, None);
    }
    (hint, Some(rest.rsplit_once(')').map_or(rest, |(name, _)| name)))
}

/// Splits at the first comma into devices and presence, and each at `&`; empty names are left out.
pub(super) fn split_sources(text: &str) -> Result<(Vec<&str>, Vec<&str>), HintError> {
    let (devices, presence) = text.split_once(',').unwrap_or((text, ""));
    let names = |list: &'_ str| list.split('&').filter(|name| !name.is_empty()).count();
    if names(devices).max(names(presence)) > HINT_SOURCE_COUNT_MAX {
        return Err(HintError::TooManySources);
    }
    let split = |list| str::split(list, '&').filter(|name| !name.is_empty()).collect();
    Ok((split(devices), split(presence)))
}

/// Bounds and characters of a hint text or display name.
pub(super) fn check(text: &str) -> Result<(), HintError> {
    if text.len() > HINT_BYTES_MAX {
        return Err(HintError::TooLong(text.len()));
    }
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(HintError::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_hint_reads_as_asterisk_reads_it() {
        type Row =
            (&'static str, &'static [&'static str], &'static [&'static str], Option<&'static str>);
        let rows: [Row; 14] = [
            ("PJSIP/alice", &["PJSIP/alice"], &[], None),
            ("PJSIP/a&SIP/b&Custom:c", &["PJSIP/a", "SIP/b", "Custom:c"], &[], None),
            ("PJSIP/a,CustomPresence:a", &["PJSIP/a"], &["CustomPresence:a"], None),
            (",CustomPresence:a", &[], &["CustomPresence:a"], None),
            ("PJSIP/a(Joe Schmoe)", &["PJSIP/a"], &[], Some("Joe Schmoe")),
            ("PJSIP/a,CustomPresence:a(Joe)", &["PJSIP/a"], &["CustomPresence:a"], Some("Joe")),
            ("PJSIP/a(Joe (desk))", &["PJSIP/a"], &[], Some("Joe (desk)")),
            ("PJSIP/a(Joe", &["PJSIP/a"], &[], Some("Joe")),
            ("PJSIP/a()", &["PJSIP/a"], &[], None),
            ("PJSIP/${X}(Joe)", &["PJSIP/${X}(Joe)"], &[], None),
            ("&PJSIP/a&&Custom:b&", &["PJSIP/a", "Custom:b"], &[], None),
            ("Custom:a,P:b,P:c&P:d", &["Custom:a"], &["P:b,P:c", "P:d"], None),
            ("  Custom:a & Custom:b", &["Custom:a ", " Custom:b"], &[], None),
            ("", &[], &[], None),
        ];
        for (text, devices, presence, display_name) in rows {
            let hint = Hint::parse(text, "extensions.conf:1").unwrap();
            let strings =
                |names: &[Arc<str>]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
            assert_eq!(strings(&hint.devices), devices, "{text}");
            assert_eq!(strings(&hint.presence), presence, "{text}");
            assert_eq!(hint.display_name.as_deref(), display_name, "{text}");
            assert_eq!(&*hint.origin, "extensions.conf:1");
        }
        assert_eq!(&*Hint::parse(" PJSIP/a,P:a(Joe)", "").unwrap().text, "PJSIP/a,P:a");
    }

    #[test]
    fn a_hint_is_bounded() {
        let devices = |count| vec!["Custom:a"; count].join("&");
        assert!(Hint::parse(&devices(HINT_SOURCE_COUNT_MAX), "").is_ok());
        for (text, want) in [
            (devices(HINT_SOURCE_COUNT_MAX + 1), HintError::TooManySources),
            ("x".repeat(HINT_BYTES_MAX + 1), HintError::TooLong(HINT_BYTES_MAX + 1)),
            ("Custom:a\r\nEvent: x".into(), HintError::ControlCharacter),
            ("Custom:a(x\ny)".into(), HintError::ControlCharacter),
        ] {
            assert_eq!(Hint::parse(&text, ""), Err(want), "{text:.40}");
        }
    }
}
