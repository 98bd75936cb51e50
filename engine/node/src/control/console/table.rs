//! The commands: their words, what they do, how they are used.

use std::fmt::Write;
use std::str::FromStr;

use super::{Failure, Output};

/// What a command does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Backup,
    Counters,
    DevstateChange,
    DevstateList,
    DialplanReload,
    DrainShow,
    DrainStart,
    DrainStop,
    Explain,
    Help,
    Latency,
    Lists,
    MailboxDelete,
    MailboxShow,
    MailboxUpdate,
    MailboxesDelete,
    MailboxesDeleteLike,
    MailboxesLike,
    MailboxesList,
    Mirrors,
    Net,
    PjsipPublication,
    PjsipPublications,
    PjsipSubscription,
    PjsipSubscriptionsInbound,
    PjsipSubscriptionsOutbound,
    PresenceChange,
    PresenceList,
    Registrations,
    Reload,
    Shards,
    ShowHint,
    ShowHints,
    ShowUptime,
    ShowVersion,
    SourceSet,
    Stop,
    SubscriptionsList,
    SubscriptionsShow,
    Publications,
    TenantUse,
    Tenants,
}

/// What completes the words after a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Names {
    None,
    Extensions,
    CustomDevices,
    Devices,
    Lists,
    Mailboxes,
    Presentities,
}

/// One spelling of a command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) words: &'static [&'static str],
    pub(super) kind: Kind,
    /// Kind of name its first argument is.
    pub(super) names: Names,
    /// Whether it shows or changes more than one tenant's things.
    pub(super) node_wide: bool,
    summary: &'static str,
    usage: &'static str,
}

/// As Asterisk prints it when arguments are wrong; scripts look for it.
const PRESENCE_CHANGE_USAGE: &str = "\
Usage: presencestate change <entity> <state>[,<subtype>[,message[,options]]]
       Change a custom presence to a new state.
       The possible values for the state are:
