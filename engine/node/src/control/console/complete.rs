//! Completion: how a half-typed line may go on.

use lampfield_core::command::{Answer, Query};
use lampfield_core::placement::TenantId;

use super::table::{COMMANDS, Names};
use super::{Scope, lists, words};
use crate::control::Node;

/// Candidates offered. More are no help to anybody.
const CANDIDATE_COUNT_MAX: usize = 200;

/// Words that may stand where the last word of `line` stands.
pub(super) async fn complete(node: &Node, scope: &Scope, line: &str) -> Vec<String> {
    let mut typed = words::split(line);
    let last = match line.ends_with([' ', '\t']) {
        true => String::new(),
        false => typed.pop().unwrap_or_default(),
    };
    let mut candidates = next_words(&typed, &last);
    let names = COMMANDS.iter().find(|command| {
        command.words.len() == typed.len()
            && command.words.iter().zip(&typed).all(|(a, b)| a.eq_ignore_ascii_case(b))
    });
    if let Some(command) = names {
        candidates.extend(names_of(node, scope.tenant, command.names, &last).await);
    }
    candidates.sort_unstable();
    candidates.dedup();
    candidates.truncate(CANDIDATE_COUNT_MAX);
    candidates
}

/// Words of commands that begin with `typed`.
fn next_words(typed: &[String], last: &str) -> Vec<String> {
    let last = last.to_ascii_lowercase();
    let fits = |words: &[&str]| {
        words.len() > typed.len() && words.iter().zip(typed).all(|(a, b)| a.eq_ignore_ascii_case(b))
    };
    COMMANDS
        .iter()
        .filter(|command| fits(command.words))
        .map(|command| command.words[typed.len()])
        .filter(|word| word.starts_with(&last))
        .map(str::to_owned)
        .collect()
}

async fn names_of(node: &Node, tenant: TenantId, names: Names, prefix: &str) -> Vec<String> {
    let (query, suffix) = match names {
        Names::None => return Vec::new(),
        Names::Lists => return lists::names(node, tenant, prefix),
        Names::Extensions => (Query::Extensions(tenant), "@"),
        Names::CustomDevices | Names::Devices => (Query::Devices(tenant), ""),
        Names::Mailboxes => (Query::Mailboxes(tenant), ""),
        Names::Presentities => (Query::Presences(tenant), ""),
    };
    // Without an answer there is nothing to offer; the command itself will say why.
    let answers = node.client.ask_all(query).await.unwrap_or_default();
    let config = node.config();
    let custom = |name: &str| config.core.providers.of_device(name).is_some_and(|p| p.settable);
    let mut candidates = Vec::new();
    for answer in &answers {
        match answer {
            Answer::Extensions(rows) => candidates
                .extend(rows.iter().map(|row| format!("{}{suffix}{}", row.exten, row.context))),
            Answer::Devices(rows) => candidates.extend(
                rows.iter()
                    .filter(|row| names == Names::Devices || custom(&row.device))
                    .map(|row| row.device.to_string()),
            ),
            Answer::Presences(rows) => {
                candidates.extend(rows.iter().map(|row| row.presentity.to_string()));
            }
            Answer::Mailboxes(rows) => {
                candidates.extend(rows.iter().map(|row| row.mailbox.to_string()));
            }
            _ => {}
        }
    }
    candidates.retain(|name| name.starts_with(prefix));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands_complete_word_by_word() {
        for (typed, last, want) in [
            ("", "pre", &["presencestate", "presencestate"][..]),
            ("core show", "hi", &["hint", "hints"]),
            ("CORE", "s", &["show", "show", "show", "show", "show", "stop"]),
            ("core show hints", "", &[]),
            ("bogus", "", &[]),
        ] {
            assert_eq!(next_words(&words::split(typed), last), want, "{typed} {last}");
        }
    }
}
