//! The actions: which there are, who may use them, and the answers all of them share.
//!
//! Source: `reference/ami.md` sections 2, 5 and 6.

mod lists;
mod mailbox;
mod other;
mod session;
mod state;
mod subscription;
mod variable;

pub(crate) use subscription::asterisk_state;

use lampfield_wire::ami::AmiWriter;

use super::class::{self, CALL, COMMAND, REPORTING, SYSTEM, USER};
use super::connection::{Connection, Next};
use super::request::Request;

/// An action and what it needs.
struct Action {
    name: &'static str,
    kind: Kind,
    /// Any of these classes suffices; 0 needs none.
    classes: u64,
    synopsis: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Challenge,
    Command,
    DeviceStateList,
    Events,
    ExtensionState,
    ExtensionStateList,
    Getvar,
    ListCommands,
    Login,
    Logoff,
    MailboxDelete,
    MailboxGet,
    MailboxUpdate,
    Ping,
    PresenceState,
    PresenceStateList,
    ResourceLists,
    Setvar,
    SubscriptionsInbound,
    SubscriptionsOutbound,
    UserEvent,
    WaitEvent,
}

/// All actions, by name.
#[rustfmt::skip]
const ACTIONS: [Action; 22] = {
    const fn action(name: &'static str, kind: Kind, classes: u64, synopsis: &'static str) -> Action {
        Action { name, kind, classes, synopsis }
    }
    [
        action("Challenge", Kind::Challenge, 0, "Text to hash together with the secret."),
        action("Command", Kind::Command, COMMAND, "Run a console command."),
        action("DeviceStateList", Kind::DeviceStateList, CALL | REPORTING, "List device states."),
        action("Events", Kind::Events, 0, "Choose which events to hear."),
        action("ExtensionState", Kind::ExtensionState, CALL | REPORTING, "State of an extension."),
        action("ExtensionStateList", Kind::ExtensionStateList, CALL | REPORTING, "List extension states."),
        action("Getvar", Kind::Getvar, CALL | REPORTING, "Read a variable or function."),
        action("ListCommands", Kind::ListCommands, 0, "List the actions you may use."),
        action("Login", Kind::Login, 0, "Log in."),
        action("Logoff", Kind::Logoff, 0, "Log off."),
        action("MWIDelete", Kind::MailboxDelete, CALL, "Forget the messages of mailboxes."),
        action("MWIGet", Kind::MailboxGet, CALL | REPORTING, "List the messages of mailboxes."),
        action("MWIUpdate", Kind::MailboxUpdate, CALL, "Tell how many messages a mailbox has."),
        action("PJSIPShowResourceLists", Kind::ResourceLists, SYSTEM, "List resource lists."),
        action("PJSIPShowSubscriptionsInbound", Kind::SubscriptionsInbound, SYSTEM, "List subscriptions of watchers."),
        action("PJSIPShowSubscriptionsOutbound", Kind::SubscriptionsOutbound, SYSTEM, "List subscriptions to others."),
        action("Ping", Kind::Ping, 0, "Keep the connection alive."),
        action("PresenceState", Kind::PresenceState, CALL | REPORTING, "State of a presentity."),
        action("PresenceStateList", Kind::PresenceStateList, CALL | REPORTING, "List presence states."),
        action("Setvar", Kind::Setvar, CALL, "Set a variable or function."),
        action("UserEvent", Kind::UserEvent, USER, "Send an event to other clients."),
        action("WaitEvent", Kind::WaitEvent, 0, "Wait for an event to occur."),
    ]
};

impl Connection {
    /// Handles one request: its reply and its list go to `replies`. A change of a state goes to
    /// `changes`; everything else waits for those before it.
    pub(super) async fn act(&mut self, request: Request) -> std::io::Result<Next> {
        let action = request.action();
        let action = ACTIONS.iter().find(|known| known.name.eq_ignore_ascii_case(action));
        let allowed = action.filter(|action| self.may(Some(action)));
        if !matches!(allowed, Some(Action { kind: Kind::Setvar, .. })) {
            self.finish_changes().await;
        }
        match allowed {
            Some(action) => self.act_as(action.kind, request).await,
            None => {
                self.refuse(action, &request);
                Ok(Next::Continue)
            }
        }
    }

