//! One inbound subscription: an RFC 6665 notifier dialog, packed into 88 bytes.
//!
//! The record holds the numbers a NOTIFY head is rendered from; the texts of the dialog lie in an
//! arena (`texts.rs`), the NOTIFY in flight in a slab of its own, and what few subscriptions have
//! (a list, a pace, a peer that asked for time) behind one pointer. Rendering from the record is
//! faster than copying a kept head, at a third of the memory (`FASTPATH.md` section 8).

use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;

use crate::Time;
use crate::body::Body;
use crate::config::EndpointId;
use crate::extension::ExtensionId;
use crate::hop::HopId;
use crate::pace::Pace;
use crate::rls::{Content, ListWatch};
use crate::slab::Slab;
use crate::state::ExtensionState;
use crate::tag::Tag;
use crate::texts::{AllTexts, TextsId};

/// An inbound subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) tag: Tag,
    pub(crate) texts: TextsId,
    pub(crate) endpoint: EndpointId,
    pub(crate) hop: HopId,
    /// The extension it watches; none if it watches a list.
    extension: ExtensionId,
    /// Its place in its group.
    position: u32,
    /// Its group in the extension.
    group: u16,
    /// CSeqs until the kept record must be written again; [`KEPT_FOREVER`].
    pub(crate) kept_left: u16,
    /// CSeq of the last NOTIFY sent.
    pub(crate) cseq: u32,
    /// CSeq of the watcher's last SUBSCRIBE.
    pub(crate) remote_cseq: u32,
    /// Document version the next NOTIFY carries.
    pub(crate) version: u32,
    /// Duration last granted, in seconds.
    pub(crate) granted_s: u32,
    /// Second in which it ends.
    pub(crate) expires_at_s: u32,
    /// Group generation of the last NOTIFY sent.
    pub(crate) sent_generation: u32,
    pub(crate) in_flight: Option<FlightId>,
    /// Seconds since start; 0 for never.
    pub(crate) acked_at_s: u32,
    /// Second in which its entry in the wheel fires; the last bits of it. The wheel is smaller.
    armed_at_s: u16,
    pub(crate) state: Lifecycle,
    /// A NOTIFY is owed whatever the generation (a SUBSCRIBE wants one, or the state is final).
    pub(crate) owed: bool,
    /// It waits in its hop's queue.
    pub(crate) is_waiting: bool,
    /// The first route is a strict router: request URI and last Route trade places.
    pub(crate) is_strict: bool,
    /// NOTIFYs in a row that were not answered in time.
    pub(crate) unanswered_count: u8,
    pub(crate) acked_state: Option<ExtensionState>,
    rare: Option<Box<Rare>>,
}

/// What few subscriptions have.
#[derive(Debug, Default)]
struct Rare {
    list: Option<Box<ListWatch>>,
    /// How often its watcher wants to hear of it; `None`: at once and always.
    pace: Option<Box<Pace>>,
    /// No NOTIFY before this second: the peer asked for time (Retry-After).
    not_before_s: u32,
    /// Nobody answered yet where NOTIFYs go, and it is not where the SUBSCRIBE came from: until then
    /// they are few and small, so that nobody is flooded through us.
    is_unproven: bool,
}

/// Nothing is kept of it, or nothing needs to be written again.
pub(crate) const KEPT_FOREVER: u16 = u16::MAX;

/// What a subscription begins with: its dialog, its place and its term.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) tag: Tag,
    pub(crate) texts: AllTexts<'a>,
    pub(crate) watched: Watched,
    pub(crate) endpoint: EndpointId,
    pub(crate) hop: HopId,
    pub(crate) source: IpAddr,
    pub(crate) cseq: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) version: u32,
    pub(crate) granted_s: u32,
    pub(crate) expires_at_s: u32,
    pub(crate) state: Lifecycle,
    pub(crate) is_strict: bool,
    pub(crate) is_unproven: bool,
    pub(crate) pace: Option<Box<Pace>>,
}

/// What a subscription watches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watching<'a> {
    /// One extension, and the place among its watchers.
    Extension(Seat),
    /// A resource list.
    List(&'a ListWatch),
}

