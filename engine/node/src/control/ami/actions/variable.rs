//! Getvar and Setvar: the functions `PRESENCE_STATE`, `DEVICE_STATE`, `EXTENSION_STATE` and
//! `HINT`, and plain global variables.
//!
//! A read that fails is a success with an empty value, as in Asterisk: clients rely on it.
//! A state that is set is answered when every shard with extensions of it has applied it, so that
//! whatever the client asks next, or a phone subscribes to, sees it.

use lampfield_core::placement::TenantId;
use lampfield_core::state::parse_presence_read;

use super::super::class::{DIALPLAN, SYSTEM};
use super::super::connection::{Changing, Connection};
use super::super::event;
use super::super::request::Request;
use crate::control::Change;
use crate::control::node::VARIABLE_COUNT_MAX;

/// Bytes of a value in a reply to Getvar; longer ones are cut.
const VALUE_BYTES_MAX: usize = 1023;

/// What Setvar answers when all is well.
const SET: &str = "Variable Set";

/// Why Setvar set nothing.
enum NotSet {
    /// For a reason that Asterisk has words for.
    Message(&'static str),
    /// For this reason, where Asterisk only says that it did not.
    Because(String),
}

/// Context of an extension that names none.
const CONTEXT_DEFAULT: &str = "default";

impl Connection {
    pub(super) async fn get_variable(&mut self, request: &Request) {
        let variable = request.get("Variable");
        if variable.is_empty() {
            return self.error(request, "No variable specified");
        }
        if !request.get("Channel").is_empty() {
            return self.error(request, "No such channel");
        }
        let Some(login) = &self.login else { return };
        let runs_code = variable.contains("SHELL") || variable.contains("EVAL");
        if runs_code && login.user.write & SYSTEM == 0 {
            return self.error(request, "GetVar Access Forbidden: Variable");
        }
        let tenant = login.user.tenant;
        let value = match function_call(variable) {
            Some((name, argument)) => self.read_function(tenant, name, argument).await,
            None => self.node.variable(tenant, variable),
        };
        let value = value.unwrap_or_default();
        let cut = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
        self.reply(request, "Success").header("Variable", variable).header("Value", cut).end();
    }

    /// Sets a variable, or begins to set a state.
    pub(super) async fn set_variable(&mut self, request: Request) {
        match self.begin_change(&request).await {
            Ok(Some(change)) => self.changes.push(Changing { request, change }),
            Ok(None) => {
                self.finish_changes().await;
                self.ack(&request, SET);
            }
            Err(error) => {
                self.finish_changes().await;
                self.not_set(&request, &error);
            }
        }
    }

    /// Waits until all changes under way are applied, and replies to them in order.
    pub(in super::super) async fn finish_changes(&mut self) {
        for Changing { request, change } in std::mem::take(&mut self.changes) {
            match change.applied().await {
                Ok(()) => self.ack(&request, SET),
                Err(error) => self.not_set(&request, &NotSet::Because(error.to_string())),
            }
        }
    }

    /// The change that a request asks for; `None` if a variable has been set.
    async fn begin_change(&self, request: &Request) -> Result<Option<Change>, NotSet> {
        let (variable, value) = (request.get("Variable"), request.get("Value"));
        if variable.is_empty() {
            return Err(NotSet::Message("No variable specified"));
        }
        if !request.get("Channel").is_empty() {
            return Err(NotSet::Message("No such channel"));
        }
        let tenant = self.tenant();
        let change = match function_call(variable) {
            Some((name, argument)) if name.eq_ignore_ascii_case("PRESENCE_STATE") => {
                self.node.begin_presence(tenant, argument, value).await
            }
            Some((name, argument)) if is_device_state(name) => {
                self.node.begin_device(tenant, argument, value).await
            }
            Some((name, _)) => {
                let reason = format!("`{name}` is not a function that can be set");
                return Err(NotSet::Because(reason));
            }
            None => {
                self.set_global(tenant, variable, value).map_err(NotSet::Because)?;
                return Ok(None);
            }
        };
        change.map(Some).map_err(|error| NotSet::Because(error.to_string()))
    }

    /// Says that nothing was set: in Asterisk's words, and why in a header of our own.
    fn not_set(&mut self, request: &Request, error: &NotSet) {
        match error {
            NotSet::Message(text) => self.error(request, text),
            NotSet::Because(reason) => {
                let variable = request.get("Variable");
                tracing::info!(peer = %self.peer, variable, "AMI Setvar failed: {reason}");
                let reply = self.reply(request, "Error").header("Message", "Variable not set");
                reply.header("Reason", reason).end();
            }
        }
    }

    fn set_global(&self, tenant: TenantId, name: &str, value: &str) -> Result<(), String> {
        if !self.node.set_variable(tenant, name, value) {
            return Err(format!("the tenants have {VARIABLE_COUNT_MAX} global variables already"));
        }
        let frame = event::build(&self.node, "VarSet", DIALPLAN, tenant, |message| {
            message
                .header("Channel", "none")
                .header("Uniqueid", "none")
                .header("Variable", name)
                .header("Value", value)
        });
        self.node.hub.send(frame, &self.node);
        Ok(())
    }

    /// The value of a function; `None` when it fails or does not exist.
    async fn read_function(&self, tenant: TenantId, name: &str, argument: &str) -> Option<String> {
        let node = &self.node;
        if name.eq_ignore_ascii_case("PRESENCE_STATE") {
            let read = parse_presence_read(argument).ok()?;
            let presence = node.presence(tenant, &read.provider).await.ok()??;
            Some(read.value(&presence))
        } else if is_device_state(name) {
            let state = node.device(tenant, argument).await.ok()?;
            Some(state.token().to_owned())
        } else if name.eq_ignore_ascii_case("EXTENSION_STATE") {
            let (exten, context) = argument.split_once('@').unwrap_or((argument, CONTEXT_DEFAULT));
            let row = node.extension(tenant, context, exten).await.ok()?;
            Some(row.map_or("UNKNOWN", |row| row.state.function_text()).to_owned())
        } else if name.eq_ignore_ascii_case("HINT") {
            let (key, options) = argument.split_once(',').unwrap_or((argument, ""));
            let (exten, context) = key.split_once('@').unwrap_or((key, CONTEXT_DEFAULT));
            let hint = node.find(tenant, context, exten)?.hint;
            let name = hint.display_name.as_deref().unwrap_or_default();
            Some(if options.contains('n') { name } else { &hint.text }.to_owned())
        } else {
            None
        }
    }
}

fn is_device_state(name: &str) -> bool {
    // The older name of the function is still read and written by many dialplans.
    name.eq_ignore_ascii_case("DEVICE_STATE") || name.eq_ignore_ascii_case("DEVSTATE")
}

/// Takes `NAME(argument)` apart.
fn function_call(variable: &str) -> Option<(&str, &str)> {
    variable.strip_suffix(')')?.split_once('(')
}
