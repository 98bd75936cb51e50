//! Counters and latencies of one shard: plain numbers, summed by the node.

use hdrhistogram::Histogram;

/// Counters, gauges and latencies of one shard.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Plain counters, named; the name is the metric's name.
    pub counters: Counters,
    /// Subscriptions held now.
    pub subscription_count: u64,
    /// Extensions held now.
    pub extension_count: u64,
    /// Sources held now.
    pub source_count: u64,
    /// Extensions that lists of this shard show, each in one form.
    pub part_count: u64,
    /// Members of all list subscriptions.
    pub list_member_count: u64,
    /// Publications held now.
    pub publication_count: u64,
    /// Users with contacts.
    pub registration_count: u64,
    /// Next hops held now.
    pub hop_count: u64,
    /// NOTIFYs waiting for an answer now.
    pub in_flight_count: u64,
    /// Subscriptions whose next NOTIFY waits for window or turn now.
    pub waiting_count: u64,
    /// From state change to the first transmission of its NOTIFY, in nanoseconds.
    pub change_to_sent_ns: Histogram<u64>,
    /// From first transmission of a NOTIFY to its answer, in nanoseconds; of those sent once.
    pub sent_to_acked_ns: Histogram<u64>,
    /// From state change to the answer to its NOTIFY, in nanoseconds, retransmissions included. A
    /// change that a newer one overtook meanwhile is not in it.
    pub change_to_acked_ns: Histogram<u64>,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Monotonic counters.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Every counter with its name, in declaration order.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Messages handed in.
    message_in,
    /// Messages that did not scan, dropped or answered 400.
    message_malformed,
    /// SUBSCRIBEs seen (retransmissions included).
    subscribe_in,
    /// Subscriptions created.
    subscription_created,
    /// Subscriptions refreshed.
    subscription_refreshed,
    /// Subscriptions ended by their watcher; a fetch is one that ends at once.
    subscription_unsubscribed,
    /// Subscriptions that ran out.
    subscription_expired,
    /// Subscriptions ended because a NOTIFY was answered 481 or another final error.
    subscription_rejected_by_peer,
    /// Subscriptions ended because NOTIFYs went unanswered twice.
    subscription_timed_out,
    /// Subscriptions ended because their hint is gone.
    subscription_hint_removed,
    /// Subscriptions ended because their endpoint is gone, or may not watch any more.
    subscription_endpoint_removed,
    /// Subscriptions ended because the node is drained: their watchers go elsewhere.
    subscription_deactivated,
    /// Requests answered from the transaction memory.
    request_retransmitted,
    /// Requests answered 482.
    request_merged,
    /// Requests refused, any code of 400 and above.
    request_refused,
    /// Requests refused because a limit was reached (503).
    request_shed,
    /// Of these, because the source address has all the subscriptions it may have.
    request_shed_per_source,
    /// Requests that would have made something new on a node that is drained (503).
    request_sent_elsewhere,
    /// PUBLISHes seen (retransmissions included).
    publish_in,
    /// Publications made.
    publication_created,
    /// Publications refreshed without a new document.
    publication_refreshed,
    /// Publications that got a new document.
    publication_modified,
    /// Publications taken back by their publisher.
    publication_removed,
    /// Publications that ran out.
    publication_expired,
    /// Publications ended because their endpoint is gone, or may not publish any more.
    publication_ended,
    /// PUBLISHes refused because who sent it may not publish that (403).
    publish_forbidden,
    /// PUBLISHes whose SIP-If-Match names no state of ours: forgotten, replaced or invented (412).
    publish_unmatched,
    /// PUBLISHes with a broken or missing document (400).
    publish_malformed,
    /// PUBLISHes with a document about somebody else (400).
    publish_foreign,
    /// PUBLISHes in a type or encoding that is not understood (415).
    publish_unsupported,
    /// PUBLISHes with a document that is too large (413).
    publish_oversized,
    /// PUBLISHes for too short a time (423).
    publish_too_brief,
    /// PUBLISHes of servers whose state is not taken: filtered, or of the moment.
    publish_filtered,
    /// PUBLISHes of servers that want to be told everything again.
    publish_refresh_wanted,
    /// PUBLISHes refused because a limit of publications was reached (503).
    publish_shed,
    /// REGISTERs received.
    register_in,
    /// Contacts that were not there before.
    contact_added,
    /// Contacts registered again.
    contact_refreshed,
    /// Contacts taken back by a REGISTER.
    contact_removed,
    /// Contacts that ran out.
    contact_expired,
    /// Contacts that ended with their connection (RFC 5626).
    contact_lost,
    /// REGISTERs refused because who sent it may not register that (403).
    register_forbidden,
    /// REGISTERs of users that the configuration leaves out (404).
    register_filtered,
    /// REGISTERs whose contacts or durations cannot be read (400).
    register_malformed,
    /// REGISTERs for a shorter time than is granted (423).
    register_too_brief,
    /// REGISTERs older than the contact they would change (500).
    register_stale,
    /// REGISTERs refused because a limit was reached (403, 503).
    register_shed,
    /// Records of the store that were not put back at the start: unreadable, or without room.
    record_lost,
    /// NOTIFYs sent first time.
    notify_sent,
    /// NOTIFYs of lists that showed all members.
    list_notify_full,
    /// NOTIFYs of lists that showed some members.
    list_notify_partial,
    /// NOTIFYs of lists that had no room for all they had to show.
    list_notify_split,
    /// List subscriptions whose NOTIFYs are kept small since a large one went unanswered.
    list_notify_made_small,
    /// Refreshes and ends that asked for no NOTIFY, and got none (RFC 5839).
    notify_withheld,
    /// NOTIFYs sent again.
    notify_retransmitted,
    /// NOTIFYs answered 2xx.
    notify_acked,
    /// NOTIFYs answered 300 or above.
    notify_refused,
    /// NOTIFYs never answered.
    notify_timed_out,
    /// States that were replaced by a newer one before they were sent.
    notify_conflated,
    /// Changes that changed nothing for a body format.
    notify_suppressed,
    /// Responses that belong to no NOTIFY in flight (late, repeated or forged).
    response_stray,
    /// Responses to strangers not sent, because they were longer than the request.
    response_withheld,
    /// Messages forwarded to another shard.
    forwarded,
    /// Responses among them: their NOTIFY is another shard's.
    response_forwarded,
    /// State changes that changed a source.
    source_changed,
    /// State reports equal to what was known.
    source_repeated,
    /// Commands refused because a limit was reached.
    command_refused,
    /// Templates rendered anew because a text outgrew its slot.
    template_rendered,
    /// Templates patched in place.
    template_patched,
}

/// A histogram of latencies in nanoseconds: two significant digits up to a minute, some 30 KiB, a
/// few nanoseconds to record.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 2).expect("static bounds")
}

impl Stats {
    /// Forgets latencies; counters and gauges stay.
    pub fn reset_latencies(&mut self) {
        self.change_to_sent_ns.reset();
        self.sent_to_acked_ns.reset();
        self.change_to_acked_ns.reset();
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            counters: Counters::default(),
            subscription_count: 0,
            extension_count: 0,
            source_count: 0,
            part_count: 0,
            publication_count: 0,
            registration_count: 0,
            list_member_count: 0,
            hop_count: 0,
            in_flight_count: 0,
            waiting_count: 0,
            change_to_sent_ns: latency_histogram(),
            sent_to_acked_ns: latency_histogram(),
            change_to_acked_ns: latency_histogram(),
        }
    }
}
