//! The console: commands typed by an operator, over a UNIX socket or AMI `Command`.
//!
//! Commands that Asterisk has are spelled, answered and laid out as Asterisk does it
//! (`reference/states.md` section 8, `traces/21-cli.txt`), so that scripts keep working; the
//! others are ours.

mod server;

pub(crate) use server::Server;

use lampfield_core::placement::TenantId;
use lampfield_core::state::DeviceState;

use super::Node;
use crate::config::AmiUser;

/// Who runs a command, and what it may touch.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Whose extensions, sources and watchers the command sees.
    pub(crate) tenant: TenantId,
    /// Whether it may see and change the node as a whole.
    pub(crate) node_wide: bool,
}

/// What a command printed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Output {
    /// Lines, each ended by a line feed.
    pub(crate) text: String,
    /// False for an unknown command, wrong arguments, or a failure.
    pub(crate) ok: bool,
}

impl Scope {
    /// The operator at the console socket.
    pub(crate) fn operator() -> Self {
        Self { tenant: TenantId::default(), node_wide: true }
    }

    /// An AMI user: his tenant.
    pub(crate) fn of_user(user: &AmiUser) -> Self {
        Self { tenant: user.tenant, node_wide: true }
    }
}

/// Runs one command line.
pub(crate) async fn execute(node: &Node, scope: &mut Scope, line: &str) -> Output {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let result = match words[..] {
        ["reload"] if scope.node_wide => node.reload().await.map_err(|error| format!("{error:#}")),
        ["source", "set", name, state] => node
            .report_device(scope.tenant, name, DeviceState::from_token(state))
            .await
            .map_err(|error| error.to_string()),
        _ => Err(format!("No such command '{line}'")),
    };
    match result {
        Ok(()) => Output { text: String::new(), ok: true },
        Err(error) => Output { text: format!("{error}\n"), ok: false },
    }
}