NOT_SET | UNAVAILABLE | AVAILABLE | AWAY | XA | CHAT | DND
Optionally, a custom subtype and message may be provided, along with any options
accepted by func_presencestate. If the subtype or message provided contain spaces,
be sure to enclose the data in quotation marks (\"\")

Examples:
       presencestate change CustomPresence:mystate1 AWAY
       presencestate change CustomPresence:mystate1 AVAILABLE
       presencestate change CustomPresence:mystate1 \"Away,upstairs,eating lunch\"
       \n";

/// As Asterisk prints it.
const DEVSTATE_CHANGE_USAGE: &str = "\
Usage: devstate change <device> <state>
       Change a custom device to a new state.
       The possible values for the state are:
UNKNOWN | NOT_INUSE | INUSE | BUSY | INVALID | UNAVAILABLE | RINGING
RINGINUSE | ONHOLD

Examples:
       devstate change Custom:mystate1 INUSE
       devstate change Custom:mystate1 NOT_INUSE
       \n";

/// All commands, by name.
#[rustfmt::skip]
pub(super) const COMMANDS: [Command; 45] = {
    const fn own(words: &'static [&'static str], kind: Kind, names: Names, usage: &'static str, summary: &'static str) -> Command {
        Command { words, kind, names, node_wide: false, summary, usage }
    }
    const fn node(words: &'static [&'static str], kind: Kind, usage: &'static str, summary: &'static str) -> Command {
        Command { words, kind, names: Names::None, node_wide: true, summary, usage }
    }
    [
        node(&["backup"], Kind::Backup, "Usage: backup <name>\n       Into a new file of that name in `backups` of the state directory.\n", "Copy everything that is kept"),
        own(&["core", "show", "help"], Kind::Help, Names::None, "Usage: core show help [command]\n", "List commands, or show how one is used"),
        own(&["core", "show", "hint"], Kind::ShowHint, Names::Extensions, "Usage: core show hint <exten>\n       Hints whose extension begins so.\n", "Show the hints of an extension"),
        own(&["core", "show", "hints"], Kind::ShowHints, Names::None, "Usage: core show hints\n", "List all hints with state and watchers"),
        own(&["core", "show", "uptime"], Kind::ShowUptime, Names::None, "Usage: core show uptime\n", "Time since start and since reload"),
        own(&["core", "show", "version"], Kind::ShowVersion, Names::None, "Usage: core show version\n", "Version of this node"),
        node(&["core", "stop", "now"], Kind::Stop, "Usage: core stop now\n", "End the node"),
        node(&["counters"], Kind::Counters, "Usage: counters\n", "Counters, summed and by shard"),
        own(&["devstate", "change"], Kind::DevstateChange, Names::CustomDevices, DEVSTATE_CHANGE_USAGE, "Change the state of a Custom: device"),
        own(&["devstate", "list"], Kind::DevstateList, Names::None, "Usage: devstate list\n", "List Custom: devices"),
        node(&["dialplan", "reload"], Kind::DialplanReload, "Usage: dialplan reload\n", "Read the configuration again"),
        node(&["drain", "show"], Kind::DrainShow, "Usage: drain show\n", "How far the node has sent its watchers elsewhere"),
        node(&["drain", "start"], Kind::DrainStart, "Usage: drain start [<per second>]\n       Takes no new subscriptions and publications (503), and ends those there are,\n       1000 a second unless said otherwise, so that watchers subscribe elsewhere.\n       Said again it changes the pace.\n", "Send watchers elsewhere"),
        node(&["drain", "stop"], Kind::DrainStop, "Usage: drain stop\n       Who was not sent away stays, and new ones are taken.\n", "Keep those who are still here"),
        own(&["explain"], Kind::Explain, Names::Extensions, "Usage: explain <exten>[@<context>]\n       Sources with values, ages and owners, how they add up, and who watches.\n", "Why a lamp shows what it shows"),
        own(&["help"], Kind::Help, Names::None, "Usage: help [command]\n", "List commands, or show how one is used"),
        node(&["latency"], Kind::Latency, "Usage: latency [reset]\n       reset counts anew from now on.\n", "Where time goes, from a change to its answers"),
        own(&["lists", "show"], Kind::Lists, Names::Lists, "Usage: lists show [name]\n       With a name, of each member what it is.\n", "Resource lists, or the members of one"),
        node(&["mirror", "show"], Kind::Mirrors, "Usage: mirror show [name]\n", "PBXs whose states are followed, and how well"),
        own(&["mwi", "delete", "all"], Kind::MailboxesDelete, Names::None, "Usage: mwi delete all\n", "Forget the messages of all mailboxes"),
        own(&["mwi", "delete", "like"], Kind::MailboxesDeleteLike, Names::None, "Usage: mwi delete like <regex>\n", "Forget the messages of some mailboxes"),
        own(&["mwi", "delete", "mailbox"], Kind::MailboxDelete, Names::Mailboxes, "Usage: mwi delete mailbox <mailbox>\n", "Forget the messages of a mailbox"),
        own(&["mwi", "list", "all"], Kind::MailboxesList, Names::None, "Usage: mwi list all\n", "List mailboxes with their messages"),
        own(&["mwi", "list", "like"], Kind::MailboxesLike, Names::None, "Usage: mwi list like <regex>\n", "List some mailboxes with their messages"),
        own(&["mwi", "show", "mailbox"], Kind::MailboxShow, Names::Mailboxes, "Usage: mwi show mailbox <mailbox>\n", "Show the messages of a mailbox"),
        own(&["mwi", "update", "mailbox"], Kind::MailboxUpdate, Names::Mailboxes, "Usage: mwi update mailbox <mailbox> [<new> [<old>]]\n", "Tell how many messages a mailbox has"),
        node(&["net"], Kind::Net, "Usage: net\n       What `waiting` says is now, all else is since start.\n", "Datagrams, connections and queues, summed and by shard"),
        own(&["pjsip", "show", "publication", "inbound"], Kind::PjsipPublication, Names::Extensions, "Usage: pjsip show publication inbound <exten>\n", "Show what is published about an extension"),
        own(&["pjsip", "show", "publications", "inbound"], Kind::PjsipPublications, Names::None, "Usage: pjsip show publications inbound\n", "List publications of others"),
        own(&["pjsip", "show", "subscription", "inbound"], Kind::PjsipSubscription, Names::None, "Usage: pjsip show subscription inbound <call-id>\n", "Show one subscription of a watcher"),
        own(&["pjsip", "show", "subscriptions", "inbound"], Kind::PjsipSubscriptionsInbound, Names::None, "Usage: pjsip show subscriptions inbound\n", "List subscriptions of watchers"),
        own(&["pjsip", "show", "subscriptions", "outbound"], Kind::PjsipSubscriptionsOutbound, Names::None, "Usage: pjsip show subscriptions outbound\n", "List subscriptions to others"),
        own(&["presencestate", "change"], Kind::PresenceChange, Names::Presentities, PRESENCE_CHANGE_USAGE, "Change a CustomPresence: state"),
        own(&["presencestate", "list"], Kind::PresenceList, Names::None, "Usage: presencestate list\n", "List CustomPresence: states"),
        own(&["publications"], Kind::Publications, Names::None, "Usage: publications [count]\n", "List publications with what each says"),
        own(&["registrations"], Kind::Registrations, Names::None, "Usage: registrations [count]\n", "List registered users with their contacts"),
        node(&["reload"], Kind::Reload, "Usage: reload\n       A file with an error changes nothing.\n", "Read the configuration again"),
        node(&["shards"], Kind::Shards, "Usage: shards\n", "Queues, watchers, rates and latencies by shard"),
        node(&["shutdown"], Kind::Stop, "Usage: shutdown\n", "End the node"),
        own(&["source", "set"], Kind::SourceSet, Names::Devices, "Usage: source set <device> <state>\n       Reports the state of any provider's device, as PJSIP/2000.\n       The state is one of UNKNOWN, NOT_INUSE, INUSE, BUSY, INVALID, UNAVAILABLE,\n       RINGING, RINGINUSE, ONHOLD.\n", "Report the state of a device"),
        own(&["subscriptions"], Kind::SubscriptionsList, Names::None, "Usage: subscriptions [count]\n", "List subscriptions with what they acknowledged"),
        own(&["subscriptions", "list"], Kind::SubscriptionsList, Names::None, "Usage: subscriptions list [count]\n", "List subscriptions with what they acknowledged"),
        own(&["subscriptions", "show"], Kind::SubscriptionsShow, Names::None, "Usage: subscriptions show <call-id>\n", "Everything about one subscription"),
        node(&["tenant"], Kind::TenantUse, "Usage: tenant <name>\n       Later commands of this connection concern that tenant.\n", "Choose a tenant"),
        node(&["tenants"], Kind::Tenants, "Usage: tenants\n", "List tenants"),
    ]
};

