//! Somebody who wishes the node ill: garbage, forged tags and branches, mutated messages.

use std::net::SocketAddr;

use fastrand::Rng;

/// Where its packets come from: no endpoint of the configuration.
pub(crate) const ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 66], 5060);
const CAPTURE_COUNT_MAX: usize = 16;

/// Whether a packet comes from, or goes to, the attacker (a forged Via may name another port).
pub(crate) fn is_stranger(peer: SocketAddr) -> bool {
    peer.ip() == SocketAddr::from(ADDRESS).ip()
}

/// The attacker: it has seen some messages pass.
#[derive(Debug, Default)]
pub(crate) struct Attacker {
    captures: Vec<Vec<u8>>,
}

impl Attacker {
    /// Sees a message pass.
    pub(crate) fn capture(&mut self, bytes: &[u8], rng: &mut Rng) {
        if self.captures.len() < CAPTURE_COUNT_MAX {
            self.captures.push(bytes.to_vec());
        } else if rng.u8(..20) == 0 {
            let at = rng.usize(..CAPTURE_COUNT_MAX);
            self.captures[at] = bytes.to_vec();
        }
    }

    /// A packet, and the address it claims to come from.
    pub(crate) fn packet(&self, phone: SocketAddr, rng: &mut Rng) -> (SocketAddr, Vec<u8>) {
        let own = SocketAddr::from(ADDRESS);
        match rng.u8(..5) {
            0 => (own, garbage(rng)),
            1 => (own, subscribe(rng)),
            2 => (if rng.bool() { own } else { phone }, forged_subscribe(rng)),
            3 => (if rng.bool() { own } else { phone }, forged_answer(rng)),
            _ => match self.captures.is_empty() {
                true => (own, garbage(rng)),
                // From its own address only: a mutation that stays valid must not pass for the
                // phone's own wish.
                false => (own, mutate(&self.captures[rng.usize(..self.captures.len())], rng)),
            },
        }
    }
}

fn garbage(rng: &mut Rng) -> Vec<u8> {
    let text = rng.bool();
    let byte = |rng: &mut Rng| if text { rng.u8(10..127) } else { rng.u8(..) };
    (0..rng.usize(..600)).map(|_| byte(rng)).collect()
}

fn subscribe(rng: &mut Rng) -> Vec<u8> {
    request(&format!("sip:{}@node", rng.u32(100..105)), "", rng)
}

fn forged_subscribe(rng: &mut Rng) -> Vec<u8> {
    let tag = format!(";tag={}", forged_tag(rng));
    request(&format!("sip:{}@10.99.0.1:5060", &tag[5..]), &tag, rng)
}

fn request(uri: &str, to_tag: &str, rng: &mut Rng) -> Vec<u8> {
    format!(
        "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{:x}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:w0@example.com>;tag={:x}\r\nTo: <sip:x@example.com>{to_tag}\r\n\
         Call-ID: x{:x}@sim\r\nCSeq: {} SUBSCRIBE\r\nContact: <sip:w0@192.0.2.66:5060>\r\n\
         Event: presence\r\nExpires: {}\r\nContent-Length: 0\r\n\r\n",
        rng.u64(..),
        rng.u32(..),
        rng.u32(..),
        rng.u32(1..100),
        rng.u32(..1000),
    )
    .into_bytes()
}

/// An answer to a NOTIFY that the attacker guesses.
fn forged_answer(rng: &mut Rng) -> Vec<u8> {
    let code = [200, 481, 500, 503][rng.usize(..4)];
    format!(
        "SIP/2.0 {code} Forged\r\nVia: SIP/2.0/UDP 10.99.0.1:5060;branch=z9hG4bK{}{:08x}\r\n\
         From: <sip:x@example.com>;tag={}\r\nTo: <sip:w0@example.com>;tag=t\r\nCall-ID: p0.1@sim\r\n\
         CSeq: {} NOTIFY\r\nContent-Length: 0\r\n\r\n",
        &forged_tag(rng)[2..],
        rng.u32(..50),
        forged_tag(rng),
        rng.u32(..50),
    )
    .into_bytes()
}

/// In the shape of the node's own tags, with a guessed check value.
fn forged_tag(rng: &mut Rng) -> String {
    format!("lf{:03x}{:08x}{:08x}", rng.u32(..1024), rng.u32(..16), rng.u32(..))
}

fn mutate(message: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = message.to_vec();
    if let Some(at) = bytes.windows(7).position(|window| window == b"z9hG4bK") {
        // Whoever can read a branch on the way may answer in the phone's name; that is known.
        bytes[at + 6] = b'X';
    }
    for _ in 0..rng.usize(1..8) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes.truncate(at),
            2 => {
                let end = rng.usize(at..bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let end = (at + rng.usize(..64)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}
