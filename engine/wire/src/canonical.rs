//! Full URI validation and one canonical spelling, for the cold path.
//!
//! Configuration, administration and stored keys need every part of a URI checked and equal URIs
//! spelled equally. That is the work of the `sip-uri` library; [`split_uri`] goes first because
//! it bounds and refuses what a SIP URI in a header may not contain (white space, brackets,
//! control bytes, a question mark before the host).

use sip_uri::Uri;

use crate::header::{HeaderError, refuse};
use crate::uri::split_uri;

/// Checks a `sip:`, `sips:` or `tel:` URI completely and gives its canonical spelling: scheme
/// and host in lower case, needless escapes undone.
///
/// # Errors
///
/// Another scheme, bytes that are no UTF-8, or whatever [`split_uri`] or the library refuses.
pub fn canonical_uri(uri: &[u8]) -> Result<String, HeaderError> {
    let parts = split_uri(uri)?;
    let Ok(text) = str::from_utf8(uri) else { return refuse("URI is not UTF-8", 0) };
    let Ok(parsed) = text.parse::<Uri>() else { return refuse("URI is malformed", 0) };
    let is_known = parsed.as_sip().is_some() || parsed.as_tel().is_some();
    if !is_known {
        return refuse("scheme is not sip, sips or tel", 0);
    }
    let spelled = parsed.to_string();
    let host = str::from_utf8(parts.host).unwrap_or_default();
    let start = spelled.rfind('@').map_or_else(|| spelled.find(':').unwrap_or(0) + 1, |at| at + 1);
    match spelled.get(start..start + host.len()) {
        Some(found) if found.eq_ignore_ascii_case(host) => {
            let (before, rest) = spelled.split_at(start);
            Ok([before, &host.to_ascii_lowercase(), &rest[host.len()..]].concat())
        }
        _ => Ok(spelled),
    }
}