/// What a new subscription watches.
#[derive(Debug)]
pub(crate) enum Watched {
    /// One extension, and the place among its watchers.
    Extension(Seat),
    /// A resource list.
    List(Box<ListWatch>),
}

/// A watcher's place in an extension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat {
    pub(crate) extension: ExtensionId,
    /// Its group in the extension, and its place in the group.
    pub(crate) group: u16,
    pub(crate) position: u32,
}

impl Seat {
    const NONE: Self = Self { extension: u32::MAX, group: 0, position: 0 };
}

/// Where a subscription is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lifecycle {
    Active,
    /// The last NOTIFY is due or in flight; nothing follows it.
    Ending(Reason),
}

impl Lifecycle {
    /// Whether the store has it: what runs, and what ends without its watcher knowing.
    pub(crate) const fn is_kept(self) -> bool {
        !matches!(self, Self::Ending(Reason::Timeout))
    }
}

/// Why a subscription ends: RFC 6665 section 4.1.3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// It ran out, was ended by its watcher, or was a fetch.
    Timeout,
    /// The extension has no hint any more. Its watcher cannot know, so a restart tells it.
    NoResource,
    /// The endpoint may not watch any more; told after a restart, too.
    Rejected,
    /// The node is to go: its watcher subscribes anew, elsewhere. Told after a restart, too.
    Deactivated,
}

impl Reason {
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoResource => "noresource",
            Self::Rejected => "rejected",
            Self::Deactivated => "deactivated",
        }
    }
}

/// The NOTIFY that waits for its answer: what a retransmission must repeat byte for byte.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) content: Shown,
    pub(crate) version: u32,
    pub(crate) shown_expires_s: u32,
    pub(crate) state: Lifecycle,
    /// What a single extension's watcher is shown.
    pub(crate) extension_state: Option<ExtensionState>,
    pub(crate) sent_count: u8,
    pub(crate) sent_at: Time,
    /// It tells a change; else somebody asked for it.
    pub(crate) tells_change: bool,
    /// Places it still holds in its hop's window.
    pub(crate) places: u16,
    /// Length it was padded to; 0 if it was not.
    pub(crate) padded_bytes: u16,
}

/// The body of a NOTIFY in flight.
#[derive(Debug)]
pub(crate) enum Shown {
    /// The document of one extension.
    Document(Arc<Body>),
    /// Members of a list.
    List(Box<Content>),
    /// A list whose watcher wants no bodies.
    Nothing,
}

/// Names a NOTIFY in flight.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FlightId(NonZero<u32>);

/// The NOTIFYs in flight of a shard.
#[derive(Debug)]
pub(crate) struct Flights {
    slab: Slab<InFlight>,
}

impl Default for Flights {
    fn default() -> Self {
        // Sixteen thousand come and go with every large fan-out.
        Self { slab: Slab::breathing(32) }
    }
}

impl Flights {
    pub(crate) fn insert(&mut self, in_flight: InFlight) -> FlightId {
        FlightId(NonZero::<u32>::MIN.saturating_add(self.slab.insert(in_flight)))
    }

    pub(crate) fn remove(&mut self, id: FlightId) -> Option<InFlight> {
        self.slab.remove(id.0.get() - 1)
    }

    pub(crate) fn get(&self, id: FlightId) -> &InFlight {
        &self.slab[id.0.get() - 1]
    }

    pub(crate) fn get_mut(&mut self, id: FlightId) -> &mut InFlight {
        &mut self.slab[id.0.get() - 1]
    }
}

impl Subscription {
    /// A subscription whose watcher was told nothing yet and is owed a NOTIFY.
    pub(crate) fn new(beginning: Beginning<'_>, texts: TextsId) -> Self {
        let Beginning { tag, endpoint, hop, cseq, remote_cseq, version, .. } = beginning;
        let Beginning { watched, granted_s, expires_at_s, state, is_strict, pace, .. } = beginning;
        let is_unproven = beginning.is_unproven;
        let (seat, list) = match watched {
            Watched::Extension(seat) => (seat, None),
            Watched::List(list) => (Seat::NONE, Some(list)),
        };
        let is_rare = list.is_some() || pace.is_some() || is_unproven;
        Self {
            tag,
            texts,
            endpoint,
            hop,
            extension: seat.extension,
            position: seat.position,
            group: seat.group,
            kept_left: 0,
            cseq,
            remote_cseq,
            version,
            granted_s,
            expires_at_s,
            armed_at_s: 0,
            state,
            sent_generation: 0,
            owed: true,
            is_waiting: false,
            unanswered_count: 0,
            in_flight: None,
            acked_state: None,
            acked_at_s: 0,
            is_strict,
            rare: is_rare.then(|| Box::new(Rare { list, pace, not_before_s: 0, is_unproven })),
        }
    }

