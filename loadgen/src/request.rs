//! The SIP the generator writes: SUBSCRIBE (RFC 6665 section 4.1.2) and answers to requests.

use std::io::Write as _;
use std::net::SocketAddr;

use lampfield_wire::{HeaderName, Message};

use crate::population::Watched;
use crate::scenario::Scenario;
use crate::watcher::{Naming, Watcher};

/// Spaces put into an answer at most.
const ANSWER_PADDING_BYTES_MAX: usize = 64;

/// One SUBSCRIBE to write.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Index of the watcher in the whole run.
    pub index: u32,
    /// Its record.
    pub watcher: &'a Watcher,
    /// Address of its socket.
    pub local: SocketAddr,
    /// Subscription length asked for.
    pub expires_s: u32,
    /// The run.
    pub scenario: &'a Scenario,
}

/// What all SUBSCRIBEs of a run share.
#[derive(Clone, Debug)]
pub struct SubscribeShape {
    /// Domain of From, To and Request-URI.
    pub domain: String,
    /// Event package.
    pub event: &'static str,
    /// Accept value.
    pub accept: String,
    /// How names carry the watcher.
    pub naming: Naming,
}

impl SubscribeShape {
    /// Appends a watcher's newest SUBSCRIBE; equal for a retransmission.
    pub fn write(&self, asking: &Asking<'_>, out: &mut Vec<u8>) {
        let Asking { index, watcher, local, expires_s, scenario } = *asking;
        let (domain, naming, cseq) = (&self.domain, self.naming, watcher.cseq);
        let extension = &scenario.watched_name(watcher.watched);
        let remote = watcher.remote.as_deref();
        out.extend_from_slice(b"SUBSCRIBE ");
        match remote {
            Some(remote) => out.extend_from_slice(&remote.target_uri),
            None => put(out, format_args!("sip:{extension}@{domain}")),
        }
        put(
            out,
            format_args!(
                " SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch={};rport\r\nMax-Forwards: 70\r\n",
                branch(naming, index, cseq)
            ),
        );
        if let Some(remote) = remote {
            out.extend_from_slice(&remote.routes);
        }
        put(
            out,
            format_args!(
                "From: <sip:w{index}@{domain}>;tag={}\r\nTo: <sip:{extension}@{domain}>",
                naming.tag(index)
            ),
        );
        if let Some(remote) = remote {
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(&remote.tag);
        }
        put(
            out,
            format_args!(
                "\r\nCall-ID: {}\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: <sip:w{index}@{local}>\r\n\
                 Event: {}\r\nExpires: {expires_s}\r\nUser-Agent: lampload/{}\r\n",
                naming.call_id(index),
                self.event,
                env!("CARGO_PKG_VERSION"),
            ),
        );
        match watcher.watched {
            Watched::Single(_) => {
                put(out, format_args!("Accept: {}\r\nContent-Length: 0\r\n\r\n", self.accept))
            }
            Watched::List(_) => self.write_list_tail(asking, out),
        }
    }

