//! Captured console commands: what they print, line by line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::deviations::ABSENT;
use crate::driver::{Driver, are_near};

/// How long what was sent may take to show in a list.
const EFFECT_WITHIN: Duration = Duration::from_secs(2);

/// A subscription in the list of `pjsip show subscriptions inbound`.
struct Row<'t> {
    endpoint: &'t str,
    resource: &'t str,
    expires_s: Option<u32>,
}

impl Driver<'_> {
    /// Runs a command and compares what it prints.
    pub(crate) fn command(&mut self, command: &str, want: &str) {
        if command == "pjsip show subscriptions inbound" {
            self.list_subscriptions(command, want);
            return;
        }
        let (got, _) = self.lab.console.run(command);
        // An Asterisk lists hints in the order of its hash table.
        let is_sorted = !command.starts_with("core show hint");
        for (want, got) in pairs(want, &got, is_sorted) {
            let seconds =
                |line: &str| line.strip_prefix("Expiry  ")?.split(' ').next_back()?.parse().ok();
            if want != got && !are_near(seconds(want), seconds(got)) {
                self.differ(command, want, got);
            }
        }
    }

    /// The subscriptions of this conversation; the capture shows those of others too. What was
    /// sent before may take effect after the command, so it is repeated for a while.
    fn list_subscriptions(&mut self, command: &str, want: &str) {
        let call_ids: Vec<String> = self.first_numbers.keys().cloned().collect();
        let end = Instant::now() + EFFECT_WITHIN;
        let (mut got, _) = self.lab.console.run(command);
        let differs = |got: &str| call_ids.iter().any(|id| want.contains(id) != got.contains(id));
        while differs(&got) && Instant::now() < end {
            got = self.lab.console.run(command).0;
        }
        let (head, theirs) = rows(want);
        let (our_head, ours) = rows(&got);
        assert_eq!(our_head, head, "{command}");
        assert!(got.ends_with(&format!("\n{} active subscriptions\n", ours.len())), "{got}");
        for call_id in call_ids {
            match (theirs.get(&*call_id), ours.get(&*call_id)) {
                (Some(want), Some(got)) => {
                    self.differ_unless_equal("endpoint", want.endpoint, got.endpoint);
                    self.differ_unless_equal("resource", want.resource, got.resource);
                    let (want, got) = (want.expires_s, got.expires_s);
                    assert!(are_near(want, got), "{call_id} expires in {got:?}, captured {want:?}");
                }
                (want, got) => {
                    let (want, got) = (want.is_some().to_string(), got.is_some().to_string());
                    self.differ_unless_equal("is subscribed", &want, &got);
                }
            }
        }
    }

    pub(crate) fn differ_unless_equal(&mut self, name: &str, want: &str, got: &str) {
        if want != got {
            self.differ(name, want, got);
        }
    }
}

/// Lines that belong together: by their place, or by their first word.
fn pairs<'t>(want: &'t str, got: &'t str, is_sorted: bool) -> Vec<(&'t str, &'t str)> {
    let mut lines: BTreeMap<(usize, &str), (&str, &str)> = BTreeMap::new();
    let key = |place: usize, line: &'t str| match line.split_once("@hints ") {
        _ if is_sorted => (place, ""),
        Some((name, _)) => (0, name),
        None if line.contains(" hint") => (0, "the count"),
        None => (0, line),
    };
    for (place, line) in want.lines().enumerate() {
        let before = lines.insert(key(place, line), (line, ABSENT));
        assert!(before.is_none(), "twice: {line}");
    }
    for (place, line) in got.lines().enumerate() {
        lines.entry(key(place, line)).or_insert((ABSENT, ABSENT)).1 = line;
    }
    lines.into_values().collect()
}

/// The heading of a list of subscriptions, and its rows by Call-ID.
fn rows(text: &str) -> (&str, BTreeMap<&str, Row<'_>>) {
    let (head, list) = text.split_once("\n\n").expect("a heading");
    (head, list.split("\n\n").filter_map(read_row).collect())
}

fn read_row(block: &str) -> Option<(&str, Row<'_>)> {
    let mut lines = block.lines();
    let endpoint = lines.next()?.strip_prefix("Endpoint: ")?;
    let resource = lines.next()?.strip_prefix("Resource: ")?;
    let (seconds, call_id) = lines.next()?.strip_prefix("  Expiry: ")?.trim().split_once("  ")?;
    Some((call_id, Row { endpoint, resource, expires_s: seconds.parse().ok() }))
}
