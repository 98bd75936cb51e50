//! The shard: one dispatcher from input to the module that reacts.

use std::collections::VecDeque;
use std::sync::Arc;

use lampfield_wire::{ACCEPTED_ENCODINGS, Framing, HeaderName, Message, ScanError};

use crate::admission::{self, ACCEPT, ALLOW, ALLOW_EVENTS, SUPPORTED};
use crate::auth::Authenticator;
use crate::command::{self, Command, Reply};
use crate::config::{Config, Dialect, EndpointId};
use crate::dialplan::Hint;
use crate::drain::Drain;
use crate::ended::Ended;
use crate::extension::{ExtensionKey, Extensions};
use crate::fanout::Fanouts;
use crate::flow::Flow;
use crate::hop::Hops;
use crate::index::{EndpointIndex, PerSource};
use crate::mesh::ShardMessage;
use crate::notify::SharedRun;
use crate::pace::Paces;
use crate::placement::{Placement, ShardId};
use crate::publication::{Publications, Published};
use crate::registrar::Registrations;
use crate::respond::{self, Answer, Asked};
use crate::rls::Parts;
use crate::salvage;
use crate::slab::Slab;
use crate::source::{Links, Sources};
use crate::stats::Stats;
use crate::subscribe::{Accepted, Outcome, Request};
use crate::subscription::{Flights, Subscription};
use crate::tag::Tag;
use crate::target;
use crate::texts::Texts;
use crate::timer::{Retransmissions, Wheel};
use crate::transaction::Transactions;
use crate::{Input, Outputs, Time};

/// One shard of the engine.
#[derive(Debug)]
pub struct Shard {
    pub(crate) id: ShardId,
    pub(crate) placement: Placement,
    pub(crate) config: Arc<Config>,
    pub(crate) durable: bool,
    pub(crate) unix_at_zero_ms: u64,
    pub(crate) rng: fastrand::Rng,
    pub(crate) hasher: ahash::RandomState,
    pub(crate) authenticator: Authenticator,
    /// Configured extensions exist; false until the first input.
    is_started: bool,
    /// Too much waits for others: new work is refused.
    pub(crate) is_overloaded: bool,
    /// Somebody listens to events.
    pub(crate) listens: bool,
    pub(crate) stats: Stats,
    pub(crate) sources: Sources,
    pub(crate) links: Links,
    pub(crate) extensions: Extensions,
    /// Hints grown by `autohints`; the only hints that are not in the configuration.
    pub(crate) auto_hints: hashbrown::HashMap<ExtensionKey, Arc<Hint>, ahash::RandomState>,
    pub(crate) subscriptions: Slab<Subscription>,
    pub(crate) texts: Texts,
    pub(crate) flights: Flights,
    /// Subscriptions of an earlier run that live in another slot than their tag says.
    pub(crate) moved: hashbrown::HashMap<Tag, u32, ahash::RandomState>,
    pub(crate) ended: Ended,
    pub(crate) hops: Hops,
    pub(crate) per_source: PerSource,
    /// Of the endpoints in `config`.
    pub(crate) endpoint_index: EndpointIndex,
    pub(crate) retransmissions: Retransmissions,
    pub(crate) expiries: Wheel,
    pub(crate) probes: Wheel,
    pub(crate) transactions: Transactions<Accepted>,
    pub(crate) publications: Publications,
    pub(crate) registrations: Registrations,
    /// Memory of answered PUBLISHes.
    pub(crate) published: Transactions<Published>,
    /// Watchers and lists that are being told.
    pub(crate) fanout: Fanouts,
    /// Extensions as lists show them.
    pub(crate) parts: Parts,
    pub(crate) paces: Paces,
    /// Lists, by slot and check, that are to be looked up in a new configuration.
    pub(crate) reloads: VecDeque<(u32, u32)>,
    /// Whether it sends its watchers elsewhere.
    pub(crate) drain: Drain,
    /// Configurations taken over since the start.
    pub(crate) reload_count: u32,
    /// Header lines that every NOTIFY shares, up to the value of Content-Type.
    pub(crate) shared_run: SharedRun,
}

/// What a shard is made from.
#[derive(Clone, Debug)]
pub struct ShardSetup {
    /// Which shard this is.
    pub id: ShardId,
    /// Who owns what.
    pub placement: Placement,
    /// The configuration.
    pub config: Arc<Config>,
    /// Seed of tags, branches and jitter. Secret in production, fixed in tests.
    pub seed: u64,
    /// Unix time of [`Time::ZERO`], in milliseconds.
    pub unix_at_zero_ms: u64,
    /// Whether to emit [`crate::record::Record`]s.
    pub durable: bool,
}

