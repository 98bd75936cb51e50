//! One inbound subscription: an RFC 6665 notifier dialog, packed.
//!
//! The record holds what a NOTIFY head is rendered from; the texts of the dialog lie in one
//! allocation. Rendering from the record is faster than copying a kept head, at a third of the
//! memory (`FASTPATH.md` section 8).

use std::net::IpAddr;
use std::sync::Arc;

use crate::Time;
use crate::body::Body;
use crate::config::EndpointId;
use crate::extension::ExtensionId;
use crate::hop::HopId;
use crate::pace::Pace;
use crate::rls::{Content, ListWatch};
use crate::state::ExtensionState;
use crate::tag::Tag;

/// An inbound subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) tag: Tag,
    pub(crate) watched: Watched,
    pub(crate) endpoint: EndpointId,
    pub(crate) hop: HopId,
    /// Where the SUBSCRIBE that made it came from: counted in the shard's `per_source`.
    pub(crate) source: IpAddr,
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
    /// Second in which its entry in the wheel fires.
    pub(crate) armed_at_s: u32,
    /// No NOTIFY before this second: the peer asked for time (Retry-After).
    pub(crate) not_before_s: u32,
    pub(crate) state: Lifecycle,
    /// Group generation of the last NOTIFY sent.
    pub(crate) sent_generation: u32,
    /// A NOTIFY is owed whatever the generation (a SUBSCRIBE wants one, or the state is final).
    pub(crate) owed: bool,
    /// It waits in its hop's queue.
    pub(crate) is_waiting: bool,
    /// NOTIFYs in a row that were not answered in time.
    pub(crate) unanswered_count: u8,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) acked_state: Option<ExtensionState>,
    /// Seconds since start; 0 for never.
    pub(crate) acked_at_s: u32,
    /// CSeq up to which the kept record is good; beyond, it is written again.
    pub(crate) kept_cseq: u32,
    /// The first route is a strict router: request URI and last Route trade places.
    pub(crate) is_strict: bool,
    /// How often its watcher wants to hear of it; `None`: at once and always.
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) texts: Texts,
}

/// What a subscription begins with: its dialog, its place and its term.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) tag: Tag,
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
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) texts: Texts,
}

/// What a subscription watches.
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
}

impl Reason {
    pub(crate) const fn token(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoResource => "noresource",
            Self::Rejected => "rejected",
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
    /// Places it still holds in its hop's window.
    pub(crate) places: u16,
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

/// Texts of a dialog, end to end in one allocation.
#[derive(Debug)]
pub(crate) struct Texts {
    bytes: Box<[u8]>,
    ends: [u16; TEXT_COUNT],
}

/// One text of a dialog.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Text {
    CallId,
    /// To of the SUBSCRIBE without tag: From of the NOTIFY.
    Local,
    /// From of the SUBSCRIBE with tag: To of the NOTIFY.
    Remote,
    /// URI of the watcher's Contact: request URI of the NOTIFY.
    Target,
    /// Route header lines, CRLF included; empty without a route set.
    Routes,
    /// Value of the Event header, as subscribed.
    Event,
    /// The watcher's URI, XML-escaped, as bodies show it.
    Watcher,
}

const TEXT_COUNT: usize = 7;

impl Texts {
    /// Packs the texts, in the order of [`Text`]. `None` if they are longer than `bytes_max`.
    pub(crate) fn pack(texts: [&[u8]; TEXT_COUNT], bytes_max: usize) -> Option<Self> {
        let byte_count: usize = texts.iter().map(|text| text.len()).sum();
        if byte_count > bytes_max.min(usize::from(u16::MAX)) {
            return None;
        }
        let mut ends = [0; TEXT_COUNT];
        let mut bytes = Vec::with_capacity(byte_count);
        for (text, end) in texts.iter().zip(&mut ends) {
            bytes.extend_from_slice(text);
            *end = bytes.len() as u16;
        }
        Some(Self { bytes: bytes.into_boxed_slice(), ends })
    }

    pub(crate) fn get(&self, text: Text) -> &[u8] {
        let at = text as usize;
        let start = if at == 0 { 0 } else { usize::from(self.ends[at - 1]) };
        &self.bytes[start..usize::from(self.ends[at])]
    }

    /// Bytes of all texts.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// All texts, in the order of [`Text`].
    pub(crate) fn all(&self) -> [&[u8]; TEXT_COUNT] {
        use Text::*;
        [CallId, Local, Remote, Target, Routes, Event, Watcher].map(|text| self.get(text))
    }
}

impl Subscription {
    /// A subscription whose watcher was told nothing yet and is owed a NOTIFY.
    pub(crate) fn new(beginning: Beginning) -> Self {
        let Beginning { tag, watched, endpoint, hop, source, cseq, remote_cseq, .. } = beginning;
        let Beginning { version, granted_s, expires_at_s, state, is_strict, pace, texts, .. } =
            beginning;
        Self {
            tag,
            watched,
            endpoint,
            hop,
            source,
            cseq,
            remote_cseq,
            version,
            granted_s,
            expires_at_s,
            armed_at_s: expires_at_s,
            not_before_s: 0,
            state,
            sent_generation: 0,
            owed: true,
            is_waiting: false,
            unanswered_count: 0,
            in_flight: None,
            acked_state: None,
            acked_at_s: 0,
            kept_cseq: cseq,
            is_strict,
            pace,
            texts,
        }
    }

    /// Seconds it still runs.
    pub(crate) fn remaining_s(&self, now: Time) -> u32 {
        u64::from(self.expires_at_s).saturating_sub(now.as_secs_ceil()) as u32
    }

    /// The seat of a single extension's watcher.
    pub(crate) fn seat(&self) -> Option<Seat> {
        match &self.watched {
            Watched::Extension(seat) => Some(*seat),
            Watched::List(_) => None,
        }
    }

    /// The list it watches.
    pub(crate) fn list(&self) -> Option<&ListWatch> {
        match &self.watched {
            Watched::Extension(_) => None,
            Watched::List(watch) => Some(watch),
        }
    }

    /// The list it watches.
    pub(crate) fn list_mut(&mut self) -> Option<&mut ListWatch> {
        match &mut self.watched {
            Watched::Extension(_) => None,
            Watched::List(watch) => Some(watch),
        }
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
    fn texts_come_back_as_packed_and_too_many_are_refused() {
        let texts: [&[u8]; 7] = [b"call", b"local", b"", b"target", b"Route: <x>\r\n", b"e", b"w"];
        let packed = Texts::pack(texts, 100).expect("fits");
        assert_eq!(packed.all(), texts);
        assert_eq!(packed.get(Text::Event), b"e");
        assert!(Texts::pack(texts, 10).is_none());
    }
}
