//! What is said on a connection: login, lists, the barrier behind them, changes, questions.

use std::fmt::Write as _;
use std::time::Duration;

use lampfield_core::state::DeviceState;
use lampfield_wire::AmiMessage;
use lampfield_wire::AmiWriter;
use md5::{Digest, Md5};

use super::super::snapshot::Snapshot;
use super::super::state::{Kind, read_change};
use super::{Machine, Output, Phase, QUESTION_WINDOW, Step, Sync};
use crate::config::MirrorLogin;

impl Machine {
    pub(super) fn receive(&mut self, bytes: &[u8], now: Duration, out: &mut Vec<Output>) {
        let mut rest = bytes;
        while !matches!(self.phase, Phase::Waiting | Phase::Connecting) {
            let message = self.reader.read(&mut rest);
            if self.phase == Phase::Banner && self.reader.banner().is_some() {
                self.log_in(now, out);
            }
            match message {
                None => break,
                Some(Ok(message)) => self.hear(&message, now, out),
                // What it said is lost, and found again by the next comparison.
                Some(Err(_)) => self.figures.message_refused_count += 1,
            }
        }
    }

    fn log_in(&mut self, now: Duration, out: &mut Vec<Output>) {
        match self.config.login {
            MirrorLogin::Md5 => {
                self.enter(Phase::Challenge, now);
                self.request("Challenge", &[("AuthType", "MD5")], now, out);
            }
            MirrorLogin::Plain => {
                let secret = self.config.secret.0.clone();
                self.send_login(&[("Secret", &secret)], now, out);
            }
        }
    }

    fn send_login(&mut self, proof: &[(&str, &str)], now: Duration, out: &mut Vec<Output>) {
        self.enter(Phase::Login, now);
        let user = self.config.user.clone();
        let mut headers = vec![("Username", &*user), ("Events", "system,call")];
        headers.extend_from_slice(proof);
        self.request("Login", &headers, now, out);
    }

    fn hear(&mut self, message: &AmiMessage, now: Duration, out: &mut Vec<Output>) {
        let id = message.get_non_empty("ActionID").and_then(|id| id.parse().ok());
        let is_ok = message.get("Response").map(|response| response != "Error");
        match (self.phase, is_ok) {
            (Phase::Banner, _) => {
                self.lose("this is no manager interface".to_owned(), now, out);
            }
            (Phase::Challenge, Some(is_ok)) if id == Some(self.last_id) => {
                self.on_challenge(message, is_ok, now, out);
            }
            (Phase::Login, Some(true)) if id == Some(self.last_id) => {
                self.figures.login_count += 1;
                self.enter(Phase::Booting, now);
            }
            (Phase::Login, Some(false)) if id == Some(self.last_id) => {
                self.refuse(format!("login refused: {}", text_of(message)), now, out);
            }
            (Phase::Booting, None) if message.get("Event") == Some("FullyBooted") => {
                self.hears_boot = true;
                self.go_online(now, out);
            }
            (Phase::Online, Some(is_ok)) => self.on_response(message, id, is_ok, now, out),
            (Phase::Online, None) => self.on_event(message, id, now, out),
            _ => {}
        }
    }

    fn on_challenge(
        &mut self,
        message: &AmiMessage,
        is_ok: bool,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let Some(challenge) = message.get_non_empty("Challenge").filter(|_| is_ok) else {
            return self.refuse(format!("no challenge: {}", text_of(message)), now, out);
        };
        let digest = Md5::new().chain_update(challenge).chain_update(&self.config.secret.0);
        let mut key = String::with_capacity(32);
        for byte in digest.finalize() {
            // Writing to a string does not fail.
            let _ = write!(key, "{byte:02x}");
        }
        self.send_login(&[("AuthType", "MD5"), ("Key", &key)], now, out);
    }

    pub(super) fn go_online(&mut self, now: Duration, out: &mut Vec<Output>) {
        self.enter(Phase::Online, now);
        self.online_since = now;
        self.ping_at = now + self.config.ping;
        self.start_sync(now, out);
    }

    pub(super) fn start_sync(&mut self, now: Duration, out: &mut Vec<Output>) {
        let id = self.request("DeviceStateList", &[], now, out);
        let (step, snapshot) = (Step::Devices, Snapshot::default());
        self.sync = Some(Sync { step, id, snapshot, item_count: 0 });
        let resync = self.config.resync;
        self.resync_at = (!resync.is_zero()).then(|| now.saturating_add(resync));
    }

