//! A phone with one subscription.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lampfield_wire::header::CSeq;
use lampfield_wire::{Framing, HeaderName, Message, NameAddr};

use crate::facts::{Facts, check_lengths, facts, text};

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a phone sends and receives by.
pub(crate) trait Line {
    /// As Via names it.
    fn transport(&self) -> &'static str;
    fn address(&self) -> SocketAddr;
    fn send(&self, message: &[u8]);
    /// The next whole message; `None` if none comes within that time.
    fn receive(&self, within: Duration) -> Option<Vec<u8>>;
}

/// UDP from and to one address.
struct Datagrams {
    socket: UdpSocket,
    node: SocketAddr,
}

impl Line for Datagrams {
    fn transport(&self) -> &'static str {
        "UDP"
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    fn send(&self, message: &[u8]) {
        self.socket.send_to(message, self.node).expect("sent");
    }

    fn receive(&self, within: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(within)).expect("set");
        let mut buffer = vec![0; 65536];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        assert_eq!(from, self.node, "from where we sent to");
        buffer.truncate(length);
        Some(buffer)
    }
}

/// A phone.
pub(crate) struct Phone {
    pub(crate) line: Box<dyn Line>,
    node: SocketAddr,
    pub(crate) call_id: String,
    exten: String,
    to_tag: Option<String>,
    target: String,
    cseq: u32,
    /// Number of the last NOTIFY.
    pub(crate) notify_cseq: u32,
    /// Lines with Event and Accept.
    pub(crate) wants: String,
    /// Address it believes to have.
    pub(crate) contact: String,
}

impl Phone {
    /// A phone at `ip` that watches `exten`.
    pub(crate) fn new(node: SocketAddr, ip: [u8; 4], exten: &str) -> Self {
        let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).expect("a loopback address");
        Self::on(Box::new(Datagrams { socket, node }), node, exten)
    }

    /// A phone at the end of a line.
    pub(crate) fn on(line: Box<dyn Line>, node: SocketAddr, exten: &str) -> Self {
        let address = line.address();
        let contact = match line.transport() {
            "UDP" => address.to_string(),
            other => format!("{address};transport={}", other.to_lowercase()),
        };
        Self {
            line,
            node,
            call_id: format!("{address}-{exten}"),
            exten: exten.to_owned(),
            to_tag: None,
            target: format!("sip:{exten}@{node}"),
            cseq: 0,
            notify_cseq: 0,
            wants: "Event: presence\r\nAccept: application/pidf+xml\r\n".to_owned(),
            contact,
        }
    }

    /// Sends a SUBSCRIBE, in the dialog if there is one: the answer.
    pub(crate) fn subscribe(&mut self, expires_s: u32) -> Facts {
        self.cseq += 1;
        let (target, call_id, cseq, node) = (&self.target, &self.call_id, self.cseq, self.node);
        let (address, transport) = (self.line.address(), self.line.transport());
        let tag = self.to_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let request = format!(
            "SUBSCRIBE {target} SIP/2.0\r\n\
             Via: SIP/2.0/{transport} {address};branch=z9hG4bK{call_id}{cseq};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:w1@{node}>;tag=w\r\n\
             To: <sip:{}@{node}>{tag}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} SUBSCRIBE\r\n\
             Contact: <sip:w1@{}>\r\n\
             {}Expires: {expires_s}\r\n\
             Content-Length: 0\r\n\r\n",
            self.exten, self.contact, self.wants,
        );
        self.line.send(request.as_bytes());
        let bytes = self.receive();
        let response = Message::scan(&bytes, Framing::Datagram).expect("SIP");
        assert!(!response.is_request(), "a response first: {}", text(&bytes));
        if response.status() == Some(200) {
            let value = |name| NameAddr::parse(response.header(name).expect("a name-addr"));
            let (to, contact) = (value(HeaderName::To), value(HeaderName::Contact));
            self.to_tag = Some(text(to.expect("To").tag().expect("a tag")));
            self.target = text(contact.expect("Contact").uri);
        }
        facts(&bytes)
    }

    /// The next NOTIFY, answered with 200. Its number is above that of the one before.
    pub(crate) fn notify(&mut self) -> Facts {
        let bytes = self.receive();
        self.answer(&bytes)
    }

    /// As [`Phone::notify`], for one that has been received.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> Facts {
        let request = Message::scan(bytes, Framing::Datagram).expect("SIP");
        assert_eq!(request.method(), Some(&b"NOTIFY"[..]));
        let number = CSeq::parse(request.header(HeaderName::CSeq).expect("a CSeq"));
        let number = number.expect("a CSeq").number;
        assert!(number > self.notify_cseq, "CSeq {number} after {}", self.notify_cseq);
        self.notify_cseq = number;
        let answer = answer_to(&request, "SIP/2.0 200 OK");
        self.line.send(&answer);
        check_lengths(&request);
        let facts = facts(bytes);
        assert_eq!(facts["request URI"], format!("sip:w1@{}", self.contact));
        facts
    }

    fn receive(&self) -> Vec<u8> {
        self.line.receive(PATIENCE).expect("something comes")
    }
}

/// An answer to a request, with the headers that every answer takes over.
pub(crate) fn answer_to(request: &Message<'_>, status_line: &str) -> Vec<u8> {
    let mut answer = format!("{status_line}\r\n");
    for name in
        [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
    {
        let value = text(request.header(name).unwrap_or_default());
        answer.push_str(&format!("{}: {value}\r\n", name.as_str()));
    }
    answer.push_str("Content-Length: 0\r\n\r\n");
    answer.into_bytes()
}