    /// What it watches.
    pub(crate) fn watching(&self) -> Watching<'_> {
        match self.list() {
            Some(list) => Watching::List(list),
            None => Watching::Extension(self.own_seat()),
        }
    }

    /// The seat of one that watches no list.
    pub(crate) fn own_seat(&self) -> Seat {
        Seat { extension: self.extension, group: self.group, position: self.position }
    }

    /// Its place among the watchers of its group.
    pub(crate) fn set_position(&mut self, position: u32) {
        self.position = position;
    }

    /// How often its watcher wants to hear of it; `None`: at once and always.
    pub(crate) fn pace(&self) -> Option<&Pace> {
        self.rare.as_ref()?.pace.as_deref()
    }

    /// How often its watcher wants to hear of it; `None`: at once and always.
    pub(crate) fn pace_mut(&mut self) -> Option<&mut Pace> {
        self.rare.as_mut()?.pace.as_deref_mut()
    }

    pub(crate) fn set_pace(&mut self, pace: Option<Box<Pace>>) {
        if pace.is_some() || self.rare.is_some() {
            self.rare.get_or_insert_default().pace = pace;
        }
    }

    /// No NOTIFY before this second: the peer asked for time.
    pub(crate) fn not_before_s(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.not_before_s)
    }

    pub(crate) fn set_not_before_s(&mut self, second: u32) {
        if second > 0 || self.rare.is_some() {
            self.rare.get_or_insert_default().not_before_s = second;
        }
    }

    /// Whether it may be a stranger to whom NOTIFYs go: nobody answered there yet.
    #[inline]
    pub(crate) fn is_unproven(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_unproven)
    }

    pub(crate) fn set_unproven(&mut self, is_unproven: bool) {
        if is_unproven || self.rare.is_some() {
            self.rare.get_or_insert_default().is_unproven = is_unproven;
        }
    }

    /// Its entry in the wheel fires in this second.
    pub(crate) fn arm(&mut self, at_s: u64) {
        self.armed_at_s = at_s as u16;
    }

    /// The second in which its entry in the wheel fires, or should have fired.
    pub(crate) fn armed_at_s(&self, now: Time) -> u64 {
        let now_s = now.as_secs();
        let ahead_s = self.armed_at_s.wrapping_sub(now_s as u16) as i16;
        now_s.saturating_add_signed(i64::from(ahead_s))
    }

    /// Whether an entry of the wheel, which fired in this second, is the one it armed last.
    pub(crate) fn is_armed_for(&self, at_s: u64) -> bool {
        self.armed_at_s == at_s as u16
    }

    /// Seconds it still runs.
    pub(crate) fn remaining_s(&self, now: Time) -> u32 {
        u64::from(self.expires_at_s).saturating_sub(now.as_secs_ceil()) as u32
    }

    /// The seat of a single extension's watcher.
    #[inline]
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.list().is_none().then(|| self.own_seat())
    }

    /// The list it watches.
    #[inline]
    pub(crate) fn list(&self) -> Option<&ListWatch> {
        self.rare.as_ref()?.list.as_deref()
    }

    /// The list it watches.
    #[inline]
    pub(crate) fn list_mut(&mut self) -> Option<&mut ListWatch> {
        self.rare.as_mut()?.list.as_deref_mut()
    }

    /// Whether it has something to say that its watcher was not told.
    pub(crate) fn has_news(&self, generation: u32) -> bool {
        self.owed || self.sent_generation != generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_as_small_as_they_are_said_to_be() {
        assert_eq!((size_of::<Subscription>(), size_of::<InFlight>()), (88, 40));
        assert_eq!((Slab::<Subscription>::SLOT_BYTES, Slab::<InFlight>::SLOT_BYTES), (88, 40));
    }
}
