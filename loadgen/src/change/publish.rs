//! Changes by SIP PUBLISH (RFC 3903): the generator is the event publication agent of every
//! extension. For servers that have no states of their own, such as Kamailio's presence module.
//!
//! One PUBLISH per extension is open at a time, because the next one needs the entity-tag of the
//! last; changes that come meanwhile wait in order.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use lampfield_net::sys::wait_readable;
use lampfield_wire::{CSeq, Framing, HeaderName, Message};

use super::{Announcer, Answers, Change, Driver};
use crate::clock::{Clock, Nanos};
use crate::document;
use crate::generator::timers::{Asked, Transactions};
use crate::limits::PUBLISH_WAITING_MAX;
use crate::outcome::LoadError;
use crate::request::put;
use crate::scenario::Scenario;

/// Publications outlive any run, so that none has to be refreshed.
const EXPIRES_S: u32 = 90_000;

/// The PUBLISH way.
#[derive(Debug)]
pub struct Publish {
    socket: UdpSocket,
    local: SocketAddr,
    clock: Clock,
    run_id: u32,
    publications: Vec<Publication>,
    transactions: Transactions,
    open_count: usize,
    waiting_count: usize,
    answers: Answers,
}

#[derive(Debug, Default)]
struct Publication {
    entity_tag: Option<Box<[u8]>>,
    cseq: u32,
    document_version: u32,
    open: Option<(Change, Nanos)>,
    waiting: VecDeque<Change>,
}

impl Publish {
    /// Opens a socket towards the scenario's target.
    ///
    /// # Errors
    ///
    /// The kernel's refusal.
    pub fn open(scenario: &Scenario, clock: Clock, run_id: u32) -> Result<Publish, LoadError> {
        let source = SocketAddr::new(scenario.sources.address(0), 0);
        let open = || {
            let socket = UdpSocket::bind(source)?;
            socket.connect(scenario.target)?;
            socket.set_nonblocking(true)?;
            let local = socket.local_addr()?;
            Ok((socket, local))
        };
        let (socket, local) = open().map_err(|error: std::io::Error| {
            LoadError::Setup(format!("PUBLISH from {source} to {}: {error}", scenario.target))
        })?;
        let publications = scenario.extensions.iter().map(|_| Publication::default()).collect();
        Ok(Publish {
            socket,
            local,
            clock,
            run_id,
            publications,
            transactions: Transactions::default(),
            open_count: 0,
            waiting_count: 0,
            answers: Answers::default(),
        })
    }

    /// Announces and sends a change whose turn it is.
    fn start(&mut self, change: Change, announcer: &Announcer) {
        let sent_ns = announcer.announce(change);
        self.open_count += 1;
        self.publications[change.extension as usize].open = Some((change, sent_ns));
        self.send_anew(change.extension, announcer);
    }

    /// Sends the open change of an extension as a new request.
    fn send_anew(&mut self, extension: u32, announcer: &Announcer) {
        let publication = &mut self.publications[extension as usize];
        publication.cseq += 1;
        publication.document_version += 1;
        let asked = Asked { watcher: extension, cseq: publication.cseq };
        self.transactions.start(asked, self.clock.now());
        self.send(extension, announcer);
    }

    fn send(&self, extension: u32, announcer: &Announcer) {
        let publication = &self.publications[extension as usize];
        let Some((change, _)) = publication.open else {
            return;
        };
        let mut out = Vec::with_capacity(1500);
        self.write(change, publication, announcer, &mut out);
        // A datagram that does not leave is sent again by timer E.
        let _ = self.socket.send(&out);
    }

    fn write(
        &self,
        change: Change,
        publication: &Publication,
        announcer: &Announcer,
        out: &mut Vec<u8>,
    ) {
        let Scenario { domain, event, format, .. } = &*announcer.scenario;
        let (name, local, run, number) =
            (announcer.extension(change), self.local, self.run_id, change.extension);
        let cseq = publication.cseq;
        put(
            out,
            format_args!(
                "PUBLISH sip:{name}@{domain} SIP/2.0\r\n\
                 Via: SIP/2.0/UDP {local};branch=z9hG4bK{run:08x}.p{number:x}.{cseq};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{name}@{domain}>;tag=p{number:x}\r\n\
                 To: <sip:{name}@{domain}>\r\nCall-ID: {run:08x}.p{number:x}@lampload\r\n\
                 CSeq: {cseq} PUBLISH\r\nEvent: {event}\r\nExpires: {EXPIRES_S}\r\n"
            ),
        );
        if let Some(entity_tag) = &publication.entity_tag {
            out.extend_from_slice(b"SIP-If-Match: ");
            out.extend_from_slice(entity_tag);
            out.extend_from_slice(b"\r\n");
        }
        let state = announcer.state(change);
        let entity = format!("sip:{name}@{domain}");
        let version = publication.document_version;
        let (content_type, body) = document::write(*format, state, name, &entity, version);
        let body_bytes = body.len();
        put(
            out,
            format_args!(
                "Content-Type: {content_type}\r\nContent-Length: {body_bytes}\r\n\r\n{body}"
            ),
        );
    }

