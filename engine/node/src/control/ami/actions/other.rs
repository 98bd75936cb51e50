//! Console commands and events of clients.

use super::super::class::USER;
use super::super::connection::Connection;
use super::super::event;
use super::super::request::Request;
use crate::control::console::{Reader, Scope, execute};

/// Commands that Asterisk refuses over AMI.
const REFUSED: [&str; 3] = ["module load", "module unload", "restart gracefully"];

impl Connection {
    pub(super) async fn command(&mut self, request: &Request) {
        let command = request.get("Command");
        if command.is_empty() {
            return self.error(request, "No command provided");
        }
        let words = command.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if REFUSED.iter().any(|refused| words.to_ascii_lowercase().starts_with(refused)) {
            return self.error(request, "Command blacklisted");
        }
        let Some(login) = &self.login else { return };
        let mut scope = Scope::of_user(&login.user, self.node.config().core.tenants.len());
        let output = execute(&self.node, &mut scope, command, Reader::People).await;
        let mut reply = self
            .reply(request, if output.ok { "Success" } else { "Error" })
            .header("Message", "Command output follows");
        let text = output.text.strip_suffix('\n').unwrap_or(&output.text);
        for line in text.split('\n') {
            reply = reply.header("Output", line);
        }
        reply.end();
    }

    pub(super) fn user_event(&mut self, request: &Request) {
        let frame = event::build(&self.node, "UserEvent", USER, self.tenant(), |message| {
            let mut message = message.header("UserEvent", request.get("UserEvent"));
            let mut named = false;
            for (name, value) in request.headers() {
                // The action and the event's name are said already; all else is passed on.
                let is_name = name.eq_ignore_ascii_case("UserEvent") && !named;
                named |= is_name;
                if !is_name && !name.eq_ignore_ascii_case("Action") {
                    message = message.header(name, value);
                }
            }
            message
        });
        self.node.hub.send(frame, &self.node);
        self.ack(request, "Event Sent");
    }
}
