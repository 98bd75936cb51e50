//! The scenario files that `lampload` is given.

use std::fmt::Write as _;

use crate::cases::{Case, Peers, Server};
use crate::lampfield::FIRST_EXTENSION;
use crate::load::Target;

/// Phase in which every subscription is refreshed.
pub(crate) const REFRESHES: &str = "refreshes";
/// Phase in which states change.
pub(crate) const CHANGES: &str = "changes";

/// SUBSCRIBEs unanswered at a time: all ask at once, and the server is kept busy.
const WINDOW: usize = 400;

/// What every scenario begins with: target, states, extensions, sockets.
pub(crate) struct Head<'a> {
    pub(crate) target: &'a Target,
    /// Numbers of the first and of the last extension.
    pub(crate) extensions: (usize, usize),
    pub(crate) peers: Peers,
    /// Sockets of phones.
    pub(crate) sockets: usize,
    /// How late the generator itself may be before it takes its latencies back.
    pub(crate) late_ms: u32,
}

impl Head<'_> {
    /// Its tables.
    pub(crate) fn write(&self) -> String {
        let (first, last) = self.extensions;
        let mut text = format!("[target]\naddress = \"{}\"\n", self.target.sip);
        if let Some(domain) = &self.target.domain {
            let _ = writeln!(text, "domain = \"{domain}\"");
        }
        let sources = match self.peers {
            Peers::Phones => format!("address = \"127.0.0.0/8\"\nsockets = {}", self.sockets),
            Peers::Edge => "edge = true".to_owned(),
            Peers::Train => "edge = true\ntrains = true".to_owned(),
        };
        let _ = write!(
            text,
            "[states]\nby = \"{}\"\ndevice = \"Custom:lamp{{exten}}\"\n\
             [population]\nextensions = \"{{{first}..{last}}}\"\n\
             [sources]\n{sources}\n[generator]\nmax_own_lateness = \"{}ms\"\n",
            self.target.change_by, self.late_ms
        );
        text
    }
}

/// Subscribe, refresh, change, stop.
pub(crate) fn fanout(case: &Case, target: &Target) -> String {
    let last = FIRST_EXTENSION + case.extensions - 1;
    let extensions = (FIRST_EXTENSION, last);
    // A fan-out of Kamailio's to 10,000 takes seconds.
    let settle_s = if case.server == Server::Kamailio { 120 } else { 30 };
    let head = Head { target, extensions, peers: case.peers, sockets: case.sockets(), late_ms: 5 };
    let mut text = head.write();
    let Case { watchers, changes_per_s, seconds, .. } = case;
    let _ = write!(
        text,
        "[watchers]\nsingle = {watchers}\n\
         [[phase]]\nkind = \"ramp\"\nwindow = {WINDOW}\npause = \"1s\"\ntimeout = \"60s\"\n\
         [[phase]]\nkind = \"storm\"\nof = \"refreshes\"\nname = \"{REFRESHES}\"\n\
         window = {WINDOW}\nsettle = \"{settle_s}s\"\n\
         [[phase]]\nkind = \"steady\"\nname = \"{CHANGES}\"\nrate = \"{changes_per_s}/s\"\n\
         duration = \"{seconds}s\"\nsettle = \"{settle_s}s\"\n{DRAIN}"
    );
    text
}

/// The end: the server ends with its subscriptions.
pub(crate) const DRAIN: &str = "[[phase]]\nkind = \"drain\"\nunsubscribe = false\n";
