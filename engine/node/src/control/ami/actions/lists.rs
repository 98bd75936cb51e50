//! Resource lists. Those a rule makes are not listed: there may be millions.
//!
//! Source: `reference/ami.md` section 6, `traces/21-cli.txt`.

use std::sync::Arc;

use lampfield_core::list::List;

use super::super::connection::Connection;
use super::super::request::Request;

impl Connection {
    pub(super) async fn resource_lists(&mut self, request: &Request) -> std::io::Result<()> {
        let config = self.node.config();
        let mut lists: Vec<&Arc<List>> = config.core.lists.rows(self.tenant()).collect();
        if lists.is_empty() {
            // The line end is Asterisk's. Clients that know it wait for the empty line after it.
            self.reply(request, "Error");
            self.replies.extend_from_slice(b"Message: No resource lists found\n\r\n\r\n");
            return Ok(());
        }
        lists.sort_by_key(|list| (&list.name, list.package.name()));
        self.begin_list(
            request,
            "A listing of resource lists follows, presented as ResourceListDetail events",
        );
        for list in &lists {
            let items: Vec<String> = list.items.iter().map(ToString::to_string).collect();
            self.row(request, "ResourceListDetail")
                .header("ObjectType", "resource_list")
                .header("ObjectName", &list.name)
                .header("Event", list.package.name())
                .header("ResourceDisplayName", truth(list.display_names))
                .header("NotificationBatchInterval", &list.batch_interval.as_millis().to_string())
                .header("ListItem", &items.join(","))
                .header("FullState", truth(list.full_state))
                .end();
            self.write_row().await?;
        }
        self.end_list(request, "ResourceListDetailComplete", lists.len());
        Ok(())
    }
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
