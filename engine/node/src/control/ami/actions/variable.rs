//! Getvar and Setvar: the functions `PRESENCE_STATE`, `DEVICE_STATE`, `EXTENSION_STATE` and
//! `HINT`, and plain global variables.
//!
//! A read that fails is a success with an empty value, as in Asterisk: clients rely on it.

use lampfield_core::placement::TenantId;
use lampfield_core::state::parse_presence_read;

use super::super::class::{DIALPLAN, SYSTEM};
use super::super::connection::Connection;
use super::super::event;
use super::super::request::Request;

/// Bytes of a value in a reply to Getvar; longer ones are cut.
const VALUE_BYTES_MAX: usize = 1023;

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

    pub(super) async fn set_variable(&mut self, request: &Request) {
        let (variable, value) = (request.get("Variable"), request.get("Value"));
        if variable.is_empty() {
            return self.error(request, "No variable specified");
        }
        if !request.get("Channel").is_empty() {
            return self.error(request, "No such channel");
        }
        let Some(login) = &self.login else { return };
        let tenant = login.user.tenant;
        let result = match function_call(variable) {
            Some((name, argument)) if name.eq_ignore_ascii_case("PRESENCE_STATE") => {
                let set = self.node.set_presence(tenant, argument, value).await;
                set.map_err(|error| error.to_string())
            }
            Some((name, argument)) if is_device_state(name) => {
                let set = self.node.set_device(tenant, argument, value).await;
                set.map_err(|error| error.to_string())
            }
            Some((name, _)) => Err(format!("`{name}` is not a function that can be set")),
            None => self.set_global(tenant, variable, value),
        };
        match result {
            Ok(()) => self.ack(request, "Variable Set"),
            Err(error) => {
                // The reply says no more than Asterisk's; the log does.
                tracing::info!(peer = %self.peer, variable, "AMI Setvar failed: {error}");
                self.error(request, "Variable not set");
            }
        }
    }

    fn set_global(&self, tenant: TenantId, name: &str, value: &str) -> Result<(), String> {
        if !self.node.set_variable(tenant, name, value) {
            return Err("too many global variables".to_owned());
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
