//! Login, logoff and what a connection says about itself.

use std::fmt::Write;
use std::time::Duration;

use lampfield_wire::ami::AmiWriter;
use md5::{Digest, Md5};

use super::super::class::{self, SYSTEM};
use super::super::connection::{Connection, Login, Next};
use super::super::event::timestamp;
use super::super::request::Request;
use crate::config::AmiUser;

/// A failed login is answered only after this, to slow down guessing.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

impl Connection {
    /// Waits for events, at most `Timeout` seconds (absent or below 0: for as long as it takes).
    /// Other requests of the connection wait behind it.
    pub(super) async fn wait_event(&mut self, request: &Request) -> std::io::Result<()> {
        let time = match request.get("Timeout").trim() {
            "" => None,
            text => match text.parse::<i32>() {
                Ok(timeout_s) => u64::try_from(timeout_s).ok().map(Duration::from_secs),
                Err(_) => {
                    self.error(request, "Timeout must be a number of seconds");
                    return Ok(());
                }
            },
        };
        self.wait_for_events(time).await?;
        self.ack(request, "Waiting for Event completed.");
        self.reply_events().await?;
        self.row(request, "WaitEventComplete").end();
        Ok(())
    }

    pub(super) async fn log_in(&mut self, request: &Request) -> Next {
        if self.login.is_some() {
            self.ack(request, "Already authenticated");
            return Next::Continue;
        }
        let Some(user) = self.authenticate(request) else {
            tracing::warn!(peer = %self.peer, user = request.get("Username"), "AMI login failed");
            return self.refuse_login(request, "Authentication failed").await;
        };
        if !user.allow_multiple_login && self.gate.is_active(&user.name) {
            return self.refuse_login(request, "Login Already In Use").await;
        }
        let mask = match request.find("Events") {
            Some(text) => user.read & class::parse_event_mask(text).unwrap_or(0),
            None => user.read,
        };
        self.gate.log_in(&user.name);
        let queue = self.node.hub.join(&user);
        self.login = Some(Login { user, queue: queue.clone() });
        self.node.hub.listen(&queue, mask).await;
        self.ack(request, "Authentication accepted");
        if mask & SYSTEM != 0 {
            let (uptime_s, reload_s) = self.node.ages_s();
            AmiWriter::event(&mut self.replies, "FullyBooted", Some(&class::privilege(SYSTEM)))
                .header("Uptime", &uptime_s.to_string())
                .header("LastReload", &reload_s.to_string())
                .header("Status", "Fully Booted")
                .end();
        }
        Next::Continue
    }

    pub(super) fn log_off(&mut self, request: &Request) -> Next {
        self.reply(request, "Goodbye").header("Message", "Thanks for all the fish.").end();
        Next::Close
    }

    pub(super) fn make_challenge(&mut self, request: &Request) {
        if !request.get("AuthType").eq_ignore_ascii_case("MD5") {
            return self.error(request, "Must specify AuthType");
        }
        let new = || fastrand::u32(0..1_000_000_000).to_string();
        let challenge = self.challenge.get_or_insert_with(new).clone();
        self.reply(request, "Success").header("Challenge", &challenge).end();
    }

    pub(super) fn ping(&mut self, request: &Request) {
        self.reply(request, "Success")
            .header("Ping", "Pong")
            .header("Timestamp", &timestamp())
            .end();
    }

    pub(super) async fn choose_events(&mut self, request: &Request) {
        let (Some(mask), Some(login)) =
            (class::parse_event_mask(request.get("EventMask")), &self.login)
        else {
            return self.error(request, "Invalid event mask");
        };
        let mask = mask & login.user.read;
        let queue = login.queue.clone();
        self.node.hub.listen(&queue, mask).await;
        let events = if queue.mask() == 0 { "Off" } else { "On" };
        self.reply(request, "Success").header("Events", events).end();
    }

    async fn refuse_login(&mut self, request: &Request, text: &str) -> Next {
        tokio::time::sleep(FAILURE_DELAY).await;
        self.error(request, text);
        Next::Close
    }

    /// The user who proves to be one, from where he may come.
    fn authenticate(&self, request: &Request) -> Option<AmiUser> {
        let config = self.node.config();
        let users = &config.ami.as_ref()?.users;
        let user = users.iter().find(|user| user.name == request.get("Username"))?;
        let mut permitted = true;
        for (permit, network) in &user.access {
            if network.contains(self.peer.ip()) {
                permitted = *permit;
            }
        }
        let proven = if request.get("AuthType").eq_ignore_ascii_case("MD5") {
            let challenge = self.challenge.as_ref()?;
            let digest = Md5::new_with_prefix(challenge).chain_update(&user.secret).finalize();
            let mut key = String::with_capacity(32);
            for byte in digest {
                // Writing to a string does not fail.
                let _ = write!(key, "{byte:02x}");
            }
            same_text(&key, request.get("Key"))
        } else {
            same_text(&user.secret, request.get("Secret"))
        };
        (permitted && proven && !user.secret.is_empty()).then(|| user.clone())
    }
}

/// Compares without telling by its duration where two texts of one length differ.
fn same_text(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |bits, (a, b)| bits | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}
