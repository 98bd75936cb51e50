//! Options of Asterisk's files that Lampfield does not act on: which are passed over silently, and
//! which deserve a word on what happens instead.

use super::super::problem::Problems;
use super::section::Section;

/// What is known of one kind of section.
pub(super) struct Options {
    /// What the kind is called in messages.
    pub(super) kind: &'static str,
    /// Options that are read.
    pub(super) used: &'static [&'static str],
    /// Options of calls, media and the like; an entry ending in `*` stands for all that begin so.
    pub(super) silent: &'static [&'static str],
    /// Options not acted on, with what happens instead.
    pub(super) reasons: &'static [(&'static str, &'static str)],
}

impl Options {
    /// Warns of everything in `section` that is not used, unless silence is in order.
    pub(super) fn check(&self, section: &Section, problems: &mut Problems) {
        let Self { kind, used, silent, reasons } = self;
        for entry in &section.entries {
            let name = entry.name.to_ascii_lowercase();
            let is = |known: &&str| match known.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *known,
            };
            if name == "type" || used.iter().any(is) {
                continue;
            }
            if let Some((_, reason)) = reasons.iter().find(|(known, _)| is(known)) {
                // Switched off, it changes nothing.
                if !matches!(&*entry.value.to_ascii_lowercase(), "" | "no" | "0" | "false" | "off")
                {
                    problems.warn(&entry.place, format!("{name}: {reason}"));
                }
            } else if !silent.iter().any(is) {
                let text = format!("{name} is no known option of {kind}; ignored");
                problems.warn(&entry.place, text);
            }
        }
    }
}

const MWI: &str = "phones are not told of messages unasked: they must subscribe to message-summary";

const NO_ANSWER: &str = "a server that asks to be told everything again is not: states are not \
                         published from here";

const OPEN_ACL: &str = "this address rule is not enforced: say in type=identify which addresses an \
                        endpoint has";

pub(super) const ENDPOINT: Options = Options {
    kind: "an endpoint",
    used: &[
        "context",
        "subscribe_context",
        "allow_subscribe",
        "allow_publish",
        "allow_register",
        "sub_min_expiry",
        "notify_early_inuse_ringing",
        "rewrite_contact",
        "auth",
        "identify_by",
        "aors",
        "voicemail_extension",
    ],
    silent: &[
        "100rel",
        "accept_multiple_sdp_answers",
        "accountcode",
        "aggregate_mwi",
        "allow",
        "allow_overlap",
        "allow_transfer",
        "allow_unauthenticated_options",
        "asymmetric_rtp_codec",
        "bind_rtp_to_media_address",
        "bundle",
        "call_group",
        "callerid*",
        "codec_prefs_*",
        "connected_line_method",
        "contact_user",
        "cos_*",
        "direct_media*",
        "disable_direct_media_*",
        "disallow",
        "dtls_*",
        "dtmf_mode",
        "fax_detect*",
        "follow_early_media_fork",
        "force_avp",
        "force_rport",
        "from_domain",
        "from_user",
        "g726_non_standard",
        "geoloc_*",
        "ice_support",
        "ignore_183_without_sdp",
        "inband_progress",
        "incoming_call_offer_pref",
        "language",
        "max_audio_streams",
        "max_video_streams",
        "media_*",
        "message_context",
        "moh_*",
        "mwi_subscribe_replaces_unsolicited",
        "named_call_group",
        "named_pickup_group",
        "one_touch_recording",
        "outbound_auth",
        "outgoing_call_offer_pref",
        "overlap_context",
        "pickup_group",
        "preferred_codec_only",
        "record_off_feature",
        "record_on_feature",
        "redirect_method",
        "refer_blind_progress",
        "rpid_immediate",
        "rtcp_mux",
        "rtp_*",
        "sdp_*",
        "security_*",
        "send_*",
        "set_var",
        "srtp_tag_32",
        "stir_shaken*",
        "suppress_*",
        "t38_*",
        "tenantid",
        "timers*",
        "tone_zone",
        "tos_*",
        "transport",
        "trust_*",
        "use_avpf",
        "use_ptime",
        "user_eq_phone",
        "webrtc",
    ],
    reasons: &[
        ("device_state_busy_at", "counts calls, which Lampfield does not see; ignored"),
        ("mailboxes", MWI),
        ("incoming_mwi_mailbox", "states of others' mailboxes are not taken from NOTIFY; ignored"),
        ("mwi_from_user", MWI),
        ("outbound_proxy", "NOTIFYs follow the route of their dialog, not this proxy"),
        ("acl", OPEN_ACL),
        ("deny", OPEN_ACL),
        ("permit", OPEN_ACL),
        ("contact_acl", "Lampfield takes no registrations; ignored"),
        ("contact_deny", "Lampfield takes no registrations; ignored"),
        ("contact_permit", "Lampfield takes no registrations; ignored"),
    ],
};

pub(super) const IDENTIFY: Options = Options {
    kind: "an identify section",
    used: &["endpoint", "match"],
    silent: &["srv_lookups", "transport"],
    reasons: &[
        ("match_header", "requests are not identified by headers; this rule finds nobody"),
        ("match_request_uri", "requests are not identified by their URI; this rule finds nobody"),
    ],
};

pub(super) const RESOURCE_LIST: Options = Options {
    kind: "a resource list",
    used: &[
        "event",
        "list_item",
        "full_state",
        "notification_batch_interval",
        "resource_display_name",
    ],
    silent: &[],
    reasons: &[],
};