    fn on_response(
        &mut self,
        message: &AmiMessage,
        id: Option<u64>,
        is_ok: bool,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let Some(id) = id else { return };
        if self.ping_id == Some(id) {
            self.ping_id = None;
            self.ping_at = now + self.config.ping;
        } else if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == id) {
            // Answers come in order: those before it were refused by the reader.
            if let Some((_, name)) = self.asked.drain(..=at).next_back().filter(|_| is_ok) {
                let state = DeviceState::from_token(message.get("Value").unwrap_or_default());
                out.push(Output::Answered(name, state));
            }
            self.ask(now, out);
        } else if let Some(sync) = self.sync.as_ref().filter(|sync| sync.id == id) {
            match (sync.step, is_ok) {
                (Step::Barrier, _) => self.end_sync(now, out),
                (_, true) => {}
                (Step::Devices, false) => {
                    let text = format!("DeviceStateList refused: {}", text_of(message));
                    return self.refuse(text, now, out);
                }
                (Step::Presences, false) => {
                    // Servers without presence states still have lamps.
                    let text = format!("PresenceStateList refused: {}", text_of(message));
                    self.last_error = Some((now, text));
                    self.next_step(now, out);
                }
            }
        }
        self.expect_more(now);
    }

    fn on_event(
        &mut self,
        message: &AmiMessage,
        id: Option<u64>,
        now: Duration,
        out: &mut Vec<Output>,
    ) {
        let listing = self.sync.as_mut().filter(|sync| id == Some(sync.id));
        if let Some(sync) = listing {
            let is_end =
                message.get("EventList").is_some_and(|v| v.eq_ignore_ascii_case("Complete"));
            if is_end {
                let item_count = message.get("ListItems").and_then(|count| count.parse().ok());
                if let Some(announced) = item_count.filter(|count: &u64| *count != sync.item_count)
                {
                    let text = format!("a list of {announced} had {} rows", sync.item_count);
                    self.last_error = Some((now, text));
                }
                self.next_step(now, out);
            } else {
                sync.item_count += 1;
                self.take_in(message, false, out);
            }
            return self.expect_more(now);
        }
        match message.get("Event") {
            // Member of a list that nobody asked for in this connection.
            _ if id.is_some() => {}
            Some("DeviceStateChange" | "PresenceStateChange") => {
                self.figures.event_count += 1;
                self.take_in(message, true, out);
            }
            // It was still starting: what it listed was not all.
            Some("FullyBooted") => {
                self.hears_boot = true;
                self.resync_at = Some(now);
            }
            _ => {}
        }
    }

    /// Takes a state in: into the comparison under way, and as a change if it is one.
    fn take_in(&mut self, message: &AmiMessage, is_news: bool, out: &mut Vec<Output>) {
        let Some((name, state)) = read_change(message, self.text_bytes_max) else {
            self.figures.message_refused_count += 1;
            return;
        };
        let patterns = match name.kind {
            Kind::Device => &self.config.devices,
            Kind::Presence => &self.config.presentities,
        };
        if !patterns.contains(&name.text) {
            return;
        }
        let row = (name, state);
        if let Some(sync) = &mut self.sync {
            sync.snapshot.add(row.clone(), is_news, self.config.name_count_max);
        }
        if is_news && self.is_synced {
            out.push(Output::Changed(row.0, row.1));
        }
    }

    fn next_step(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(step) = self.sync.as_ref().map(|sync| sync.step) else { return };
        let (step, action) = match step {
            Step::Devices => (Step::Presences, "PresenceStateList"),
            Step::Presences | Step::Barrier => (Step::Barrier, "Ping"),
        };
        let id = self.request(action, &[], now, out);
        if let Some(sync) = &mut self.sync {
            (sync.step, sync.id, sync.item_count) = (step, id, 0);
        }
    }

    fn end_sync(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Some(sync) = self.sync.take() else { return };
        self.figures.sync_count += 1;
        let dropped_count = sync.snapshot.dropped_count as u64;
        if dropped_count > 0 {
            self.figures.name_dropped_count += dropped_count;
            let text = format!("{dropped_count} names more than name_count_max are left out");
            self.last_error = Some((now, text));
        }
        self.is_synced = true;
        self.unseen_since = None;
        self.is_stale = false;
        out.push(Output::Synced(sync.snapshot));
    }

    /// Sends questions, as many as may be on their way.
    pub(super) fn ask(&mut self, now: Duration, out: &mut Vec<Output>) {
        while self.phase == Phase::Online && self.asked.len() < QUESTION_WINDOW {
            let Some(name) = self.questions.pop_front() else { break };
            let variable = format!("DEVICE_STATE({name})");
            let id = self.request("Getvar", &[("Variable", &variable)], now, out);
            self.figures.question_count += 1;
            self.asked.push_back((id, name));
        }
    }

    /// An answer has come; the next one, if any is awaited, has its time from now on.
    fn expect_more(&mut self, now: Duration) {
        if self.phase == Phase::Online {
            let awaits = self.sync.is_some() || self.ping_id.is_some() || !self.asked.is_empty();
            self.due = awaits.then(|| now + self.config.answer);
        }
    }

    pub(super) fn request(
        &mut self,
        action: &str,
        headers: &[(&str, &str)],
        now: Duration,
        out: &mut Vec<Output>,
    ) -> u64 {
        self.last_id += 1;
        let id = self.last_id.to_string();
        let mut bytes = Vec::with_capacity(128);
        let mut writer = AmiWriter::action(&mut bytes, action).action_id(Some(&id));
        for (name, value) in headers {
            writer = writer.header(name, value);
        }
        writer.end();
        out.push(Output::Send(bytes));
        if self.phase == Phase::Online && self.due.is_none() {
            self.due = Some(now + self.config.answer);
        }
        self.last_id
    }
}

/// What an answer says, for people.
fn text_of(message: &AmiMessage) -> String {
    let text = message.get("Message").unwrap_or("the server does not say why");
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
