//! `rsip` as an independent second reader of a sample of what the target sends.
//!
//! Our scanner reads everything; if it misread a server, every number would be wrong in the same
//! direction. So one message in many is read again by a parser that shares no code with it, and
//! the facts that matter are compared. Of lists, what the plain reader says is compared with what the
//! full one does (`plain_rlmi`). `rsip` refuses some legal SIP (folding, some headers), which is
//! counted apart: a refusal is no disagreement.

use lampfield_wire::{CSeq, HeaderName, Message, NameAddr};
use rsip::message::HeadersExt as _;
use rsip::prelude::UntypedHeader as _;

use crate::list_body::ListBody;

/// What the comparison found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Findings {
    /// Messages and lists read twice.
    pub compared_count: u64,
    /// Messages `rsip` could not read.
    pub refused_count: u64,
    /// Messages read differently.
    pub disagreed_count: u64,
    /// The first disagreement, in words.
    pub example: Option<String>,
}

/// The facts both readers must agree on.
#[derive(Debug, Eq, PartialEq)]
struct Facts {
    start: String,
    call_id: String,
    cseq: Option<(u32, String)>,
    from_tag: Option<String>,
    to_tag: Option<String>,
    via_count: usize,
    body_bytes: usize,
}

impl Findings {
    /// Reads `bytes` again and compares with what our scanner found in them.
    pub fn compare(&mut self, bytes: &[u8], message: &Message<'_>) {
        let Ok(second) = rsip::SipMessage::try_from(bytes) else {
            self.refused_count += 1;
            return;
        };
        let Some(theirs) = theirs(&second) else {
            self.refused_count += 1;
            return;
        };
        self.compared_count += 1;
        let ours = ours(message);
        if ours != theirs {
            self.disagreed_count += 1;
            self.example.get_or_insert_with(|| format!("scanner {ours:?}, rsip {theirs:?}"));
        }
    }

    /// Compares the two readings of a list: the plain reader must not see what is not there.
    pub fn compare_lists(
        &mut self,
        fast: &Result<ListBody<'_>, String>,
        full: &Result<ListBody<'_>, String>,
    ) {
        self.compared_count += 1;
        if fast.as_ref().ok() != full.as_ref().ok() {
            self.disagreed_count += 1;
            self.example.get_or_insert_with(|| format!("plain list {fast:?}, full {full:?}"));
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Findings) {
        self.compared_count += other.compared_count;
        self.refused_count += other.refused_count;
        self.disagreed_count += other.disagreed_count;
        if self.example.is_none() {
            self.example.clone_from(&other.example);
        }
    }
}

fn ours(message: &Message<'_>) -> Facts {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let tag = |name| {
        let address = NameAddr::parse(message.header(name)?).ok()?;
        address.tag().map(text)
    };
    let cseq = message.header(HeaderName::CSeq).and_then(|value| CSeq::parse(value).ok());
    Facts {
        start: message.method().map_or_else(
            || message.status().map_or_else(String::new, |code| code.to_string()),
            text,
        ),
        call_id: message.header(HeaderName::CallId).map_or_else(String::new, text),
        cseq: cseq.map(|cseq| (cseq.number, text(cseq.method))),
        from_tag: tag(HeaderName::From),
        to_tag: tag(HeaderName::To),
        via_count: message.headers(HeaderName::Via).count(),
        body_bytes: message.body().len(),
    }
}

fn theirs(message: &rsip::SipMessage) -> Option<Facts> {
    use rsip::message::HasHeaders as _;
    let cseq =
        message.cseq_header().ok()?.seq().ok().zip(message.cseq_header().ok()?.method().ok());
    let via_count =
        message.headers().iter().filter(|header| matches!(header, rsip::Header::Via(_))).count();
    Some(Facts {
        start: match message {
            rsip::SipMessage::Request(request) => request.method().to_string(),
            rsip::SipMessage::Response(response) => response.status_code().code().to_string(),
        },
        call_id: message.call_id_header().ok()?.value().to_owned(),
        cseq: cseq.map(|(number, method)| (number, method.to_string())),
        from_tag: message.from_header().ok()?.tag().ok()?.map(|tag| tag.value().to_owned()),
        to_tag: message.to_header().ok()?.tag().ok()?.map(|tag| tag.value().to_owned()),
        via_count,
        body_bytes: message.body().len(),
    })
}

#[cfg(test)]
mod tests {
    use lampfield_wire::Framing;

    use super::*;

    const NOTIFY: &str = "NOTIFY sip:w@127.0.0.1:4000 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 127.0.0.1:5070;rport;branch=z9hG4bKx\r\n\
        From: <sip:lamp0@127.0.0.1>;tag=aa\r\nTo: <sip:w@127.0.0.1>;tag=w1\r\n\
        Contact: <sip:127.0.0.1:5070>\r\nCall-ID: c1\r\nCSeq: 7 NOTIFY\r\nEvent: presence\r\n\
        Subscription-State: active;expires=600\r\nMax-Forwards: 70\r\n\
        Content-Length:     2\r\n\r\nhi";

    fn scan(text: &str) -> Message<'_> {
        Message::scan(text.as_bytes(), Framing::Datagram).expect("a message")
    }

    #[test]
    fn a_notify_is_read_alike_and_a_planted_difference_is_found() {
        let mut findings = Findings::default();
        findings.compare(NOTIFY.as_bytes(), &scan(NOTIFY));
        let agreed = Findings { compared_count: 1, ..Findings::default() };
        assert_eq!(findings, agreed);
        for (from, to) in [
            ("NOTIFY sip", "OPTIONS sip"),
            ("Call-ID: c1", "Call-ID: c2"),
            ("CSeq: 7", "CSeq: 8"),
            ("tag=aa", "tag=ab"),
            ("tag=w1", "tag=w2"),
            ("Max-Forwards: 70", "Via: SIP/2.0/UDP h"),
        ] {
            let other = NOTIFY.replacen(from, to, 1);
            let mut findings = Findings::default();
            findings.compare(other.as_bytes(), &scan(NOTIFY));
            assert_eq!((findings.compared_count, findings.disagreed_count), (1, 1), "{to}");
            assert!(findings.example.is_some());
        }
    }

    #[test]
    fn lists_that_differ_are_found() {
        let list = |version| Ok(ListBody { version, ..ListBody::default() });
        let refused = || Err("no list".to_owned());
        for (fast, full, disagreed_count) in [
            (list(1), list(1), 0),
            (refused(), refused(), 0),
            (list(1), list(2), 1),
            (list(1), refused(), 1),
        ] {
            let mut findings = Findings::default();
            findings.compare_lists(&fast, &full);
            assert_eq!((findings.compared_count, findings.disagreed_count), (1, disagreed_count));
        }
    }

    #[test]
    fn what_rsip_refuses_is_no_disagreement() {
        let mut findings = Findings::default();
        findings.compare(b"\xff\xfe", &scan(NOTIFY));
        assert_eq!(findings, Findings { refused_count: 1, ..Findings::default() });
    }
}
