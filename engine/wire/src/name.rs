//! Header names: recognised once while scanning, compared as one byte afterwards.
//!
//! Names are case-insensitive and some have a compact form (RFC 3261 section 7.3.3; `o` and `u`
//! from RFC 6665 section 8.2).

macro_rules! header_names {
    ($( $variant:ident $long:literal $($short:literal)? ),* $(,)?) => {
        /// A header this engine knows, or [`HeaderName::Other`].
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum HeaderName {
            $(
                #[doc = concat!("`", $long, "`" $(, ", compact `", $short, "`")?)]
                $variant,
            )*
            /// Any other header; its spelling is in the header line.
            Other,
        }

        impl HeaderName {
            /// Every known header, in declaration order.
            pub const KNOWN: &'static [HeaderName] = &[$(HeaderName::$variant),*];

            /// The usual spelling; empty for [`HeaderName::Other`].
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $long,)*
                    HeaderName::Other => "",
                }
            }

            /// The one-letter form, where one is registered.
            pub const fn compact(self) -> Option<&'static str> {
                match self {
                    $($(HeaderName::$variant => Some($short),)?)*
                    _ => None,
                }
            }
        }
    };
}

header_names! {
    Via "Via" "v",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq",
    Contact "Contact" "m",
    MaxForwards "Max-Forwards",
    Event "Event" "o",
    Expires "Expires",
    Accept "Accept",
    AllowEvents "Allow-Events" "u",
    Supported "Supported" "k",
    Require "Require",
    ProxyRequire "Proxy-Require",
    Route "Route",
    RecordRoute "Record-Route",
    Path "Path",
    ContentType "Content-Type" "c",
    ContentLength "Content-Length" "l",
    ContentEncoding "Content-Encoding" "e",
    ContentDisposition "Content-Disposition",
    UserAgent "User-Agent",
    Server "Server",
    SubscriptionState "Subscription-State",
    MinExpires "Min-Expires",
    RetryAfter "Retry-After",
    Authorization "Authorization",
    ProxyAuthorization "Proxy-Authorization",
    WwwAuthenticate "WWW-Authenticate",
    SipEtag "SIP-ETag",
    SipIfMatch "SIP-If-Match",
    SuppressIfMatch "Suppress-If-Match",
    Allow "Allow",
    Unsupported "Unsupported",
    Warning "Warning",
}

impl HeaderName {
    /// Recognises a name in any letter case, long or compact.
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        use HeaderName as N;
        let Some(first) = name.first().map(u8::to_ascii_lowercase) else { return N::Other };
        if name.len() == 1 {
            return Self::from_compact(first);
        }
        let candidates: &[HeaderName] = match (name.len(), first) {
            (2, b't') => &[N::To],
            (3, b'v') => &[N::Via],
            (4, b'f') => &[N::From],
            (4, b'c') => &[N::CSeq],
            (4, b'p') => &[N::Path],
            (5, b'e') => &[N::Event],
            (5, b'r') => &[N::Route],
            (5, b'a') => &[N::Allow],
            (6, b'a') => &[N::Accept],
            (6, b's') => &[N::Server],
            (7, b'c') => &[N::CallId, N::Contact],
            (7, b'e') => &[N::Expires],
            (7, b'r') => &[N::Require],
            (7, b'w') => &[N::Warning],
            (8, b's') => &[N::SipEtag],
            (9, b's') => &[N::Supported],
            (10, b'u') => &[N::UserAgent],
            (11, b'm') => &[N::MinExpires],
            (11, b'r') => &[N::RetryAfter],
            (11, b'u') => &[N::Unsupported],
            (12, b'a') => &[N::AllowEvents],
            (12, b'c') => &[N::ContentType],
            (12, b'm') => &[N::MaxForwards],
            (12, b'r') => &[N::RecordRoute],
            (12, b's') => &[N::SipIfMatch],
            (13, b'a') => &[N::Authorization],
            (13, b'p') => &[N::ProxyRequire],
            (14, b'c') => &[N::ContentLength],
            (16, b'c') => &[N::ContentEncoding],
            (16, b'w') => &[N::WwwAuthenticate],
            (17, b's') => &[N::SuppressIfMatch],
            (18, b's') => &[N::SubscriptionState],
            (19, b'c') => &[N::ContentDisposition],
            (19, b'p') => &[N::ProxyAuthorization],
            _ => &[],
        };
        candidates
            .iter()
            .copied()
            .find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name))
            .unwrap_or(N::Other)
    }

    /// Headers that may appear only once; a second one, even an equal one, refuses the message.
    ///
    /// Two readers that pick different copies disagree about the dialog, the framing or the
    /// package; that disagreement is what an attacker wants (CVE-2020-27507).
    pub const fn is_single(self) -> bool {
        matches!(
            self,
            HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
                | HeaderName::MaxForwards
                | HeaderName::ContentLength
                | HeaderName::ContentType
                | HeaderName::Event
                | HeaderName::Expires
        )
    }

    fn from_compact(letter: u8) -> HeaderName {
        match letter {
            b'v' => HeaderName::Via,
            b'f' => HeaderName::From,
            b't' => HeaderName::To,
            b'i' => HeaderName::CallId,
            b'm' => HeaderName::Contact,
            b'o' => HeaderName::Event,
            b'u' => HeaderName::AllowEvents,
            b'k' => HeaderName::Supported,
            b'c' => HeaderName::ContentType,
            b'l' => HeaderName::ContentLength,
            b'e' => HeaderName::ContentEncoding,
            _ => HeaderName::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderName;

    #[test]
    fn every_known_name_is_found_in_every_spelling() {
        for &name in HeaderName::KNOWN {
            let long = name.as_str();
            for spelling in [long.to_owned(), long.to_lowercase(), long.to_uppercase()] {
                assert_eq!(HeaderName::from_bytes(spelling.as_bytes()), name, "{spelling}");
            }
            if let Some(short) = name.compact() {
                assert_eq!(HeaderName::from_bytes(short.as_bytes()), name, "{short}");
                let upper = short.to_uppercase();
                assert_eq!(HeaderName::from_bytes(upper.as_bytes()), name, "{upper}");
            }
        }
    }

    #[test]
    fn near_misses_are_other() {
        for name in ["", "x", "Vi", "Viaa", "Content-Lengths", "Content_Length", "s", "r", "b"] {
            assert_eq!(HeaderName::from_bytes(name.as_bytes()), HeaderName::Other, "{name}");
        }
    }
}
