//! Full URI validation and one canonical spelling, for the cold path.
//!
//! Configuration, administration and stored keys need every part of a URI checked and equal URIs
//! spelled equally. That is the work of the `sip-uri` library; [`split_uri`] goes first because
//! it bounds and refuses what a SIP URI in a header may not contain (white space, brackets,
//! control bytes, a question mark before the host).

use sip_uri::Uri;

use crate::header::{HeaderError, refuse};
use crate::uri::{UriParts, UserBuffer, decode_user, split_uri};

/// Checks a `sip:`, `sips:` or `tel:` URI completely and gives its canonical spelling: scheme
/// and host in lower case, needless escapes undone.
///
/// The library also undoes escapes that are needed (`%40` in a parameter). Where its spelling
/// would be read as another user, host or port, escapes stay as they were written.
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
    let kept = match split_uri(spelled.as_bytes()) {
        Ok(again) if is_same(&parts, &again) => again,
        _ => parts,
    };
    Ok(spell(&kept))
}

/// Whether two spellings name the same user at the same host and port.
fn is_same(one: &UriParts<'_>, other: &UriParts<'_>) -> bool {
    let (mut buffer_one, mut buffer_other) = (UserBuffer::new(), UserBuffer::new());
    one.host.eq_ignore_ascii_case(other.host)
        && one.port == other.port
        && one.password.is_some() == other.password.is_some()
        && decode_user(one.user, &mut buffer_one) == decode_user(other.user, &mut buffer_other)
}

fn spell(parts: &UriParts<'_>) -> String {
    let text = String::from_utf8_lossy;
    let mut spelled = text(parts.scheme).to_ascii_lowercase();
    spelled.push(':');
    spelled.push_str(&text(parts.user));
    if let Some(password) = parts.password {
        spelled.extend([":", &text(password)]);
    }
    if parts.is_sip() {
        if !parts.user.is_empty() {
            spelled.push('@');
        }
        spelled.push_str(&text(parts.host).to_ascii_lowercase());
    }
    if let Some(port) = parts.port {
        spelled.extend([":", itoa::Buffer::new().format(port)]);
    }
    spelled.push_str(&text(parts.params));
    if !parts.headers.is_empty() {
        spelled.extend(["?", &text(parts.headers)]);
    }
    spelled
}
