//! Console commands and events of clients.

use super::super::class::USER;
use super::super::connection::Connection;
use super::super::event;
use super::super::request::Request;
use crate::control::console::{Scope, execute};
use crate::control::node::one_line;

/// Commands that Asterisk refuses over AMI.
const REFUSED: [&str; 3] = ["module load", "module unload", "restart gracefully"];

impl Connection {
    pub(super) async fn command(&mut self, request: &Request) -> std::io::Result<()> {
        let command = request.get("Command");
        if command.is_empty() {
            self.error(request, "No command provided");
            return Ok(());
        }
        let words = command.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        if REFUSED.iter().any(|refused| words.to_ascii_lowercase().starts_with(refused)) {
            self.error(request, "Command blacklisted");
            return Ok(());
        }
        let Some(login) = &self.login else { return Ok(()) };
        let mut scope = Scope::of_user(&login.user, self.node.config().core.tenants.len());
        let output = execute(&self.node, &mut scope, command).await;
        self.reply(request, if output.ok { "Success" } else { "Error" })
            .header("Message", "Command output follows");
        let text = output.text.strip_suffix('\n').unwrap_or(&output.text);
        for line in text.split('\n') {
            self.replies.header("Output", line);
            self.write_row().await?;
        }
        self.replies.end();
        Ok(())
    }

    pub(super) fn user_event(&mut self, request: &Request) {
        let frame = event::build(&self.node, "UserEvent", USER, self.tenant(), |message| {
            message.header("UserEvent", request.get("UserEvent"));
            let mut named = false;
            for (name, value) in request.headers() {
                // The action and the event's name are said already; all else is passed on.
                let is_name = name.eq_ignore_ascii_case("UserEvent") && !named;
                named |= is_name;
                if !is_name && !name.eq_ignore_ascii_case("Action") {
                    message.header(&one_line(name), value);
                }
            }
        });
        self.node.hub.send(frame);
        self.ack(request, "Event Sent");
    }
}
