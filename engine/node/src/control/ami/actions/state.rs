//! States of presentities, devices and extensions, one by one and as lists.

use lampfield_core::command::{Answer, DeviceRow, ExtensionRow, Query};
use lampfield_core::placement::TenantId;
use lampfield_core::state::DeviceState;
use lampfield_wire::ami::AmiWriter;

use super::super::connection::Connection;
use super::super::request::Request;
use crate::control::ShardError;

/// What a list action answers when a shard does not: clients know no other error of a list.
const LIST_FAILED: &str = "Memory Allocation Failure";

impl Connection {
    pub(super) async fn presence_state(&mut self, request: &Request) {
        let provider = request.get("Provider");
        if provider.is_empty() {
            return self.error(request, "No provider specified");
        }
        let Ok(Some(presence)) = self.node.presence(self.tenant(), provider).await else {
            let text = format!("Invalid provider {provider} or provider in invalid state");
            return self.error(request, &text);
        };
        let mut reply = self
            .reply(request, "Success")
            .header("Message", "Presence State")
            .header("State", presence.state.token());
        if !presence.subtype.is_empty() {
            reply = reply.header("Subtype", &presence.subtype);
        }
        if !presence.message.is_empty() {
            // Twice on purpose: the first hides behind the reply's own `Message`.
            reply = reply
                .header("Message", &presence.message)
                .header("PresenceMessage", &presence.message);
        }
        reply.end();
    }

    pub(super) async fn presence_state_list(&mut self, request: &Request) -> std::io::Result<()> {
        let answers = match self.node.client.ask_all(Query::Presences(self.tenant())).await {
            Ok(answers) => answers,
            Err(error) => return self.list_failed(request, error),
        };
        self.begin_list(request, "Presence State Changes will follow");
        let mut count = 0;
        for answer in answers {
            let Answer::Presences(rows) = answer else { continue };
            for row in rows {
                count += 1;
                self.row(request, "PresenceStateChange")
                    .header("Presentity", &row.presentity)
                    .header("Status", row.presence.state.token())
                    .header_escaped("Subtype", &row.presence.subtype)
                    .header_escaped("Message", &row.presence.message)
                    .end();
                self.write_row().await?;
            }
        }
        self.end_list(request, "PresenceStateListComplete", count);
        Ok(())
    }

    pub(super) async fn device_state_list(&mut self, request: &Request) -> std::io::Result<()> {
        let answers = match self.node.client.ask_all(Query::Devices(self.tenant())).await {
            Ok(answers) => answers,
            Err(error) => return self.list_failed(request, error),
        };
        self.begin_list(request, "Device State Changes will follow");
        let mut count = 0;
        for answer in answers {
            let Answer::Devices(rows) = answer else { continue };
            for row in rows.into_iter().filter(is_known) {
                count += 1;
                self.row(request, "DeviceStateChange")
                    .header("Device", &row.device)
                    .header("State", row.state.token())
                    .end();
                self.write_row().await?;
            }
        }
        self.end_list(request, "DeviceStateListComplete", count);
        Ok(())
    }

    pub(super) async fn extension_state(&mut self, request: &Request) {
        let exten = request.get("Exten");
        if exten.is_empty() {
            return self.error(request, "Extension not specified");
        }
        let context = match request.get("Context") {
            "" => "default",
            context => context,
        };
        let row = match self.node.extension(self.tenant(), context, exten).await {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(exten, context, "AMI ExtensionState: {error}");
                None
            }
        };
        let reply = self
            .reply(request, "Success")
            .header("Message", "Extension Status")
            .header("Exten", exten)
            .header("Context", context);
        add_state(reply, row.as_ref());
    }

    pub(super) async fn extension_state_list(&mut self, request: &Request) -> std::io::Result<()> {
        let answers = match self.node.client.ask_all(Query::Extensions(self.tenant())).await {
            Ok(answers) => answers,
            Err(error) => return self.list_failed(request, error),
        };
        let rows = || answers.iter().flat_map(extension_rows);
        if rows().next().is_none() {
            self.error(request, "No dialplan hints are available");
            return Ok(());
        }
        self.begin_list(request, "Extension Statuses will follow");
        let mut count = 0;
        for row in rows() {
            count += 1;
            let message = self
                .row(request, "ExtensionStatus")
                .header("Exten", &row.exten)
                .header("Context", &row.context);
            add_state(message, Some(row));
            self.write_row().await?;
        }
        self.end_list(request, "ExtensionStateListComplete", count);
        Ok(())
    }

    pub(super) fn tenant(&self) -> TenantId {
        self.login.as_ref().map_or(TenantId::default(), |login| login.user.tenant)
    }

    pub(super) fn list_failed(
        &mut self,
        request: &Request,
        error: ShardError,
    ) -> std::io::Result<()> {
        tracing::warn!(action = request.action(), "AMI list failed: {error}");
        self.error(request, LIST_FAILED);
        Ok(())
    }
}

/// Whether there is something to tell of a device: a report, or what its provider says of devices
/// without one. Asterisk lists what it has cached, which is the same.
fn is_known(row: &DeviceRow) -> bool {
    row.reported || !matches!(row.state, DeviceState::Unknown | DeviceState::Invalid)
}

fn extension_rows(answer: &Answer) -> &[ExtensionRow] {
    match answer {
        Answer::Extensions(rows) => rows,
        _ => &[],
    }
}

/// Ends a message with hint, number and text of a state; of none, with what Asterisk says of an
/// extension without hint.
fn add_state(message: AmiWriter<'_>, row: Option<&ExtensionRow>) {
    message
        .header("Hint", row.map_or("", |row| &row.hint.text))
        .header_i64("Status", row.map_or(-1, |row| row.state.number().into()))
        .header("StatusText", row.map_or("Unknown", |row| row.state.text()))
        .end();
}
