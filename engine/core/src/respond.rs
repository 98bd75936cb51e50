//! Responses to requests: written from the request, so none of them has to be kept.
//!
//! Source: RFC 3261 sections 8.2.6 and 18.2.2, RFC 3581.

use std::hash::{BuildHasher, Hasher};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use lampfield_wire::{HeaderName, Message, NameAddr, Via};

use crate::admission::Basics;
use crate::auth::shorten_challenges;
use crate::flow::Flow;
use crate::tag::Tag;

/// Bytes of an answer's own header lines, about.
const HEADERS_BYTES: usize = 128;

/// The answer to a request, before it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    /// Our tag, where a dialog exists or comes to exist.
    pub(crate) tag: Option<Tag>,
    /// Header lines beyond those every answer has, CRLF included.
    pub(crate) headers: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason, tag: None, headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        if self.headers.capacity() == 0 {
            // The few lines most answers have, at once.
            self.headers.reserve(HEADERS_BYTES);
        }
        push_text(&mut self.headers, format_args!("{name}: {value}\r\n"));
        self
    }

    /// With a Warning that says what is wrong (RFC 3261 section 20.43).
    pub(crate) fn warning(self, text: impl std::fmt::Display) -> Self {
        self.with("Warning", format!("399 lampfield \"{text}\""))
    }

    pub(crate) fn tagged(mut self, tag: Tag) -> Self {
        self.tag = Some(tag);
        self
    }

    /// 503: a limit is reached. The peer is to come back after `retry_after_s`.
    pub(crate) fn overload(retry_after_s: u32) -> Self {
        Self::new(503, "Service Unavailable").with("Retry-After", retry_after_s)
    }
}

/// What an answer needs of its request besides texts it repeats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The topmost Via; `None` if it cannot be read.
    via: Option<Via<'a>>,
    has_to_tag: bool,
}

impl<'a> Asked<'a> {
    /// Of a request that may lack anything.
    pub(crate) fn read(request: &Message<'a>) -> Self {
        let via = request.values(HeaderName::Via).next();
        let to = NameAddr::parse(request.header(HeaderName::To).unwrap_or_default());
        Self {
            via: via.and_then(|via| Via::parse(via).ok()),
            has_to_tag: to.is_ok_and(|to| to.tag().is_some()),
        }
    }
}

impl<'a> From<&Basics<'a>> for Asked<'a> {
    fn from(basics: &Basics<'a>) -> Self {
        Self { via: Some(basics.via), has_to_tag: basics.to_tag.is_some() }
    }
}

/// Where an answer goes: along the connection, else to the source address; to the source port if
/// the request asks so with `rport` or `force_rport` is set, else to the port of its Via.
pub(crate) fn reply_flow(flow: Flow, asked: &Asked<'_>, force_rport: bool) -> Flow {
    if flow.transport.is_stream() || force_rport {
        return flow;
    }
    match asked.via {
        Some(via) if via.rport.is_none() => {
            let port = via.port.unwrap_or(5060);
            Flow { peer: SocketAddr::new(flow.peer.ip(), port), ..flow }
        }
        _ => flow,
    }
}

/// How a response is written.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// With everything, and a Server header if there is one.
    Full { server: &'a str },
    /// In as few bytes as RFC 3261 allows in a datagram (sections 7.3.3 and 20.14): compact names,
    /// no Content-Length, a challenge without what goes without saying.
    Brief,
    /// Nothing but what the request is told apart by. No answer 401: it must challenge.
    Bare,
}

