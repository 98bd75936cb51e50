//! WebSocket under SIP, for phones in browsers: the upgrade, and a frame around every message.
//!
//! RFC 6455 (handshake, frames), RFC 7118 (subprotocol `sip`, one SIP message per WebSocket
//! message, text or binary). We are always the server: nobody can connect to a browser.

use std::io::Cursor;

use lampfield_wire::limits::MESSAGE_BYTES_MAX;
use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Bytes of an upgrade request. Browsers send cookies with it.
const UPGRADE_BYTES_MAX: usize = 16 << 10;

/// Payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Pages that may connect. Any other program than a browser tells no page, and may.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum WebOrigins {
    /// Those of the host the browser connects to.
    #[default]
    SameHost,
    /// These, as `https://phone.example.com`.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl WebOrigins {
    fn admits(&self, request: &Request) -> bool {
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let Some(origin) = text("origin") else { return !request.headers().contains_key("origin") };
        match self {
            Self::Any => true,
            Self::Listed(origins) => origins
                .iter()
                .any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(origin)),
            Self::SameHost => {
                let origin = origin.split_once("://").map(|(_, host)| host_of(host));
                let host = text("host").map(host_of);
                matches!((origin, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
            }
        }
    }
}

/// A host without its port.
fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

/// What a connection does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Goes on when more has come.
    Reads,
    /// Writes what there is to write and ends.
    Ends,
    /// The same, because its upgrade was refused.
    Refused,
    /// The same, because the peer breaks the rules.
    Broken,
}

/// What comes in over one WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    origins: WebOrigins,
    is_upgraded: bool,
    /// The message whose frames come.
    message: Vec<u8>,
    is_fragmented: bool,
}

impl WebSocket {
    pub(super) fn new(origins: WebOrigins) -> Self {
        Self { origins, is_upgraded: false, message: Vec::new(), is_fragmented: false }
    }

    /// Reads what is whole at the front of `bytes`: hands every message on, and puts what is to be
    /// answered behind `reply`. Returns how many bytes were read, and what comes next.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        reply: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> (usize, Next) {
        let mut used = 0;
        if !self.is_upgraded {
            match self.upgrade(bytes, reply) {
                Ok(Some(length)) => used = length,
                Ok(None) => return (0, Next::Reads),
                Err(status) => {
                    let text = format!(
                        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                    );
                    reply.extend_from_slice(text.as_bytes());
                    return (bytes.len(), Next::Refused);
                }
            }
        }
        loop {
            match self.frame(&bytes[used..], reply, each) {
                Ok(Some(length)) => used += length,
                Ok(None) => return (used, Next::Reads),
                Err(None) => return (bytes.len(), Next::Ends),
                Err(Some(code)) => {
                    push_close(code, reply);
                    return (bytes.len(), Next::Broken);
                }
            }
        }
    }

    /// Reads the upgrade request, and agrees to it. The error is the status it is refused with.
    fn upgrade(
        &mut self,
        bytes: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<Option<usize>, &'static str> {
        let head = &bytes[..bytes.len().min(UPGRADE_BYTES_MAX)];
        let parsed = Request::try_parse(head).map_err(|_| "400 Bad Request")?;
        let Some((length, request)) = parsed else {
            let is_long = bytes.len() >= UPGRADE_BYTES_MAX;
            return if is_long { Err("431 Request Header Fields Too Large") } else { Ok(None) };
        };
        let mut response = create_response(&request).map_err(|_| "400 Bad Request")?;
        let protocols = request.headers().get_all("sec-websocket-protocol").iter();
        let mut protocols =
            protocols.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        if !protocols.any(|protocol| protocol.trim().eq_ignore_ascii_case("sip")) {
            return Err("400 Bad Request");
        }
        if !self.origins.admits(&request) {
            return Err("403 Forbidden");
        }
        let sip = tungstenite::http::HeaderValue::from_static("sip");
        response.headers_mut().insert("sec-websocket-protocol", sip);
        write_response(&mut *reply, &response).map_err(|_| "500 Internal Server Error")?;
        self.is_upgraded = true;
        Ok(Some(length))
    }

    /// Reads one frame; `None` if it is not whole. The error is the code the peer is told, or
    /// `None` if it has closed the WebSocket itself.
    fn frame(
        &mut self,
        bytes: &[u8],
        reply: &mut Vec<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<usize>, Option<CloseCode>> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Some(CloseCode::Protocol))?;
        let Some((header, length)) = parsed else { return Ok(None) };
        let is_control = matches!(header.opcode, OpCode::Control(_));
        if is_control && (length > CONTROL_BYTES_MAX || !header.is_final) {
            return Err(Some(CloseCode::Protocol));
        }
        let so_far = if is_control { 0 } else { self.message.len() as u64 };
        if so_far.saturating_add(length) > MESSAGE_BYTES_MAX as u64 {
            return Err(Some(CloseCode::Size));
        }
        // Without a mask it comes from no client; a reserved bit asks for what we did not agree to.
        let Some(mask) = header.mask else { return Err(Some(CloseCode::Protocol)) };
        if header.rsv1 | header.rsv2 | header.rsv3 {
            return Err(Some(CloseCode::Protocol));
        }
        let start = cursor.position() as usize;
        let Some(payload) = bytes.get(start..start + length as usize) else { return Ok(None) };
        let plain = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        match header.opcode {
            OpCode::Data(kind) => {
                // A message goes on with `Continue` frames, and only with those.
                if (kind == Data::Continue) != self.is_fragmented {
                    return Err(Some(CloseCode::Protocol));
                }
                self.message.extend(plain);
                self.is_fragmented = !header.is_final;
                if header.is_final {
                    self.message_end(reply, each);
                }
            }
            OpCode::Control(Control::Ping) => {
                push_frame(OpCode::Control(Control::Pong), &plain.collect::<Vec<u8>>(), reply);
            }
            OpCode::Control(Control::Close) => {
                let code: Vec<u8> = plain.take(2).collect();
                push_frame(OpCode::Control(Control::Close), &code, reply);
                return Err(None);
            }
            OpCode::Control(_) => {}
        }
        Ok(Some(start + length as usize))
    }

    /// A message is whole. Some phones ping as over TCP (RFC 5626 section 3.5.1).
    fn message_end(&mut self, reply: &mut Vec<u8>, each: &mut dyn FnMut(&[u8])) {
        match &*self.message {
            b"\r\n\r\n" => push_frame(OpCode::Data(Data::Text), b"\r\n", reply),
            blank if blank.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {}
            message => each(message),
        }
        self.message = Vec::new();
    }
}

/// Puts a frame around a SIP message.
pub(super) fn push_message(message: &[u8], out: &mut Vec<u8>) {
    // A text frame must be UTF-8, which SIP is unless a body is something else.
    let kind = if str::from_utf8(message).is_ok() { Data::Text } else { Data::Binary };
    push_frame(OpCode::Data(kind), message, out);
}

/// Says that the WebSocket ends.
pub(super) fn push_close(code: CloseCode, out: &mut Vec<u8>) {
    push_frame(OpCode::Control(Control::Close), &u16::from(code).to_be_bytes(), out);
}

fn push_frame(opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    let header = FrameHeader { is_final: true, opcode, mask: None, ..FrameHeader::default() };
    // Writing to memory does not fail.
    let _ = header.format(payload.len() as u64, out);
    out.extend_from_slice(payload);
}
