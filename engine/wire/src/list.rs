//! Comma lists and `;name=value` parameters, with quoted strings and `<...>` kept whole.

use crate::chars::{quoted_end, trim};

/// Splits a comma list into trimmed items; empty items are left out.
///
/// A comma inside a quoted string or between angle brackets belongs to the item. An unclosed
/// quote or bracket makes the rest of the value one item, which its own parser then refuses.
pub fn split_list(value: &[u8]) -> SplitList<'_> {
    SplitList { rest: value }
}

/// See [`split_list`].
#[derive(Clone, Debug)]
pub struct SplitList<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SplitList<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = find_separator(self.rest, b',');
            let item = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !item.is_empty() {
                return Some(item);
            }
        }
        None
    }
}

/// Splits `;name=value;flag` (leading semicolon optional) into names and raw values.
///
/// A flag has the value `None`; quotes around a value are kept, see [`unquote`].
pub fn split_params(params: &[u8]) -> SplitParams<'_> {
    SplitParams { rest: params }
}

/// See [`split_params`].
#[derive(Clone, Debug)]
pub struct SplitParams<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SplitParams<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = find_separator(self.rest, b';');
            let item = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if item.is_empty() {
                continue;
            }
            return Some(match memchr::memchr(b'=', item) {
                Some(equals) => (trim(&item[..equals]), Some(trim(&item[equals + 1..]))),
                None => (item, None),
            });
        }
        None
    }
}

/// First parameter of that name, in any letter case; a flag gives `Some(b"")`, and the quotes
/// around a quoted value are taken off (escapes inside stay).
pub fn find_param<'a>(params: &'a [u8], name: &str) -> Option<&'a [u8]> {
    split_params(params)
        .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value.map_or(&[][..], unquote))
}

/// Takes the quotes off a quoted string; anything else comes back unchanged.
pub fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Index of the next `separator` outside quotes and angle brackets, or the length.
fn find_separator(bytes: &[u8], separator: u8) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            _ if byte == separator => return at,
            b'"' => match quoted_end(bytes, at) {
                Some(end) => at = end,
                None => return bytes.len(),
            },
            b'<' => match memchr::memchr(b'>', &bytes[at..]) {
                Some(length) => at += length + 1,
                None => return bytes.len(),
            },
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_at_free_commas_only() {
        for (value, want) in [
            ("", &[][..]),
            (" , ,", &[]),
            ("a", &["a"]),
            ("a,b , c", &["a", "b", "c"]),
            ("\"x, y\" <sip:a@b,c>, <sip:d@e>", &["\"x, y\" <sip:a@b,c>", "<sip:d@e>"]),
            ("\"a\\\",b\" <sip:x@y>,z", &["\"a\\\",b\" <sip:x@y>", "z"]),
            ("a,\r\n b", &["a", "b"]),
            ("\"never closed, b", &["\"never closed, b"]),
            ("<never, closed", &["<never, closed"]),
            ("\"backslash at the end\\", &["\"backslash at the end\\"]),
        ] {
            let items: Vec<_> =
                split_list(value.as_bytes()).map(|item| str::from_utf8(item).unwrap()).collect();
            assert_eq!(items, want, "{value}");
        }
    }

    #[test]
    fn params_are_found_in_any_case_and_unquoted() {
        let params = b";LR; ttl = 16 ;x=\"a;b=c\";+sip.instance=\"<urn:uuid:1>\";x=2";
        for (name, want) in [
            ("lr", Some(&b""[..])),
            ("TTL", Some(b"16")),
            ("x", Some(b"a;b=c")),
            ("+sip.instance", Some(b"<urn:uuid:1>")),
            ("b", None),
            ("", None),
        ] {
            assert_eq!(find_param(params, name), want, "{name}");
        }
    }
}