impl Shard {
    /// Makes a shard. Its first tick is due at once: then the configured extensions come to be.
    pub fn new(setup: ShardSetup) -> Self {
        let mut rng = fastrand::Rng::with_seed(setup.seed ^ u64::from(setup.id.0));
        let [a, b, c, d] = [(); 4].map(|()| rng.u64(..));
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        Self {
            id: setup.id,
            placement: setup.placement,
            durable: setup.durable,
            unix_at_zero_ms: setup.unix_at_zero_ms,
            authenticator: Authenticator::new(&mut fastrand::Rng::with_seed(setup.seed)),
            is_started: false,
            is_overloaded: false,
            listens: false,
            stats: Stats::default(),
            sources: Sources::new(hasher.clone()),
            links: Links::new(hasher.clone()),
            extensions: Extensions::new(hasher.clone()),
            auto_hints: hashbrown::HashMap::with_hasher(hasher.clone()),
            subscriptions: Slab::default(),
            texts: Texts::new(hasher.clone()),
            flights: Flights::default(),
            moved: hashbrown::HashMap::with_hasher(hasher.clone()),
            ended: Ended::default(),
            hops: Hops::new(rng.u64(..)),
            per_source: PerSource::new(&setup.config.limits, hasher.clone()),
            endpoint_index: EndpointIndex::new(&setup.config, hasher.clone()),
            retransmissions: Retransmissions::new(&setup.config.limits),
            expiries: Wheel::default(),
            probes: Wheel::default(),
            transactions: Transactions::new(rng.u64(..)),
            publications: Publications::new(&setup.config, hasher.clone()),
            registrations: Registrations::new(hasher.clone()),
            published: Transactions::new(rng.u64(..)),
            fanout: Fanouts::default(),
            parts: Parts::new(hasher.clone()),
            paces: Paces::default(),
            reloads: VecDeque::new(),
            drain: Drain::default(),
            reload_count: 0,
            shared_run: SharedRun::new(&setup.config),
            config: setup.config,
            rng,
            hasher,
        }
    }

    /// Reacts to one input, completely. `now` never goes backwards.
    pub fn handle(&mut self, input: Input<'_>, now: Time, out: &mut Outputs) {
        if !self.is_started {
            self.is_started = true;
            self.make_extensions(now, out);
        }
        let may_fan_out = self.fanout.is_empty() || matches!(input, Input::Tick);
        match input {
            Input::Message { flow, bytes } => self.on_message(flow, bytes, now, out),
            Input::Shard { from, message } => self.on_shard(from, message, now, out),
            Input::Command(command) => self.on_command(command, now, out),
            Input::Change { id, command } => self.on_change(id, command, now, out),
            Input::Query { id, query } => self.answer(id, query, now, out),
            Input::Overloaded(is_overloaded) => self.is_overloaded = is_overloaded,
            Input::StepBudget(budget) => self.fanout.set_budget(budget),
            Input::ConnectionClosed(connection) => {
                self.on_connection_closed(connection);
                self.end_flow(connection, now, out);
            }
            Input::ConnectionFull { connection, peer, is_full } => {
                self.on_connection_full(connection, peer, is_full);
            }
            Input::Tick => self.on_tick(now, out),
        }
        // One that runs goes on with the next tick, which is due at once: a step with every answer
        // would send 64 NOTIFYs for each one read, and the answers would wait past T1.
        if may_fan_out && !self.fanout.is_empty() {
            self.run_fanout(now, out);
        }
    }

    /// When the next [`Input::Tick`] is due; `None` when nothing waits.
    pub fn next_deadline(&self) -> Option<Time> {
        if !self.is_started || !self.fanout.is_empty() || !self.reloads.is_empty() {
            return Some(Time::ZERO);
        }
        let timers = [
            self.retransmissions.next_deadline(),
            self.expiries.next_deadline(),
            self.probes.next_deadline(),
            self.paces.next_deadline(),
            self.publications.next_deadline(),
            self.registrations.next_deadline(),
            self.drain.next_deadline(),
        ];
        timers.into_iter().flatten().min()
    }

    /// Counters, gauges and latencies as they stand.
    pub fn stats(&self) -> Stats {
        Stats {
            subscription_count: u64::from(self.subscriptions.len()),
            extension_count: u64::from(self.extensions.len()),
            source_count: u64::from(self.sources.len()),
            hop_count: u64::from(self.hops.len()),
            part_count: u64::from(self.parts.len()),
            publication_count: u64::from(self.publications.len()),
            registration_count: u64::from(self.registrations.len()),
            list_member_count: self.parts.edge_count(),
            ..self.stats.clone()
        }
    }

    /// Subscriptions, and answered requests that are remembered: what memory goes with.
    pub fn record_count(&self) -> u32 {
        self.subscriptions.len().saturating_add(self.transactions.len() as u32)
    }