pub(super) const AUTH: Options = Options {
    kind: "an auth section",
    used: &[
        "auth_type",
        "username",
        "password",
        "md5_cred",
        "realm",
        "password_digest",
        "supported_algorithms_uas",
    ],
    silent: &[
        "nonce_lifetime",
        "oauth_clientid",
        "oauth_secret",
        "refresh_token",
        "supported_algorithms_uac",
    ],
    reasons: &[],
};

pub(super) const TRANSPORT: Options = Options {
    kind: "a transport",
    used: &[
        "protocol",
        "bind",
        "external_signaling_address",
        "external_signaling_port",
        "cert_file",
        "priv_key_file",
        "ca_list_file",
        "verify_client",
        "require_client_cert",
        "verify_server",
    ],
    silent: &[
        "allow_reload",
        "allow_wildcard_certs",
        "async_operations",
        "cipher",
        "cos",
        "domain",
        "external_media_address",
        "symmetric_transport",
        "tcp_keepalive_*",
        "tos",
        "websocket_write_timeout",
    ],
    reasons: &[
        ("method", "TLS 1.2 and 1.3 are spoken, whichever the client knows"),
        ("password", "keys are read as they are: decrypt the file"),
        ("ca_list_path", "a directory of authorities is not read: ca_list_file names one file"),
        ("local_net", "every peer is told the external address, those of the local network too"),
    ],
};

pub(super) const GLOBAL: Options = Options {
    kind: "the global section",
    used: &[
        "user_agent",
        "default_realm",
        "default_auth_algorithms_uas",
        "endpoint_identifier_order",
        "default_voicemail_extension",
    ],
    silent: &[
        "all_codecs_on_empty_reinvite",
        "allow_sending_180_after_183",
        "contact_expiration_*",
        "debug",
        "default_auth_algorithms_uac",
        "default_from_user",
        "default_outbound_endpoint",
        "disable_multi_domain",
        "keep_alive_interval",
        "max_forwards",
        "max_initial_qualify_time",
        "mwi_*",
        "norefersub",
        "regcontext",
        "send_contact_status_on_update_registration",
        "taskpool_*",
        "taskprocessor_overload_trigger",
        "unidentified_request_*",
        "use_callerid_contact",
    ],
    reasons: &[("ignore_uri_user_options", "the user of a request URI is always compared whole")],
};

pub(super) const AOR: Options = Options {
    kind: "an address of record",
    used: &["mailboxes", "voicemail_extension"],
    silent: &["*"],
    reasons: &[],
};

pub(super) const INBOUND_PUBLICATION: Options = Options {
    kind: "an inbound publication",
    used: &["endpoint", "event_asterisk-devicestate", "event_asterisk-mwi"],
    silent: &[],
    reasons: &[("event_*", "servers publish asterisk-devicestate and asterisk-mwi; ignored")],
};

pub(super) const ASTERISK_PUBLICATION: Options = Options {
    kind: "an asterisk-publication",
    used: &["device_state", "device_state_filter", "mailbox_state", "mailbox_state_filter"],
    silent: &[],
    reasons: &[("devicestate_publish", NO_ANSWER), ("mailboxstate_publish", NO_ANSWER)],
};

pub(super) const SYSTEM: Options = Options {
    kind: "the system section",
    used: &["timer_t1"],
    silent: &[
        "accept_multiple_sdp_answers",
        "disable_rport",
        "disable_tcp_switch",
        "follow_early_media_fork",
        "taskpool_*",
        "threadpool_*",
    ],
    reasons: &[
        ("timer_b", "a NOTIFY is given up after 64 times timer_t1"),
        ("compact_headers", "header names are written in full; compact ones are read"),
    ],
};

pub(super) const MANAGER: Options = Options {
    kind: "the general section",
    used: &[
        "enabled",
        "port",
        "bindaddr",
        "authtimeout",
        "authlimit",
        "timestampevents",
        "allowmultiplelogin",
        "disabledevents",
    ],
    silent: &[
        "block-sockets",
        "brokeneventsaction",
        "channelvars",
        "debug",
        "displayconnects",
        "displaysystemname",
        "httptimeout",
        "webenabled",
        "tlsbindaddr",
        "tlsbindport",
        "tlscertfile",
        "tlsprivatekey",
        "tlscipher",
        "tlsdisablev1*",
    ],
    reasons: &[("tlsenable", "AMI is served over plain TCP only")],
};

pub(super) const MANAGER_USER: Options = Options {
    kind: "an AMI user",
    used: &[
        "secret",
        "read",
        "write",
        "permit",
        "deny",
        "acl",
        "allowmultiplelogin",
        "writetimeout",
    ],
    silent: &["displayconnects", "setvar", "eventfilter*"],
    reasons: &[],
};

#[cfg(test)]
mod tests {
    use super::super::super::problem::Place;
    use super::super::section::Entry;
    use super::*;

    #[test]
    fn options_are_used_passed_over_or_warned_of() {
        for (name, value, want) in [
            ("context", "x", None),
            ("type", "endpoint", None),
            ("rtp_symmetric", "yes", None),
            ("DTMF_Mode", "rfc4733", None),
            ("mailboxes", "1000@default", Some(MWI)),
            ("aggregate_mwi", "no", None),
            ("contxt", "x", Some("contxt is no known option of an endpoint; ignored")),
        ] {
            let mut section = Section::new("1000", Place::default());
            let (name, value) = (name.into(), value.to_owned());
            section.entries.push(Entry { name, value, place: Place::default() });
            let mut problems = Problems::default();
            ENDPOINT.check(&section, &mut problems);
            let got = problems.warnings.first().map(|warning| warning.text.as_str());
            assert_eq!(got.is_some(), want.is_some(), "{got:?}");
            assert!(got.unwrap_or_default().ends_with(want.unwrap_or_default()), "{got:?}");
        }
    }
}
