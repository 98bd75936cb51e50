//! The console: commands typed by an operator, over a UNIX socket or AMI `Command`.
//!
//! Commands that Asterisk has are spelled, answered and laid out as Asterisk does it
//! (`reference/states.md` section 8, `traces/21-cli.txt`), so that scripts keep working; the
//! others are ours. Listings are sorted by name. Free text is printed on one line, its line ends
//! escaped.

mod client;
mod complete;
mod drain;
mod explain;
mod figures;
mod hints;
mod json;
mod latency;
mod lists;
mod mailboxes;
mod mirrors;
mod publications;
mod registrations;
mod rows;
mod server;
mod states;
mod subscriptions;
mod table;
mod words;

use std::fmt::Write;

use lampfield_core::placement::TenantId;

pub use client::{ConsoleRequest, console_main, default_history_path, default_socket_path};
pub(crate) use server::Server;

use self::table::{Command, Kind};
use super::ami::class::SYSTEM;
use super::node::one_line;
use super::{MailboxPattern, Node, ShardError};
use crate::config::AmiUser;

/// Rows of one listing. More are counted, not shown.
const ROW_COUNT_MAX: usize = 100_000;

/// Who runs a command, and what it may touch.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Whose extensions, sources and watchers the command sees.
    pub(crate) tenant: TenantId,
    /// Whether it may see and change the node as a whole.
    pub(crate) node_wide: bool,
}

/// Who reads what a command prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reader {
    People,
    /// One line of JSON.
    Programs,
}

/// What a command printed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Output {
    /// Lines, each ended by a line feed.
    pub(crate) text: String,
    /// False for an unknown command, wrong arguments, or a failure.
    pub(crate) ok: bool,
}

/// Why a command did not do what it should.
#[derive(Debug)]
enum Failure {
    /// The arguments are wrong: print how it is used.
    Usage(&'static str),
    /// It could not be done, for a reason in Asterisk's words or ours.
    Because(String),
}

impl Scope {
    /// The operator at the console socket.
    pub(crate) fn operator() -> Self {
        Self { tenant: TenantId::default(), node_wide: true }
    }

