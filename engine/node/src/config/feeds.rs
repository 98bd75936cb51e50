//! Names to which other servers publish their states, from either kind of file.

use std::sync::Arc;

use lampfield_core::feed::{Feed, FeedRules, NameFilter};
use lampfield_core::placement::TenantId;

use super::build::Draft;
use super::problem::{Place, Problems};

/// What is taken of states of one kind; a filter that is no expression is an error.
pub(super) fn rules(
    accepts: bool,
    filter: Option<(Place, &str)>,
    problems: &mut Problems,
) -> FeedRules {
    let filter = filter.filter(|(_, text)| !text.is_empty());
    let filter = filter.and_then(|(place, text)| {
        let parsed = NameFilter::parse(text);
        parsed.map_err(|error| problems.error(&place, format!("no expression: {error}"))).ok()
    });
    FeedRules { accepts, filter }
}

impl Draft {
    /// Adds a name servers publish to.
    pub(super) fn feed(&mut self, place: &Place, feed: Feed) {
        let feeds = &mut self.core.feeds;
        if feeds.find(feed.tenant, &feed.name).is_some() {
            let text = format!("servers publish to {} already, by an earlier entry", feed.name);
            return self.problems.error(place, text);
        }
        feeds.rows.push(feed);
    }

    /// The endpoint that alone may publish to a feed of `tenant`.
    pub(super) fn feed_endpoint(
        &mut self,
        place: &Place,
        tenant: TenantId,
        name: &str,
    ) -> Option<Arc<str>> {
        let found = self.find_endpoint(name).map(|id| &self.core.endpoints[id.0 as usize]);
        let found = found.filter(|endpoint| endpoint.tenant == tenant);
        if found.is_none() {
            self.problems.error(place, format!("there is no endpoint {name} of this tenant"));
        }
        found.map(|endpoint| Arc::clone(&endpoint.name))
    }
}
