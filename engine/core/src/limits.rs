//! Every bound of the core: what it protects, what is answered, which counter moves.

use std::time::Duration;

/// The bounds of one shard. Defaults suit a carrier node; tests set them to 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Subscriptions a shard holds. With its dialog and
    /// next hop each takes about 250 bytes; beyond: 503 with Retry-After.
    pub subscription_count_max: u32,
    /// Watchers of one extension. Beyond: 503 with Retry-After.
    pub watcher_count_max: u32,
    /// Subscriptions of one source address. Keeps one broken phone from filling the table.
    /// An edge proxy hides many phones behind one address, so the default is the table's size.
    /// Beyond: 503 with Retry-After and a Warning that says so, counted as shed.
    pub subscription_per_source_max: u32,
    /// Extensions a shard holds, explicit and instantiated. Beyond: 503 with Retry-After.
    pub extension_count_max: u32,
    /// Publications a shard holds. Each costs about half a KiB; beyond: 503 with Retry-After and a
    /// Warning that says so, as with the three bounds that follow.
    pub publication_count_max: u32,
    /// Publications of one tenant on a shard.
    pub publication_per_tenant_max: u32,
    /// Publications of one source address on a shard. A proxy publishes for all, so the default is
    /// the table's size.
    pub publication_per_source_max: u32,
    /// Publications of one presentity: a proxy makes one for every registered contact and call.
    pub publication_per_presentity_max: usize,
    /// Bytes of a published document after decompression. Beyond: 413.
    pub publication_bytes_max: usize,
    /// Devices or mailboxes one publication of another server may tell of.
    pub publication_told_max: usize,
    /// Shortest accepted publication, in seconds. Below: 423 with Min-Expires.
    pub publication_expires_min_s: u32,
    /// Longest granted publication, in seconds: how long the state of a publisher that fell silent
    /// is believed.
    pub publication_expires_max_s: u32,
    /// Granted when the PUBLISH names no Expires, in seconds.
    pub publication_expires_default_s: u32,
    /// Users with contacts that a shard holds. Beyond: 503 with Retry-After.
    pub registration_count_max: u32,
    /// Contacts of one user. Beyond: 403.
    pub contact_count_max: usize,
    /// Shortest accepted registration, in seconds. Below: 423 with Min-Expires.
    pub register_expires_min_s: u32,
    /// Longest granted registration, in seconds.
    pub register_expires_max_s: u32,
    /// Granted when the REGISTER names no duration, in seconds.
    pub register_expires_default_s: u32,
    /// State sources a shard holds. Beyond: the command is refused.
    pub source_count_max: u32,
    /// Longest granted subscription, in seconds (Asterisk's own is 3600).
    pub expires_max_s: u32,
    /// Granted when the request names no Expires, in seconds.
    pub expires_default_s: u32,
    /// Granted times vary by up to this many percent downwards, so that refreshes after a mass
    /// start do not stay aligned. 0 grants exactly what was asked. Dialect `rfc` only.
    pub expires_jitter_percent: u32,
    /// NOTIFYs one call of `handle` may emit; the rest continues at the next tick. The runtime
    /// allows as many of them as take it some 300 us ([`crate::Input::StepBudget`]).
    pub notify_per_turn_max: usize,
    /// Unacknowledged NOTIFYs to one next hop at start; adapts up to `hop_window_max`.
    pub hop_window_initial: u32,
    /// Unacknowledged NOTIFYs to one next hop at most: what its receive buffer can hold.
    pub hop_window_max: u32,
    /// Spaces put into a NOTIFY at most, so that those to one edge are of one length and leave as one
    /// train. 0: none.
    pub train_padding_bytes_max: u16,
    /// RFC 3261 T1: first retransmission of a NOTIFY.
    pub t1: Duration,
    /// RFC 3261 T2: longest gap between retransmissions.
    pub t2: Duration,
    /// A suspect watcher is probed this long after its NOTIFY timed out. Every watcher is to know
    /// the truth within 64 T1 and a second once faults stop (33 s); the last transmission of the
    /// NOTIFY may be lost half a second before it times out, so at most a second less than 64 T1.
    pub probe_after: Duration,
    /// How long answered requests are remembered, to answer a retransmission (timer J).
    pub transaction_memory: Duration,
    /// Answered requests remembered at once; the oldest go first.
    pub transaction_count_max: usize,
    /// Bytes of a subtype or message text (Asterisk: 255 in events, 1023 in bodies).
    pub presence_text_bytes_max: usize,
    /// Values read from the Accept headers of one request.
    pub accept_value_count_max: usize,
    /// Different documents of one extension (formats, dialects, names by which it was asked for).
    /// Each costs about a KiB; beyond: 503 with Retry-After.
    pub view_count_max: usize,
    /// Bytes of dialog state (Call-ID, URIs, routes, tags) kept for one subscription; beyond: 513.
    pub dialog_bytes_max: usize,
    /// Batches (of up to 128 messages) that wait for one other shard, beside its queue. Beyond: new
    /// subscriptions get 503 with Retry-After and changes are refused; beyond twice as many the
    /// sockets are not read. What was accepted is never dropped.
    pub mesh_waiting_max: usize,
    /// Batches of records that wait for the store, beside its queue. Beyond: the same.
    pub store_waiting_max: usize,
    /// Batches of news that wait for the control plane. Beyond: news is dropped and counted.
    pub event_waiting_max: usize,
    /// Bytes of a SUBSCRIBE's request URI: every document names it. Beyond: 414.
    pub request_uri_bytes_max: usize,
    /// Members of one list subscription, nested lists included. Beyond: 403 with a reason.
    pub list_member_count_max: usize,
    /// Members of all list subscriptions of a shard. Each costs about sixteen bytes; beyond: 503
    /// with Retry-After.
    pub list_edge_count_max: u32,
    /// Lists within lists, the outermost included. Deeper ones are left out, as loops are.
    pub list_depth_max: usize,
    /// Bytes of one NOTIFY where the endpoint names no bound of its own: one UDP datagram, with
    /// room for what tunnels add (Asterisk's own is the same). A list that needs more is split.
    pub notify_bytes_max: usize,
    /// Bytes of one NOTIFY to a watcher who did not answer a larger one: a datagram that no
    /// network has to cut into fragments.
    pub notify_bytes_whole: usize,
    /// Bytes of a list inside a request after decompression. Beyond: 413.
    pub request_list_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscription_count_max: 2_000_000,
            watcher_count_max: 1_000_000,
            subscription_per_source_max: 2_000_000,
            extension_count_max: 4_000_000,
            publication_count_max: 2_000_000,
            publication_per_tenant_max: 2_000_000,
            publication_per_source_max: 2_000_000,
            publication_per_presentity_max: 64,
            publication_bytes_max: 16_384,
            publication_told_max: 100_000,
            publication_expires_min_s: 10,
            publication_expires_max_s: 3600,
            publication_expires_default_s: 3600,
            registration_count_max: 2_000_000,
            contact_count_max: 10,
            register_expires_min_s: 60,
            register_expires_max_s: 7200,
            register_expires_default_s: 3600,
            source_count_max: 4_000_000,
            expires_max_s: 3600,
            expires_default_s: 3600,
            expires_jitter_percent: 10,
            notify_per_turn_max: 256,
            hop_window_initial: 64,
            hop_window_max: 1024,
            train_padding_bytes_max: 64,
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            probe_after: Duration::from_secs(30),
            transaction_memory: Duration::from_secs(32),
            transaction_count_max: 1_000_000,
            presence_text_bytes_max: 1023,
            accept_value_count_max: 64,
            view_count_max: 256,
            dialog_bytes_max: 4096,
            mesh_waiting_max: 4096,
            store_waiting_max: 16_384,
            event_waiting_max: 8192,
            request_uri_bytes_max: 512,
            list_member_count_max: 2000,
            list_edge_count_max: 50_000_000,
            list_depth_max: 8,
            notify_bytes_max: 64_000,
            notify_bytes_whole: 1400,
            request_list_bytes_max: 65_536,
        }
    }
}
