//! `manager.conf`: the AMI server and its users; `acl.conf` for the address rules they name.

use std::path::Path;

use lampfield_core::config::Network;
use lampfield_core::placement::TenantId;

use super::super::build::Draft;
use super::super::load::AMI_PORT;
use super::super::problem::Problems;
use super::super::{AmiUser, EventFilter, FilterTest, acl};
use super::options;
use super::reader::read;
use super::section::{Entry, Section};
use crate::control::ami::class;

/// Reads everything into `draft`; users see and set the states of `tenant`.
pub(super) fn load(dir: &Path, sections: &[Section], tenant: TenantId, draft: &mut Draft) {
    let mut multiple_login = true;
    for section in sections.iter().filter(|section| &*section.name == "general") {
        multiple_login = general(section, draft);
    }
    let mut acls = None;
    for section in sections.iter().filter(|s| &*s.name != "general" && !s.is_template) {
        let mut user = user(section, multiple_login, &mut draft.problems);
        user.tenant = tenant;
        for entry in section.all("acl") {
            let acls = acls.get_or_insert_with(|| read(dir, "acl.conf", draft).unwrap_or_default());
            named_acl(entry, acls, &mut user.access, &mut draft.problems);
        }
        if draft.ami.users.iter().any(|other| other.name == user.name) {
            let text = format!("AMI user {} is already defined; ignored here", user.name);
            draft.problems.warn(&section.place, text);
        } else {
            draft.ami.users.push(user);
        }
    }
}

/// Reads `[general]`; returns the default of `allowmultiplelogin`.
fn general(section: &Section, draft: &mut Draft) -> bool {
    let Draft { problems, ami, .. } = draft;
    options::MANAGER.check(section, problems);
    let enabled = section.flag("enabled", false, problems);
    let port = section.number("port", AMI_PORT, 1, problems);
    let bind = section.get("bindaddr");
    let address = bind.and_then(|entry| acl::address(&entry.value, port));
    match (bind, address) {
        (Some(entry), None) => {
            let text = format!("bindaddr = {}: an IP address expected", entry.value);
            problems.error(&entry.place, text);
        }
        (None, _) if enabled => {
            let text = "bindaddr is not set: AMI is served on 127.0.0.1 only (Asterisk: on every \
                        address)";
            problems.warn(&section.place, text);
        }
        _ => {}
    }
    let loopback = (std::net::Ipv4Addr::LOCALHOST, port).into();
    ami.bind = Some(address.unwrap_or(loopback));
    ami.auth_timeout_s = section.number("authtimeout", ami.auth_timeout_s, 1, problems);
    ami.auth_limit = section.number("authlimit", ami.auth_limit, 1, problems);
    ami.timestamp_events = section.flag("timestampevents", false, problems);
    if let Some(text) = section.text("disabledevents") {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        ami.disabled_events = names.map(str::to_owned).collect();
    }
    draft.ami_enabled = enabled;
    section.flag("allowmultiplelogin", true, &mut draft.problems)
}

fn user(section: &Section, multiple_login: bool, problems: &mut Problems) -> AmiUser {
    options::MANAGER_USER.check(section, problems);
    let mut user = AmiUser {
        name: section.name.to_string(),
        secret: section.text("secret").unwrap_or_default().to_owned(),
        allow_multiple_login: section.flag("allowmultiplelogin", multiple_login, problems),
        write_timeout_ms: section.number("writetimeout", 100, 1, problems),
        read: classes(section, "read", problems),
        write: classes(section, "write", problems),
        ..AmiUser::default()
    };
    if user.secret.is_empty() {
        let text = format!("AMI user {} has no secret: it cannot log in", section.name);
        problems.warn(&section.place, text);
    }
    for entry in &section.entries {
        let name = entry.name.to_ascii_lowercase();
        match &*name {
            "permit" | "deny" => rules(entry, name == "permit", &mut user.access, problems),
            _ if name.starts_with("eventfilter") => {
                user.event_filters.extend(event_filter(entry, problems));
            }
            _ => {}
        }
    }
    user
}

fn classes(section: &Section, name: &str, problems: &mut Problems) -> u64 {
    let mut classes = 0;
    for entry in section.all(name) {
        match class::parse_names(&entry.value) {
            Ok(mask) => classes |= mask,
            Err(_) if entry.value.is_empty() => {}
            Err(word) => {
                let text =
                    format!("{name}: {word} is no class; system, call, …, all, none expected");
                problems.error(&entry.place, text);
            }
        }
    }
    classes
}

/// `permit = 10.0.0.0/8,!10.1.0.0/16`: `!` turns a rule around.
fn rules(entry: &Entry, permits: bool, access: &mut Vec<(bool, Network)>, problems: &mut Problems) {
    for text in entry.value.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let (network, permits) = match text.strip_prefix('!') {
            Some(rest) => (acl::network(rest), !permits),
            None => (acl::network(text), permits),
        };
        match network {
            Some(network) => access.push((permits, network)),
            None => {
                let text = format!("{} = {text}: an address or network expected", entry.name);
                problems.error(&entry.place, text);
            }
        }
    }
}