    fn take_answers(&mut self, announcer: &Announcer) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            if let Ok(message) = Message::scan(&buffer[..length], Framing::Datagram) {
                self.take_answer(&message, announcer);
            }
        }
    }

    fn take_answer(&mut self, message: &Message<'_>, announcer: &Announcer) {
        let Some((status, extension)) = self.open_request(message) else {
            return;
        };
        let publication = &mut self.publications[extension as usize];
        match status {
            200..300 => {
                let entity_tag = message
                    .header_lines()
                    .find(|(_, spelling, _)| spelling.eq_ignore_ascii_case(b"SIP-ETag"));
                publication.entity_tag = entity_tag.map(|(_, _, value)| value.into());
                self.close(extension, None, announcer);
            }
            // The server has forgotten the publication: publish anew (RFC 3903 section 4.5).
            412 if publication.entity_tag.is_some() => {
                publication.entity_tag = None;
                self.send_anew(extension, announcer);
            }
            _ => self.close(extension, Some(&format!("PUBLISH answered {status}")), announcer),
        }
    }

    /// The final status and extension of an answer to an open request.
    fn open_request(&self, message: &Message<'_>) -> Option<(u16, u32)> {
        let status = message.status().filter(|status| *status >= 200)?;
        let call_id = std::str::from_utf8(message.header(HeaderName::CallId)?).ok()?;
        let rest = call_id.strip_prefix(&format!("{:08x}.p", self.run_id))?;
        let extension = u32::from_str_radix(rest.strip_suffix("@lampload")?, 16).ok()?;
        let cseq = CSeq::parse(message.header(HeaderName::CSeq)?).ok()?;
        let publication = self.publications.get(extension as usize)?;
        let open = publication.open.is_some() && publication.cseq == cseq.number;
        open.then_some((status, extension))
    }

    /// Ends the open request of an extension and starts the next one that waits.
    fn close(&mut self, extension: u32, error: Option<&str>, announcer: &Announcer) {
        let publication = &mut self.publications[extension as usize];
        let Some((_, sent_ns)) = publication.open.take() else {
            return;
        };
        let next = publication.waiting.pop_front();
        self.open_count -= 1;
        match error {
            None => self.answers.accept(self.clock.now().saturating_sub(sent_ns)),
            Some(error) => self.answers.refuse(extension, error),
        }
        if let Some(next) = next {
            self.waiting_count -= 1;
            self.start(next, announcer);
        }
    }

    fn work_off_timers(&mut self, announcer: &Announcer) {
        let now_ns = self.clock.now();
        while let Some(asked) = {
            let publications = &self.publications;
            let open = |asked: Asked| {
                let publication = &publications[asked.watcher as usize];
                publication.open.is_some() && publication.cseq == asked.cseq
            };
            self.transactions.take_retransmit(now_ns, open)
        } {
            self.send(asked.watcher, announcer);
        }
        while let Some(asked) = self.transactions.take_give_up(now_ns) {
            let publication = &self.publications[asked.watcher as usize];
            if publication.open.is_some() && publication.cseq == asked.cseq {
                self.close(asked.watcher, Some("PUBLISH not answered"), announcer);
            }
        }
    }
}

impl Driver for Publish {
    fn set(&mut self, change: Change, announcer: &Announcer) -> Result<(), LoadError> {
        let publication = &mut self.publications[change.extension as usize];
        if publication.open.is_none() {
            self.start(change, announcer);
        } else if publication.waiting.len() < PUBLISH_WAITING_MAX {
            publication.waiting.push_back(change);
            self.waiting_count += 1;
        } else {
            self.answers.refuse(change.extension, "too many changes wait for one PUBLISH");
        }
        Ok(())
    }

    fn serve(&mut self, until_ns: Nanos, announcer: &Announcer) -> Result<(), LoadError> {
        self.take_answers(announcer);
        self.work_off_timers(announcer);
        while self.open_count > 0 && self.clock.now() < until_ns {
            let next_ns = self.transactions.next_ns().unwrap_or(until_ns).min(until_ns);
            let left = Duration::from_nanos(next_ns.saturating_sub(self.clock.now()));
            let _ = wait_readable(self.socket.as_fd(), left);
            self.take_answers(announcer);
            self.work_off_timers(announcer);
        }
        Ok(())
    }

    fn outstanding_count(&self) -> usize {
        self.open_count + self.waiting_count
    }

    fn prime_window(&self) -> usize {
        128
    }

    fn answers(&mut self) -> &mut Answers {
        &mut self.answers
    }
}