    /// Answers an action that there is not, or that is not for this client.
    fn refuse(&mut self, action: Option<&Action>, request: &Request) {
        let name = request.action();
        if name.is_empty() {
            self.error(request, "Missing action in request");
        } else if !self.may(action) {
            self.error(request, "Permission denied");
        } else {
            self.error(
                request,
                &format!(
                    "Invalid/unknown command: {name}. \
                     Use Action: ListCommands to show available commands."
                ),
            );
        }
    }

    /// Whether this client may use an action. One that is none may be asked for after the login.
    fn may(&self, action: Option<&Action>) -> bool {
        match (action, &self.login) {
            (Some(action), None) => {
                matches!(action.kind, Kind::Login | Kind::Logoff | Kind::Challenge)
            }
            (Some(action), Some(login)) => {
                action.classes == 0 || action.classes & login.user.write != 0
            }
            (None, login) => login.is_some(),
        }
    }

    async fn act_as(&mut self, kind: Kind, request: Request) -> std::io::Result<Next> {
        match kind {
            Kind::Login => return Ok(self.log_in(&request).await),
            Kind::Logoff => return Ok(self.log_off(&request)),
            Kind::Challenge => self.make_challenge(&request),
            Kind::Ping => self.ping(&request),
            Kind::Events => self.choose_events(&request).await,
            Kind::ListCommands => self.list_commands(&request),
            Kind::UserEvent => self.user_event(&request),
            Kind::WaitEvent => self.wait_event(&request).await?,
            Kind::Command => self.command(&request).await,
            Kind::Getvar => self.get_variable(&request).await,
            Kind::Setvar => self.set_variable(request).await,
            Kind::PresenceState => self.presence_state(&request).await,
            Kind::PresenceStateList => self.presence_state_list(&request).await?,
            Kind::DeviceStateList => self.device_state_list(&request).await?,
            Kind::ExtensionState => self.extension_state(&request).await,
            Kind::ExtensionStateList => self.extension_state_list(&request).await?,
            Kind::SubscriptionsInbound => self.subscriptions_inbound(&request).await?,
            Kind::SubscriptionsOutbound => self.subscriptions_outbound(&request),
            Kind::MailboxUpdate => self.mailbox_update(&request).await,
            Kind::MailboxDelete => self.mailbox_delete(&request).await,
            Kind::MailboxGet => self.mailbox_get(&request).await?,
            Kind::ResourceLists => self.resource_lists(&request).await?,
        }
        Ok(Next::Continue)
    }

    /// Begins a reply; the caller adds headers and ends it.
    fn reply(&mut self, request: &Request, response: &str) -> AmiWriter<'_> {
        AmiWriter::response(&mut self.replies, response, request.find("ActionID"))
    }

    /// A whole reply that says yes.
    fn ack(&mut self, request: &Request, text: &str) {
        self.reply(request, "Success").header("Message", text).end();
    }

    /// A whole reply that says no.
    fn error(&mut self, request: &Request, text: &str) {
        self.reply(request, "Error").header("Message", text).end();
    }

    /// Says that a list follows.
    fn begin_list(&mut self, request: &Request, text: &str) {
        self.reply(request, "Success").header("EventList", "start").header("Message", text).end();
    }

    /// Begins a row of a list; the caller adds headers and ends it.
    fn row(&mut self, request: &Request, event: &str) -> AmiWriter<'_> {
        AmiWriter::event(&mut self.replies, event, None).action_id(request.find("ActionID"))
    }

    /// Says that a list is complete.
    fn end_list(&mut self, request: &Request, event: &str, count: usize) {
        self.row(request, event)
            .header("EventList", "Complete")
            .header("ListItems", &count.to_string())
            .end();
    }

    fn list_commands(&mut self, request: &Request) {
        let write = self.login.as_ref().map_or(0, |login| login.user.write);
        let mut reply = self.reply(request, "Success");
        for action in ACTIONS {
            if action.classes != 0 && action.classes & write == 0 {
                continue;
            }
            let needs = match action.classes {
                0 => "<none>".to_owned(),
                classes => class::names(classes),
            };
            let text = format!("{}  (Priv: {needs})", action.synopsis);
            reply = reply.header(action.name, &text);
        }
        reply.end();
    }
}