/// Appends the response. `stateless` salts the To tag of answers outside any dialog, so that a
/// retransmitted request gets the same tag without memory.
fn write_response(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    asked: Asked<'_>,
    flow: Flow,
    answer: &Answer,
    form: Form<'_>,
    stateless: &ahash::RandomState,
) {
    let [via, from, to, call_id] = match form {
        Form::Full { .. } => ["Via: ", "From: ", "To: ", "Call-ID: "],
        Form::Brief | Form::Bare => ["v:", "f:", "t:", "i:"],
    };
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(itoa::Buffer::new().format(answer.status).as_bytes());
    push(out, &[b" ", answer.reason.as_bytes(), b"\r\n"]);
    write_vias(out, request, via, asked, flow.peer);
    let header = |name| request.header(name).unwrap_or_default();
    push(out, &[from.as_bytes(), header(HeaderName::From), b"\r\n"]);
    push(out, &[to.as_bytes(), header(HeaderName::To)]);
    if !asked.has_to_tag {
        out.extend_from_slice(b";tag=");
        match answer.tag {
            Some(tag) => tag.write(out),
            None => write_stateless_tag(out, request, stateless),
        }
    }
    push(out, &[b"\r\n", call_id.as_bytes(), header(HeaderName::CallId)]);
    push(out, &[b"\r\nCSeq: ", header(HeaderName::CSeq), b"\r\n"]);
    for route in request.headers(HeaderName::RecordRoute) {
        if answer.tag.is_some() {
            push(out, &[b"Record-Route: ", route, b"\r\n"]);
        }
    }
    match form {
        Form::Brief if answer.status == 401 => {
            push(out, &[&shorten_challenges(&answer.headers), b"\r\n"]);
        }
        Form::Brief => push(out, &[&answer.headers, b"\r\n"]),
        Form::Bare => out.extend_from_slice(b"\r\n"),
        Form::Full { server } => {
            out.extend_from_slice(&answer.headers);
            if !server.is_empty() {
                push(out, &[b"Server: ", server.as_bytes(), b"\r\n"]);
            }
            out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        }
    }
}

/// The response in at most `bytes_max` bytes; `None` if that cannot be.
pub(crate) fn response_within(
    bytes_max: usize,
    request: &Message<'_>,
    asked: Asked<'_>,
    flow: Flow,
    answer: &Answer,
    server: &str,
    stateless: &ahash::RandomState,
) -> Option<Vec<u8>> {
    let forms = [Form::Full { server }, Form::Brief, Form::Bare];
    let is_whole = |form: &Form<'_>| answer.status != 401 || !matches!(form, Form::Bare);
    forms.into_iter().filter(is_whole).find_map(|form| {
        // What an answer repeats is shorter than its request.
        let bytes = request.len() + answer.headers.len() + server.len() + HEADERS_BYTES;
        let mut out = Vec::with_capacity(bytes.min(bytes_max));
        write_response(&mut out, request, asked, flow, answer, form, stateless);
        (out.len() <= bytes_max).then_some(out)
    })
}

/// Appends formatted text, without a string between.
pub(crate) fn push_text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

/// Appends an address, an IPv6 one without brackets.
fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(ip) = ip else { return push_text(out, format_args!("{ip}")) };
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

/// Appends address and port, as a URI has them.
pub(crate) fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    let SocketAddr::V4(_) = address else { return push_text(out, format_args!("{address}")) };
    push_ip(out, address.ip());
    push(out, &[b":", itoa::Buffer::new().format(address.port()).as_bytes()]);
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// The Via lines of the request; the topmost value gains `received` and `rport`.
fn write_vias(
    out: &mut Vec<u8>,
    request: &Message<'_>,
    name: &str,
    asked: Asked<'_>,
    source: SocketAddr,
) {
    for (index, line) in request.headers(HeaderName::Via).enumerate() {
        out.extend_from_slice(name.as_bytes());
        if index > 0 {
            push(out, &[line, b"\r\n"]);
            continue;
        }
        let top = lampfield_wire::split_list(line).next().unwrap_or(line);
        // `top` lies inside `line`; what follows it is copied behind the two parameters.
        let end = top.as_ptr() as usize + top.len() - line.as_ptr() as usize;
        write_top_via(out, top, asked.via, source);
        push(out, &[&line[end..], b"\r\n"]);
    }
}

fn write_top_via(out: &mut Vec<u8>, top: &[u8], via: Option<Via<'_>>, source: SocketAddr) {
    let Some(via) = via else {
        out.extend_from_slice(top);
        return;
    };
    let mut rest = top;
    if let Some(None) = via.rport
        && let Some(at) = find_rport(top)
    {
        let end = at + b";rport".len();
        push(out, &[&top[..end], b"=", itoa::Buffer::new().format(source.port()).as_bytes()]);
        rest = &top[end..];
    }
    out.extend_from_slice(rest);
    if via.rport.is_some() || !is_same_host(via.host, source.ip()) {
        out.extend_from_slice(b";received=");
        push_ip(out, source.ip().to_canonical());
    }
}

