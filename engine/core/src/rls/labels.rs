//! What a list is called: texts that every list subscription has, in one piece of memory.

use crate::body::escaped;

/// Label, URI and host of a list subscription.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Labels {
    /// The label, the URI, and once more the URI if escaping changed it.
    texts: Box<str>,
    label_end: u32,
    uri_end: u32,
    request_uri_start: u32,
    host_start: u32,
    host_end: u32,
}

impl Labels {
    /// Of a list named `name` that was subscribed by `uri`, which has this host.
    pub(super) fn new(name: &str, uri: &str, host: &[u8]) -> Self {
        let (label, escaped_uri) = (escaped(name), escaped(uri));
        let mut texts = String::with_capacity(label.len() + escaped_uri.len() + uri.len());
        texts.push_str(&label);
        let label_end = texts.len();
        texts.push_str(&escaped_uri);
        let uri_end = texts.len();
        let mut request_uri_start = label_end;
        if *escaped_uri != *uri {
            request_uri_start = uri_end;
            texts.push_str(uri);
        }
        let host = String::from_utf8_lossy(host);
        let host_start = request_uri_start + uri.find(&*host).unwrap_or(uri.len());
        let host_end = (host_start + host.len()).min(texts.len());
        Self {
            texts: texts.into(),
            label_end: label_end as u32,
            uri_end: uri_end as u32,
            request_uri_start: request_uri_start as u32,
            host_start: host_start as u32,
            host_end: host_end as u32,
        }
    }

    /// Name of the list, escaped for XML.
    pub(crate) fn label(&self) -> &str {
        &self.texts[..self.label_end as usize]
    }

    /// URI it was subscribed by, escaped for XML.
    pub(crate) fn uri(&self) -> &str {
        &self.texts[self.label_end as usize..self.uri_end as usize]
    }

    /// URI it was subscribed by.
    pub(crate) fn request_uri(&self) -> &str {
        &self.texts[self.request_uri_start as usize..]
    }

    /// Host of that URI: the right side of Content-IDs.
    pub(crate) fn host(&self) -> &str {
        &self.texts[self.host_start as usize..self.host_end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_whether_escaped_or_not() {
        for (name, label, uri, escaped) in [
            ("team", "team", "sip:team@pbx.example:5070;a=b", "sip:team@pbx.example:5070;a=b"),
            ("R&D", "R&amp;D", "sip:r@pbx.example?a&b", "sip:r@pbx.example?a&amp;b"),
            ("", "", "sip:pbx.example@pbx.example", "sip:pbx.example@pbx.example"),
        ] {
            let labels = Labels::new(name, uri, b"pbx.example");
            assert_eq!((labels.label(), labels.uri()), (label, escaped));
            assert_eq!((labels.request_uri(), labels.host()), (uri, "pbx.example"));
        }
    }
}
