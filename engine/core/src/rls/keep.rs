//! Lists across a restart: what a list subscription's record holds beside its dialog.
//!
//! Members are not kept: the configuration names them, or the kept list of a request.

use std::sync::Arc;

use super::resolve::{Resolved, Wisher};
use super::{Entry5367, Items, ListWatch, Source};
use crate::config::EndpointId;
use crate::fanout::Fanout;
use crate::layout::{KeptSubscription, Reader, Writer};
use crate::package::Package;
use crate::subscription::{Lifecycle, Reason, Watched};
use crate::tag::Tag;
use crate::{Outputs, Shard, Time};

impl ListWatch {
    /// Appends what a restart needs to make it again.
    pub(crate) fn write(&self, value: &mut Writer) {
        value.text(self.package.name().as_bytes());
        value.u32(u32::from(self.is_quenched) | u32::from(self.is_cautious) << 1);
        let Source::Request(entries) = &self.source else { return value.u32(CONFIGURED) };
        value.u32(entries.len() as u32);
        for entry in entries.iter() {
            value.text(entry.uri.as_bytes());
            value.text(entry.display_name.as_deref().unwrap_or_default().as_bytes());
        }
    }
}

/// Stands for the number of entries where the configuration has them.
const CONFIGURED: u32 = u32::MAX;

/// The entries of a kept list; `None` if the configuration has them.
fn read_entries(value: &mut Reader<'_>) -> Option<Option<Arc<[Entry5367]>>> {
    let count = value.u32()?;
    if count == CONFIGURED {
        return Some(None);
    }
    let entries = (0..count).map(|_| {
        let (uri, name) = (value.str()?.into(), value.str()?);
        Some(Entry5367 { uri, display_name: (!name.is_empty()).then(|| name.into()) })
    });
    Some(Some(entries.collect::<Option<Vec<_>>>()?.into()))
}

impl Shard {
    /// A watcher of a list. One whose list or endpoint is gone is told so, and then it is over.
    pub(crate) fn restore_list(
        &mut self,
        tag: Tag,
        kept: &KeptSubscription<'_>,
        mut value: Reader<'_>,
        now: Time,
        out: &mut Outputs,
    ) -> Option<()> {
        let package = Package::from_name(value.text()?)?;
        let flags = value.u32()?;
        let endpoint = self.endpoint_index.find(&self.config, kept.tenant, kept.endpoint);
        let source = match read_entries(&mut value)? {
            Some(entries) => Some(Items::Request(entries)),
            None => self.config.lists.find(kept.tenant, kept.exten, package).map(Items::Configured),
        };
        let (context, view) = (kept.context.into(), kept.view());
        let uri = kept.entity;
        let wisher = Wisher { tenant: kept.tenant, context: &context, package, view: &view, uri };
        let nothing = Items::Request(Arc::new([]));
        // One with more members than may be now ends like one whose endpoint is gone.
        let resolved = self.resolve(wisher, source.as_ref().unwrap_or(&nothing));
        let is_allowed = endpoint.is_some() && resolved.is_ok();
        let state = match kept.state {
            Lifecycle::Active if !is_allowed => Lifecycle::Ending(Reason::Rejected),
            Lifecycle::Active if source.is_none() => Lifecycle::Ending(Reason::NoResource),
            state => state,
        };
        let resolved = resolved.or_else(|_| self.resolve(wisher, &nothing));
        let Resolved { members, mut shape } = resolved.ok()??;
        shape.name = kept.exten.into();
        let items = source.unwrap_or(nothing);
        let batch_interval = items.batch_interval();
        let mut watch = ListWatch::new(wisher, items.source(), shape);
        // No nested list ever showed a version above the outermost one's.
        watch.versions.fill(kept.version);
        (watch.is_quenched, watch.is_cautious) = (flags & 1 != 0, flags & 2 != 0);
        let watched = Watched::List(Box::new(watch));
        let endpoint = endpoint.unwrap_or(EndpointId(u32::MAX));
        let slot = self.add_again(tag, kept, (endpoint, watched, batch_interval, state), now)?;
        self.seat_members(slot, members, now, out);
        // Through the queue, not at once: a million of them leave at the pace of the answers.
        self.fanout.push(Fanout::List(slot), usize::MAX);
        Some(())
    }
}