/// Where `;rport` without a value starts.
fn find_rport(via: &[u8]) -> Option<usize> {
    let name = b";rport";
    via.windows(name.len()).enumerate().find_map(|(at, window)| {
        let next = via.get(at + name.len());
        let ends = next.is_none_or(|next| matches!(next, b';' | b' ' | b'\t' | b'\r'));
        (ends && window.eq_ignore_ascii_case(name)).then_some(at)
    })
}

fn is_same_host(host: &[u8], ip: IpAddr) -> bool {
    let host = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]")).unwrap_or(host);
    let host = std::str::from_utf8(host).ok().and_then(|host| host.parse::<IpAddr>().ok());
    host.is_some_and(|host| host.to_canonical() == ip.to_canonical())
}

fn write_stateless_tag(out: &mut Vec<u8>, request: &Message<'_>, salt: &ahash::RandomState) {
    let mut hasher = salt.build_hasher();
    for name in [HeaderName::CallId, HeaderName::From, HeaderName::CSeq] {
        hasher.write(request.header(name).unwrap_or_default());
    }
    push_text(out, format_args!("s{:08x}", hasher.finish() as u32));
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampfield_wire::Framing;

    fn respond(via: &str, to: &str, source: &str) -> String {
        let request = format!(
            "OPTIONS sip:x@h SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP second\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: {to}\r\nCall-ID: c\r\nCSeq: 7 OPTIONS\r\n\r\n"
        );
        let request = Message::scan(request.as_bytes(), Framing::Datagram).expect("a request");
        let flow = Flow {
            transport: crate::flow::Transport::Udp,
            local: ([127, 0, 0, 1], 5060).into(),
            peer: source.parse().expect("an address"),
            connection: Default::default(),
        };
        let mut out = Vec::new();
        let answer = Answer::new(200, "OK").with("Expires", 5);
        let salt = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let (asked, form) = (Asked::read(&request), Form::Full { server: "lf" });
        write_response(&mut out, &request, asked, flow, &answer, form, &salt);
        format!(
            "{} -> {}",
            String::from_utf8(out).expect("text"),
            reply_flow(flow, &asked, false).peer
        )
    }

    #[test]
    fn the_top_via_tells_where_the_request_came_from() {
        for (via, source, want, to) in [
            (
                "SIP/2.0/UDP h:9;rport;branch=b",
                "192.0.2.1:7",
                "SIP/2.0/UDP h:9;rport=7;branch=b;received=192.0.2.1\r\n",
                "192.0.2.1:7",
            ),
            (
                "SIP/2.0/UDP 192.0.2.1;branch=b",
                "192.0.2.1:7",
                "SIP/2.0/UDP 192.0.2.1;branch=b\r\n",
                "192.0.2.1:5060",
            ),
            (
                "SIP/2.0/UDP h;branch=b, SIP/2.0/UDP i",
                "192.0.2.1:7",
                "SIP/2.0/UDP h;branch=b;received=192.0.2.1, SIP/2.0/UDP i\r\n",
                "192.0.2.1:5060",
            ),
            (
                "SIP/2.0/UDP [2001:db8::1]:8",
                "[2001:db8::1]:8",
                "SIP/2.0/UDP [2001:db8::1]:8\r\n",
                "[2001:db8::1]:8",
            ),
        ] {
            let got = respond(via, "<sip:x@h>;tag=t", source);
            assert!(got.contains(&format!("Via: {want}Via: SIP/2.0/UDP second\r\n")), "{got}");
            assert!(got.ends_with(&format!(" -> {to}")), "{got}");
        }
    }

    #[test]
    fn a_to_without_tag_gains_the_same_one_every_time() {
        let [first, again] = [0; 2].map(|_| respond("SIP/2.0/UDP h", "<sip:x@h>", "192.0.2.1:7"));
        assert_eq!(first, again);
        assert!(first.contains("To: <sip:x@h>;tag=s"), "{first}");
        let kept = respond("SIP/2.0/UDP h", "<sip:x@h>;tag=t", "192.0.2.1:7");
        assert!(kept.contains("To: <sip:x@h>;tag=t\r\n"), "{kept}");
    }
}