impl Command {
    /// The command that a line begins with, the longest if several do, and the words after it.
    pub(super) fn find(words: &[String]) -> Option<(&'static Self, &[String])> {
        let fits = |command: &&Command| {
            words.len() >= command.words.len()
                && command.words.iter().zip(words).all(|(a, b)| a.eq_ignore_ascii_case(b))
        };
        let command = COMMANDS.iter().filter(fits).max_by_key(|command| command.words.len())?;
        Some((command, &words[command.words.len()..]))
    }

    /// The command that does this, under its last spelling.
    pub(super) fn of(kind: Kind) -> &'static Self {
        let found = COMMANDS.iter().rev().find(|command| command.kind == kind);
        found.expect("every kind is in the table")
    }

    /// What to print when the arguments are wrong.
    pub(super) fn usage(&self) -> Failure {
        Failure::Usage(self.usage)
    }

    /// A number among its arguments.
    ///
    /// # Errors
    ///
    /// How the command is used, if it is none.
    pub(super) fn number<T: FromStr>(&self, argument: &str) -> Result<T, Failure> {
        argument.parse().map_err(|_| self.usage())
    }
}

/// A list of commands that begin with `words`, or how the one they name is used.
pub(super) fn help(words: &[String]) -> Output {
    let asked = words.join(" ").to_ascii_lowercase();
    let exact = COMMANDS.iter().find(|command| command.words.join(" ") == asked);
    if let Some(command) = exact {
        return Output { text: command.usage.to_owned(), ok: true };
    }
    let mut text = String::new();
    for command in &COMMANDS {
        let name = command.words.join(" ");
        if name.starts_with(&asked) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:>34}  {}", command.summary);
        }
    }
    match text.is_empty() {
        true => Output { text: format!("No such command '{asked}'.\n"), ok: false },
        false => Output { text, ok: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        super::super::words::split(line)
    }

    #[test]
    fn the_longest_spelling_wins_in_any_case() {
        for (line, kind, rest) in [
            ("core show hints", Some(Kind::ShowHints), 0),
            ("Core SHOW hint x", Some(Kind::ShowHint), 1),
            ("subscriptions list 5", Some(Kind::SubscriptionsList), 1),
            ("subscriptions", Some(Kind::SubscriptionsList), 0),
            ("subscriptions show x", Some(Kind::SubscriptionsShow), 1),
            ("core show", None, 0),
            ("bogus", None, 0),
            ("", None, 0),
        ] {
            let words = words(line);
            let found = Command::find(&words);
            assert_eq!(found.map(|(command, _)| command.kind), kind, "{line}");
            assert_eq!(found.map_or(0, |(_, rest)| rest.len()), rest, "{line}");
        }
    }

    #[test]
    fn help_lists_commands_or_tells_how_one_is_used() {
        assert!(help(&[]).text.lines().count() == COMMANDS.len());
        assert_eq!(help(&words("devstate change")).text, DEVSTATE_CHANGE_USAGE);
        assert_eq!(help(&words("devstate")).text.lines().count(), 2);
        assert!(!help(&words("nothing")).ok);
    }

    #[test]
    fn commands_are_sorted_so_that_help_is() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.words));
    }
}