fn named_acl(
    entry: &Entry,
    acls: &[Section],
    access: &mut Vec<(bool, Network)>,
    problems: &mut Problems,
) {
    for name in entry.value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Some(acl) = acls.iter().find(|acl| &*acl.name == name) else {
            let text = format!("acl = {name}: acl.conf has no section [{name}]");
            problems.error(&entry.place, text);
            continue;
        };
        for rule in &acl.entries {
            match &*rule.name.to_ascii_lowercase() {
                "permit" => rules(rule, true, access, problems),
                "deny" => rules(rule, false, access, problems),
                other => {
                    let text = format!("{other}: permit or deny expected in an acl; ignored");
                    problems.warn(&rule.place, text);
                }
            }
        }
    }
}

/// `eventfilter = [!]PATTERN`, or `eventfilter(action(exclude),name(X),header(Y),method(exact)) =
/// TEXT`.
fn event_filter(entry: &Entry, problems: &mut Problems) -> Option<EventFilter> {
    let refused = |problems: &mut Problems, why: &str| {
        let text = format!("eventfilter: {why}; this filter is left out");
        problems.warn(&entry.place, text);
        None
    };
    let Some(options) = entry.name.get("eventfilter".len()..).filter(|rest| !rest.is_empty())
    else {
        let (pattern, excludes) = match entry.value.strip_prefix('!') {
            Some(pattern) => (pattern, true),
            None => (entry.value.as_str(), false),
        };
        return match plain(pattern.trim()) {
            Some(text) => Some(EventFilter {
                excludes,
                test: FilterTest::Contains(text),
                ..EventFilter::default()
            }),
            None => refused(problems, "regular expressions are not understood"),
        };
    };
    let mut filter = EventFilter::default();
    let mut method = "regex";
    let inner = options.trim().strip_prefix('(').and_then(|o| o.strip_suffix(')')).unwrap_or("");
    for option in inner.split(',').map(str::trim) {
        let Some((name, value)) = option.strip_suffix(')').and_then(|o| o.split_once('(')) else {
            return refused(problems, "action(…), name(…), header(…) or method(…) expected");
        };
        match (name, value) {
            ("action", "include") => filter.excludes = false,
            ("action", "exclude") => filter.excludes = true,
            ("name", value) => filter.event = value.to_owned(),
            ("header", value) => filter.header = value.to_owned(),
            ("method", value) => method = value,
            _ => return refused(problems, &format!("{option} is no known option")),
        }
    }
    let value = entry.value.clone();
    filter.test = match method {
        "none" => FilterTest::None,
        "regex" if value.is_empty() => FilterTest::None,
        "exact" => FilterTest::Exact(value),
        "starts_with" => FilterTest::StartsWith(value),
        "ends_with" => FilterTest::EndsWith(value),
        "contains" => FilterTest::Contains(value),
        "regex" => match plain(&value) {
            Some(text) => FilterTest::Contains(text),
            None => return refused(problems, "regular expressions are not understood"),
        },
        other => return refused(problems, &format!("method({other}) is not known")),
    };
    Some(filter)
}

/// The text a regular expression stands for, if it is only text, maybe with `.*` at the ends.
fn plain(pattern: &str) -> Option<String> {
    let pattern = pattern.strip_prefix(".*").unwrap_or(pattern);
    let pattern = pattern.strip_suffix(".*").unwrap_or(pattern);
    let (mut text, mut chars) = (String::new(), pattern.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '*' | '+' | '?' | '[' | ']' | '(' | ')' | '{' | '}' | '|' | '^' | '$' => {
                return None;
            }
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::super::problem::Place;
    use super::*;

    #[test]
    fn filters_without_regular_expressions_are_understood() {
        let contains = |text: &str| FilterTest::Contains(text.into());
        for (name, value, want) in [
            (
                "eventfilter",
                "Event: ExtensionStatus",
                Some((false, "", "", contains("Event: ExtensionStatus"))),
            ),
            ("eventfilter", "!Channel: DAHDI.*", Some((true, "", "", contains("Channel: DAHDI")))),
            ("eventfilter", "a\\.b", Some((false, "", "", contains("a.b")))),
            ("eventfilter", "Event: (A|B)", None),
            (
                "eventfilter(name(PresenceStatus),header(Exten),method(starts_with))",
                "10",
                Some((false, "PresenceStatus", "Exten", FilterTest::StartsWith("10".into()))),
            ),
            (
                "eventfilter(action(exclude),name(UserEvent))",
                "",
                Some((true, "UserEvent", "", FilterTest::None)),
            ),
            ("eventfilter(action(maybe))", "x", None),
            ("eventfilter(method(sounds_like))", "x", None),
        ] {
            let entry = Entry { name: name.into(), value: value.into(), place: Place::default() };
            let mut problems = Problems::default();
            let got = event_filter(&entry, &mut problems);
            let got = got.as_ref().map(|f| (f.excludes, &*f.event, &*f.header, f.test.clone()));
            assert_eq!(got, want, "{name} = {value}");
            assert_eq!(problems.warnings.len(), usize::from(want.is_none()));
        }
    }
}
