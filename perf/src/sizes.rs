//! How long a server's NOTIFY is, and its answer: seen by subscribing once.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

/// Bytes of the two datagrams of one notification.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Sizes {
    pub(crate) notify_bytes: usize,
    pub(crate) answer_bytes: usize,
}

/// How long to wait for the NOTIFY.
const WITHIN: Duration = Duration::from_secs(5);

/// Subscribes to `exten`, takes the size of its NOTIFY, and unsubscribes.
pub(crate) fn look(sip: SocketAddr, domain: &str, exten: usize) -> anyhow::Result<Sizes> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.connect(sip)?;
    let local = socket.local_addr()?;
    // The generator's first request, near enough for its length: one dialog, ended by itself.
    let request = format!(
        "SUBSCRIBE sip:{exten}@{domain} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {local};branch=z9hG4bK00000000.w0.1;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:watcher0@{domain}>;tag=w0\r\nTo: <sip:{exten}@{domain}>\r\n\
         Call-ID: 00000000.w0@perf\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:w0@{local}>\r\n\
         Event: presence\r\nAccept: application/pidf+xml\r\nExpires: 0\r\n\
         Content-Length: 0\r\n\r\n"
    );
    socket.send(request.as_bytes())?;
    let start = Instant::now();
    let mut buffer = vec![0; 65_536];
    while start.elapsed() < WITHIN {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let message = String::from_utf8_lossy(&buffer[..length]);
        if message.starts_with("NOTIFY ") {
            let answer = answer(&message);
            socket.send(answer.as_bytes())?;
            return Ok(Sizes { notify_bytes: length, answer_bytes: answer.len() });
        }
    }
    anyhow::bail!("no NOTIFY of {exten} from {sip} in {WITHIN:?}")
}

/// A 200 OK: the request's own lines.
fn answer(notify: &str) -> String {
    let head = notify.split("\r\n\r\n").next().unwrap_or_default();
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = head.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for line in lines {
        answer.push_str(line);
        answer.push_str("\r\n");
    }
    answer + "Content-Length: 0\r\n\r\n"
}

impl Sizes {
    /// Checks that datagrams of these sizes can be sent.
    pub(crate) fn check(self) -> anyhow::Result<Self> {
        let fit = (1..=65_000).contains(&self.notify_bytes) && self.answer_bytes <= 65_000;
        fit.then_some(self).with_context(|| format!("{self:?} are no datagrams"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_repeats_what_it_must() {
        let notify = "NOTIFY sip:w@h SIP/2.0\r\nVia: v\r\nMax-Forwards: 70\r\nFrom: f\r\nTo: t\r\n\
                      Call-ID: c\r\nCSeq: 2 NOTIFY\r\nContent-Length: 4\r\n\r\nVia:";
        let want = "SIP/2.0 200 OK\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCall-ID: c\r\n\
                    CSeq: 2 NOTIFY\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(answer(notify), want);
    }
}