    /// NOTIFYs that wait for an answer now: while there are some, answers are worth waiting for.
    pub fn in_flight_count(&self) -> u64 {
        self.stats.in_flight_count
    }

    fn on_tick(&mut self, now: Time, out: &mut Outputs) {
        self.on_retransmissions(now, out);
        self.on_expiries(now, out);
        self.on_probes(now, out);
        self.on_paces(now, out);
        self.on_publications(now, out);
        self.on_registrations(now, out);
        self.on_reloads(now, out);
        self.on_drain(now, out);
        self.transactions.forget(now);
        self.published.forget(now);
        self.ended.forget(now);
    }

    fn on_command(&mut self, command: Command, now: Time, out: &mut Outputs) {
        match command {
            // Nobody waits for an answer; the counter keeps what was refused.
            Command::SetDevice { .. }
            | Command::SetPresence { .. }
            | Command::SetMailbox { .. } => {
                let _ = self.change(command, now, out);
            }
            Command::Reload(config) => self.reload(config, now, out),
            Command::Restore(record) => self.restore(&record, now, out),
            Command::ListenEvents(listens) => self.listens = listens,
            Command::ResetLatencies => self.stats.reset_latencies(),
            Command::Drain(per_s) => self.set_drain(per_s, now),
        }
    }

    fn on_shard(&mut self, from: ShardId, message: ShardMessage, now: Time, out: &mut Outputs) {
        match message {
            ShardMessage::Sip { flow, bytes } => self.on_message(flow, &bytes, now, out),
            ShardMessage::Attach { tenant, name, serial } => {
                self.attach((from, serial), (tenant, name), now, out);
            }
            ShardMessage::Detach { tenant, name } => self.sources.detach(&(tenant, name), from),
            ShardMessage::Source { serial, state } => self.on_source(serial, &state, now, out),
            ShardMessage::ServerState { tenant, name, server, state } => {
                self.on_server_state((tenant, name), server, state, now, out);
            }
            ShardMessage::AutoHint { tenant, context, exten, hint } => {
                self.on_auto_hint((tenant, context, exten), hint, now, out);
            }
            ShardMessage::AttachPart(request) => self.attach_part(from, *request, now, out),
            ShardMessage::DetachPart(end) => self.detach_part(from, end.part, &end.key, out),
            ShardMessage::Part(news) => self.on_part(news, now, out),
            ShardMessage::Confirm { id } => {
                out.replies.push(Reply { id, shard: self.id, answer: command::Answer::Confirmed });
            }
        }
    }

    /// Hands a message to the shard it belongs to.
    pub(crate) fn forward(&mut self, to: ShardId, flow: Flow, bytes: &[u8], out: &mut Outputs) {
        self.stats.counters.forwarded += 1;
        out.to_shards.push((to, ShardMessage::Sip { flow, bytes: bytes.into() }));
    }

    fn on_message(&mut self, flow: Flow, bytes: &[u8], now: Time, out: &mut Outputs) {
        self.stats.counters.message_in += 1;
        if bytes.starts_with(b"SIP/2.0 ") {
            return self.on_response(flow, bytes, now, out);
        }
        let framing = match flow.transport.is_framed() {
            true => Framing::Datagram,
            false => Framing::Stream,
        };
        match Message::scan(bytes, framing) {
            Ok(message) if message.is_request() => self.on_request(flow, &message, bytes, now, out),
            Ok(_) => self.on_response(flow, bytes, now, out),
            Err(error) => {
                self.stats.counters.message_malformed += 1;
                if !flow.transport.is_stream() {
                    self.refuse_broken(flow, bytes, error, out);
                }
            }
        }
    }

    /// A datagram that does not scan is refused if it leaves a request to answer, in no more bytes
    /// than it has. What was claimed in it cannot be trusted, so who sent it does not matter.
    fn refuse_broken(&mut self, flow: Flow, bytes: &[u8], error: ScanError, out: &mut Outputs) {
        let Some(request) = salvage::salvage(bytes) else { return };
        let Ok(request) = Message::scan(&request, Framing::Datagram) else { return };
        self.stats.counters.request_refused += 1;
        let answer = salvage::refusal(&error);
        let (asked, salt) = (Asked::read(&request), &self.hasher);
        let reply = respond::reply_flow(flow, &asked, false);
        match respond::response_within(bytes.len(), &request, asked, flow, &answer, "", salt) {
            Some(written) => out.message(reply, |out| out.extend_from_slice(&written)),
            None => self.stats.counters.response_withheld += 1,
        }
    }