    /// The headers that ask for a list, and the list itself if it comes in the request
    /// (RFC 4662 section 4, RFC 5367 section 4).
    fn write_list_tail(&self, asking: &Asking<'_>, out: &mut Vec<u8>) {
        let Asking { watcher, scenario, expires_s, .. } = *asking;
        put(
            out,
            format_args!(
                "Supported: eventlist\r\n\
                 Accept: multipart/related, application/rlmi+xml, {}\r\n",
                self.accept
            ),
        );
        let in_request = scenario.population.lists.as_ref().is_some_and(|lists| lists.in_request);
        if !in_request || expires_s == 0 {
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            return;
        }
        let mut body = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>\n",
        );
        for member in 0..scenario.population.member_count(watcher.watched) {
            let extension = scenario.population.member(watcher.watched, member);
            let name = crate::document::escape(&scenario.extensions[extension as usize]);
            body += &format!("<entry uri=\"sip:{name}@{}\"/>\n", self.domain);
        }
        body += "</list></resource-lists>\n";
        put(
            out,
            format_args!(
                "Require: recipient-list-subscribe\r\n\
                 Content-Type: application/resource-lists+xml\r\n\
                 Content-Disposition: recipient-list\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
    }
}

/// The Via branch of watcher `index`'s SUBSCRIBE number `cseq`.
pub fn branch(naming: Naming, index: u32, cseq: u32) -> String {
    format!("z9hG4bK{:08x}.{index:x}.{cseq}", naming.run_id)
}

/// Appends the answer to a request by copying its dialog headers (RFC 3261 section 8.2.6.2);
/// `to_tag` is added when the request has none.
pub fn write_answer(request: &Message<'_>, status: u16, to_tag: Option<&str>, out: &mut Vec<u8>) {
    put(out, format_args!("SIP/2.0 {status} {}\r\n", reason(status)));
    for (name, spelling, value) in request.header_lines() {
        let text: &[u8] = match name {
            HeaderName::Via => b"Via: ",
            HeaderName::From => b"From: ",
            HeaderName::To => b"To: ",
            HeaderName::CallId => b"Call-ID: ",
            HeaderName::CSeq => b"CSeq: ",
            _ => continue,
        };
        debug_assert!(!spelling.is_empty(), "the scanner gives no nameless headers");
        out.extend_from_slice(text);
        out.extend_from_slice(value);
        if let (HeaderName::To, Some(tag)) = (name, to_tag) {
            put(out, format_args!(";tag={tag}"));
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Makes the answer written from `start` on as long as the last one, `like_bytes`, or else a multiple
/// of 32 bytes, with white space in front of the value of its Content-Length (RFC 3261 section
/// 7.3.1). Returns its length.
pub fn pad_answer(start: usize, like_bytes: usize, out: &mut Vec<u8>) -> usize {
    const TAIL: &[u8] = b"0\r\n\r\n";
    let bytes = out.len() - start;
    let can_be_like = like_bytes >= bytes && like_bytes - bytes <= ANSWER_PADDING_BYTES_MAX;
    let target = if can_be_like { like_bytes } else { bytes.next_multiple_of(32) };
    debug_assert!(out.ends_with(TAIL), "an answer of ours has no body");
    out.truncate(out.len() - TAIL.len());
    out.resize(start + target - TAIL.len(), b' ');
    out.extend_from_slice(TAIL);
    target
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        405 => "Method Not Allowed",
        412 => "Conditional Request Failed",
        423 => "Interval Too Brief",
        481 => "Call/Transaction Does Not Exist",
        489 => "Bad Event",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        _ => "Answer",
    }
}

/// Writing to a `Vec` cannot fail.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _: std::io::Result<()> = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use lampfield_wire::Framing;

    use super::*;
    use crate::watcher::RemoteDialog;

    fn shape() -> SubscribeShape {
        SubscribeShape {
            domain: "pbx".into(),
            event: "presence",
            accept: "application/pidf+xml".into(),
            naming: Naming { run_id: 0x1f },
        }
    }

    fn scenario(lists: &str) -> Scenario {
        let text = format!(
            "target = {{ address = \"127.0.0.1:5060\" }}\nstates = {{ by = \"publish\" }}\n\
             population = {{ extensions = \"lamp{{0..3}}\" }}\nwatchers = {{ single = 4 }}\n{lists}\n\
             phase = [{{ kind = \"ramp\" }}, {{ kind = \"drain\" }}]\n"
        );
        crate::scenario::load::parse(&text, "test", &[]).expect("valid").scenario
    }

    fn written(watcher: &Watcher, expires_s: u32, lists: &str) -> String {
        let mut out = Vec::new();
        let scenario = &scenario(lists);
        let local = "127.0.0.1:4000".parse().expect("an address");
        let asking = Asking { index: 10, watcher, local, expires_s, scenario };
        shape().write(&asking, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_list_is_asked_for_by_name_or_brought_along() {
        let mut watcher = Watcher::new(Watched::List(2), 0, 0, 0);
        watcher.cseq = 1;
        let by_name = "lists = { name = \"blf-{exten}\", members = 2 }";
        let text = written(&watcher, 60, by_name);
        assert!(text.starts_with("SUBSCRIBE sip:blf-lamp2@pbx SIP/2.0\r\n"), "{text}");
        let tail = "\r\nSupported: eventlist\r\nAccept: multipart/related, \
                    application/rlmi+xml, application/pidf+xml\r\n";
        assert!(text.ends_with(&format!("{tail}Content-Length: 0\r\n\r\n")), "{text}");
        let brought = "lists = { name = \"rls\", members = 2, in_request = true }";
        let text = written(&watcher, 60, brought);
        assert!(text.starts_with("SUBSCRIBE sip:rls@pbx SIP/2.0\r\n"), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains("Require: recipient-list-subscribe\r\n"), "{text}");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{text}");
        let entries = "<entry uri=\"sip:lamp2@pbx\"/>\n<entry uri=\"sip:lamp3@pbx\"/>\n</list>";
        assert!(body.contains(entries), "{text}");
        assert!(written(&watcher, 0, brought).ends_with("Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn the_first_subscribe_creates_a_dialog_and_the_next_one_stays_in_it() {
        let mut watcher = Watcher::new(Watched::Single(3), 0, 0, 0);
        watcher.cseq = 1;
        let head = "Via: SIP/2.0/UDP 127.0.0.1:4000;branch=z9hG4bK0000001f.a.1;rport\r\n\
                    Max-Forwards: 70\r\n";
        let from = "From: <sip:w10@pbx>;tag=wa\r\nTo: <sip:lamp3@pbx>";
        let tail = "Contact: <sip:w10@127.0.0.1:4000>\r\nEvent: presence\r\n\
                    Expires: 60\r\nUser-Agent: lampload/0.1.0\r\n\
                    Accept: application/pidf+xml\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            written(&watcher, 60, ""),
            format!(
                "SUBSCRIBE sip:lamp3@pbx SIP/2.0\r\n{head}{from}\r\n\
                 Call-ID: 0000001f.a@lampload\r\nCSeq: 1 SUBSCRIBE\r\n{tail}"
            )
        );
        watcher.cseq = 2;
        watcher.remote = Some(Box::new(RemoteDialog {
            tag: (*b"zz").into(),
            target_uri: (*b"sip:s@h:5").into(),
            routes: (*b"Route: <sip:p;lr>\r\n").into(),
        }));
        let text = written(&watcher, 0, "");
        assert!(text.starts_with("SUBSCRIBE sip:s@h:5 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("Max-Forwards: 70\r\nRoute: <sip:p;lr>\r\nFrom: "), "{text}");
        assert!(text.contains("To: <sip:lamp3@pbx>;tag=zz\r\n"), "{text}");
        assert!(text.contains("branch=z9hG4bK0000001f.a.2;"), "{text}");
    }

    #[test]
    fn an_answer_copies_the_dialog_headers_in_order_and_spells_compact_ones_out() {
        let request = b"NOTIFY sip:w@h SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
            Via: SIP/2.0/UDP b;branch=z9hG4bK0\r\nf: <sip:x@h>;tag=1\r\nt: <sip:w@h>\r\n\
            i: c1\r\nCSeq: 7 NOTIFY\r\nEvent: presence\r\nl: 2\r\n\r\nhi";
        let message = Message::scan(request, Framing::Datagram).expect("a message");
        let mut out = Vec::new();
        write_answer(&message, 481, Some("n1"), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "SIP/2.0 481 Call/Transaction Does Not Exist\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
             Via: SIP/2.0/UDP b;branch=z9hG4bK0\r\nFrom: <sip:x@h>;tag=1\r\n\
             To: <sip:w@h>;tag=n1\r\nCall-ID: c1\r\nCSeq: 7 NOTIFY\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn padded_answers_are_of_one_length_and_read_the_same() {
        let (mut out, mut like) = (Vec::new(), 0);
        for (call_id, want) in
            [("c1", 160), ("c12345", 160), (&"c".repeat(40)[..], 192), ("c", 192)]
        {
            let request = format!(
                "NOTIFY sip:w@h SIP/2.0\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK0\r\n\
                 From: <sip:x@h>;tag=1\r\nTo: <sip:w@h>;tag=2\r\nCall-ID: {call_id}\r\n\
                 CSeq: 7 NOTIFY\r\nContent-Length: 0\r\n\r\n"
            );
            let request = Message::scan(request.as_bytes(), Framing::Datagram).expect("a message");
            let start = out.len();
            write_answer(&request, 200, None, &mut out);
            like = pad_answer(start, like, &mut out);
            let answer = &out[start..];
            let read = Message::scan(answer, Framing::Datagram).expect("a message");
            assert_eq!((like, answer.len()), (want, want), "{call_id}");
            assert_eq!(read.header(HeaderName::ContentLength), Some(&b"0"[..]));
            assert_eq!(read.header(HeaderName::CallId), Some(call_id.as_bytes()));
        }
    }
}