    /// An AMI user: his tenant. Where there are several, he needs class `system` for commands
    /// that concern the others as well.
    pub(crate) fn of_user(user: &AmiUser, tenant_count: usize) -> Self {
        let node_wide = tenant_count <= 1 || user.write & SYSTEM != 0;
        Self { tenant: user.tenant, node_wide }
    }
}

impl From<ShardError> for Failure {
    fn from(error: ShardError) -> Self {
        Self::Because(error.to_string())
    }
}

/// Runs one command line, to be read by people or, where a command can do that, by programs.
pub(crate) async fn execute(node: &Node, scope: &mut Scope, line: &str, reader: Reader) -> Output {
    let line = line.trim();
    let words = words::split(line);
    if words.is_empty() {
        return Output { text: String::new(), ok: true };
    }
    let Some((command, arguments)) = Command::find(&words) else {
        let text = format!(
            "No such command '{line}' (type 'core show help {line}' for other possible commands)\n"
        );
        return Output { text, ok: false };
    };
    if command.node_wide && !scope.node_wide {
        let text = "This command concerns the node as a whole and needs class system.\n";
        return Output { text: text.to_owned(), ok: false };
    }
    if command.kind == Kind::Help {
        return table::help(arguments);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = match reader {
        Reader::People => run(node, scope, command, &arguments).await,
        Reader::Programs => json::run(node, command, &arguments).await,
    };
    match ran {
        Ok(text) => Output { text, ok: true },
        Err(Failure::Usage(usage)) => Output { text: usage.to_owned(), ok: false },
        Err(Failure::Because(reason)) => {
            Output { text: format!("{reason}\nCommand '{line}' failed.\n"), ok: false }
        }
    }
}

async fn run(
    node: &Node,
    scope: &mut Scope,
    command: &Command,
    arguments: &[&str],
) -> Result<String, Failure> {
    let tenant = scope.tenant;
    match (command.kind, arguments) {
        (Kind::PresenceList, []) => states::presence_list(node, tenant).await,
        (Kind::PresenceChange, [name, value]) => {
            states::presence_change(node, tenant, name, value).await
        }
        (Kind::DevstateList, []) => states::device_list(node, tenant).await,
        (Kind::DevstateChange, [name, state]) => {
            states::device_change(node, tenant, name, state).await
        }
        (Kind::SourceSet, [name, state]) => states::source_set(node, tenant, name, state).await,
        (Kind::ShowHints, []) => hints::all(node, tenant).await,
        (Kind::ShowHint, [name]) => hints::matching(node, tenant, name).await,
        (Kind::Explain, [name]) => explain::explain(node, tenant, name).await,
        (Kind::SubscriptionsList, []) => subscriptions::list(node, tenant, 100).await,
        (Kind::SubscriptionsList, [count]) => {
            subscriptions::list(node, tenant, command.number(count)?).await
        }
        (Kind::SubscriptionsShow, [call_id]) => subscriptions::show(node, tenant, call_id).await,
        (Kind::PjsipSubscriptionsInbound, []) => subscriptions::pjsip_list(node, tenant).await,
        (Kind::PjsipSubscriptionsOutbound, []) => Ok(subscriptions::pjsip_none()),
        (Kind::PjsipSubscription, [call_id]) => {
            subscriptions::pjsip_show(node, tenant, call_id).await
        }
        (Kind::Backup, [name]) => match node.backup(name).await {
            Ok((file, count)) => Ok(format!("{count} records copied to {}\n", file.display())),
            Err(error) => Err(Failure::Because(format!("{error:#}"))),
        },
        (Kind::DrainShow, []) => drain::show(node).await,
        (Kind::DrainStart, []) => drain::start(node, drain::PER_S).await,
        (Kind::DrainStart, [per_s]) => match per_s.parse() {
            Ok(per_s) if per_s > 0 => drain::start(node, per_s).await,
            _ => Err(command.usage()),
        },
        (Kind::DrainStop, []) => drain::stop(node).await,
        (Kind::Latency, []) => latency::show(node).await,
        (Kind::Latency, ["reset"]) => latency::reset(node).await,
        (Kind::Publications, []) => publications::list(node, tenant, 100).await,
        (Kind::Publications, [count]) => {
            publications::list(node, tenant, command.number(count)?).await
        }
        (Kind::Registrations, []) => registrations::list(node, tenant, 100).await,
        (Kind::Registrations, [count]) => {
            registrations::list(node, tenant, command.number(count)?).await
        }
        (Kind::PjsipPublications, []) => publications::pjsip_list(node, tenant).await,
        (Kind::PjsipPublication, [name]) => publications::pjsip_show(node, tenant, name).await,
        (Kind::Shards, []) => figures::shards(node).await,
        (Kind::Lists, []) => Ok(lists::all(node, tenant)),
        (Kind::Lists, [name]) => lists::one(node, tenant, name),
        (Kind::MailboxesList, []) => mailboxes::list(node, tenant, None).await,
        (Kind::MailboxesLike, [regex]) => {
            mailboxes::list(node, tenant, Some(mailboxes::like(regex)?)).await
        }
        (Kind::MailboxShow, [name]) => mailboxes::show(node, tenant, name).await,
        (Kind::MailboxUpdate, [name, counts @ ..]) => {
            let counts: Option<Vec<u32>> = counts.iter().map(|count| count.parse().ok()).collect();
            let counts = match counts.as_deref() {
                Some([]) => [0, 0],
                Some(&[new]) => [new, 0],
                Some(&[new, old]) => [new, old],
                _ => return Err(command.usage()),
            };
            mailboxes::update(node, tenant, name, counts).await
        }
        (Kind::MailboxesDelete, []) => mailboxes::delete(node, tenant, &MailboxPattern::All).await,
        (Kind::MailboxesDeleteLike, [regex]) => {
            mailboxes::delete(node, tenant, &mailboxes::like(regex)?).await
        }
        (Kind::MailboxDelete, [name]) => {
            mailboxes::delete(node, tenant, &MailboxPattern::One((*name).into())).await
        }
        (Kind::Mirrors, []) => mirrors::show(node, None),
        (Kind::Mirrors, [name]) => mirrors::show(node, Some(name)),
        (Kind::Net, []) => figures::net(node).await,
        (Kind::Counters, []) => figures::counters(node).await,
        (Kind::ShowUptime, []) => Ok(figures::uptime(node)),
        (Kind::ShowVersion, []) => Ok(format!("Lampfield {}\n", env!("CARGO_PKG_VERSION"))),
        (Kind::Tenants, []) => Ok(tenants(node, tenant)),
        (Kind::TenantUse, [name]) => use_tenant(node, scope, name),
        (Kind::Reload | Kind::DialplanReload, _) => match node.reload().await {
            // Scripts that reload an Asterisk may wait for its words.
            Ok(()) if command.kind == Kind::DialplanReload => Ok("Dialplan reloaded.\n".to_owned()),
            Ok(()) => Ok("Configuration read and handed to all shards\n".to_owned()),
            Err(error) => Err(Failure::Because(format!("Nothing was changed: {error:#}"))),
        },
        (Kind::Stop, []) => {
            node.shutdown.request();
            Ok("The node is stopping\n".to_owned())
        }
        _ => Err(command.usage()),
    }
}

fn tenants(node: &Node, current: TenantId) -> String {
    let mut text = String::new();
    for (index, tenant) in node.config().core.tenants.iter().enumerate() {
        let mark = if index == usize::from(current.0) { '*' } else { ' ' };
        let domain = tenant.domain.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{mark} {:<30} {domain}", one_line(&tenant.name));
    }
    text
}

fn use_tenant(node: &Node, scope: &mut Scope, name: &str) -> Result<String, Failure> {
    let config = node.config();
    let place = config.core.tenants.iter().position(|tenant| *tenant.name == *name);
    match place.and_then(|place| u16::try_from(place).ok()) {
        Some(place) => {
            scope.tenant = TenantId(place);
            Ok(format!("Tenant {name}\n"))
        }
        None => Err(Failure::Because(format!("There is no tenant '{name}'"))),
    }
}