    fn on_request(
        &mut self,
        flow: Flow,
        message: &Message<'_>,
        bytes: &[u8],
        now: Time,
        out: &mut Outputs,
    ) {
        let method = message.method().unwrap_or_default();
        if method == b"ACK" {
            return;
        }
        let basics = match admission::basics(message) {
            Ok(basics) => basics,
            Err(answer) => {
                self.stats.counters.message_malformed += 1;
                let from = message.header(HeaderName::From).unwrap_or_default();
                let from = lampfield_wire::NameAddr::parse(from).ok();
                let claimed =
                    from.and_then(|from| admission::find_endpoint(&self.config, &from, flow));
                return self.respond(flow, message, Asked::read(message), claimed, answer, out);
            }
        };
        let claimed = admission::find_endpoint(&self.config, &basics.from, flow);
        let asked = Asked::from(&basics);
        let request = Request { message, basics, flow, bytes, claimed };
        let outcome = match method {
            b"SUBSCRIBE" => {
                self.stats.counters.subscribe_in += 1;
                match basics.to_tag {
                    None => self.subscribe(&request, now, out),
                    Some(_) => self.subscribe_in_dialog(&request, now, out),
                }
            }
            b"PUBLISH" => self.publish(&request, now, out),
            b"REGISTER" => self.register(&request, now, out),
            _ => Outcome::Answer(self.other_method(&request, method, now)),
        };
        match outcome {
            Outcome::Forwarded => {}
            Outcome::Answer(answer) => self.respond(flow, message, asked, claimed, answer, out),
            Outcome::AnswerAndNotify(answer, slot) => {
                self.respond(flow, message, asked, claimed, answer, out);
                self.kick(slot, now, out);
            }
        }
    }

    /// Requests other than SUBSCRIBE.
    fn other_method(&mut self, request: &Request<'_, '_>, method: &[u8], now: Time) -> Answer {
        let config = Arc::clone(&self.config);
        let peer = admission::identify(&config, &mut self.authenticator, request, now);
        match (method, peer) {
            // Phones and proxies ask for OPTIONS to keep a binding open: no credentials needed.
            (b"OPTIONS", Err(_)) => Answer::new(200, "OK"),
            (b"OPTIONS", Ok(_)) => Answer::new(200, "OK")
                .with("Allow", ALLOW)
                .with("Accept", ACCEPT)
                .with("Accept-Encoding", ACCEPTED_ENCODINGS)
                .with("Supported", SUPPORTED)
                .with("Allow-Events", ALLOW_EVENTS),
            (b"NOTIFY" | b"CANCEL" | b"BYE", Ok(_)) => {
                Answer::new(481, "Call/Transaction Does Not Exist")
            }
            (_, Ok(_)) => Answer::new(405, "Method Not Allowed").with("Allow", ALLOW),
            (_, Err(answer)) => answer,
        }
    }

    fn respond(
        &mut self,
        flow: Flow,
        request: &Message<'_>,
        asked: Asked<'_>,
        claimed: Option<EndpointId>,
        mut answer: Answer,
        out: &mut Outputs,
    ) {
        self.stats.counters.request_refused += u64::from(answer.status >= 400);
        let endpoint = claimed.map(|id| &self.config.endpoints[id.0 as usize]);
        let is_asterisk = endpoint.is_some_and(|e| e.dialect == Dialect::Asterisk);
        let reply = respond::reply_flow(flow, &asked, is_asterisk);
        if let Some(tag) = answer.tag {
            let user = if is_asterisk { None } else { Some(tag) };
            let is_sips =
                flow.transport.is_secure() && request.request_uri().is_some_and(target::is_sips);
            push_contact(&mut answer.headers, flow, is_sips, user);
        }
        // Strangers are not told what we are, and never get more bytes than they sent: nobody
        // is to be flooded through us.
        // A name alone proves nothing: it must not be told apart from one that does not exist.
        let is_known =
            answer.tag.is_some() || self.config.identify.find(flow.peer.ip(), "").is_some();
        let is_proven = is_known || endpoint.is_some() && answer.status < 300;
        let server = if is_known { &*self.config.user_agent } else { "" };
        let may_be_long = is_proven || flow.transport.is_stream();
        let bytes_max = if may_be_long { usize::MAX } else { request.len() };
        let salt = &self.hasher;
        match respond::response_within(bytes_max, request, asked, flow, &answer, server, salt) {
            Some(written) => out.message(reply, |out| out.extend_from_slice(&written)),
            None => self.stats.counters.response_withheld += 1,
        }
    }
}

/// Contact of an answer that makes or keeps a dialog.
fn push_contact(headers: &mut Vec<u8>, flow: Flow, is_sips: bool, user: Option<Tag>) {
    headers.extend_from_slice(if is_sips { b"Contact: <sips:" } else { b"Contact: <sip:" });
    if let Some(tag) = user {
        tag.write(headers);
        headers.push(b'@');
    }
    respond::push_address(headers, flow.local);
    headers.extend_from_slice(flow.transport.uri_param().as_bytes());
    headers.extend_from_slice(b">\r\n");
}
