//! Lists of subscriptions, under the names that clients know from Asterisk's PJSIP.

use lampfield_core::command::{Answer, Query};

use super::super::connection::Connection;
use super::super::request::Request;

/// Rows of one shard in a list. A node may hold millions of subscriptions, and a list is for
/// looking at.
const ROW_COUNT_MAX: usize = 100_000;

impl Connection {
    pub(super) async fn subscriptions_inbound(&mut self, request: &Request) -> std::io::Result<()> {
        let tenant = Some(self.tenant());
        let query = Query::Subscriptions { tenant, call_id: None, limit: ROW_COUNT_MAX };
        let answers = match self.node.client.ask_all(query).await {
            Ok(answers) => answers,
            Err(error) => return self.list_failed(request, error),
        };
        self.begin_list(request, "Following are Events for each inbound Subscription");
        let mut count = 0;
        for answer in answers {
            let Answer::Subscriptions(rows, _) = answer else { continue };
            for row in rows {
                count += 1;
                let event = self
                    .row(request, "InboundSubscriptionDetail")
                    .header("Role", "Notifier")
                    .header("Endpoint", &row.endpoint)
                    .header("Callid", &row.call_id)
                    .header("State", asterisk_state(row.state))
                    .header("Callerid", "Unknown");
                // A list is no extension (trace 21).
                let event = match row.members {
                    Some(_) => event,
                    None => event
                        .header("SubscriptionType", "extension_state")
                        .header("Extension", &row.exten)
                        .header(
                            "ExtensionStates",
                            row.acknowledged.map_or("Unknown", |state| state.text()),
                        ),
                };
                event.end();
                self.write_row().await?;
            }
        }
        self.end_list(request, "InboundSubscriptionDetailComplete", count);
        Ok(())
    }

    pub(super) fn subscriptions_outbound(&mut self, request: &Request) {
        self.begin_list(request, "Following are Events for each outbound Subscription");
        self.end_list(request, "OutboundSubscriptionDetailComplete", 0);
    }
}

/// A state in Asterisk's words. A suspect watcher still is one, so it is active there.
pub(crate) fn asterisk_state(state: &str) -> &str {
    match state {
        "SUSPECT" => "ACTIVE",
        state => state,
    }
}
