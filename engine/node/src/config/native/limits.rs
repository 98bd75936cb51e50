//! `[limits]` of `lampfield.toml`.

use std::time::Duration;

use toml::Spanned;

use super::Native;
use super::file::Limits;

impl Native<'_> {
    pub(super) fn limits(&mut self, file: Limits) {
        let mut limits = self.draft.core.limits.clone();
        let counts: [(Option<Spanned<u32>>, &mut u32); 20] = [
            (file.registration_count_max, &mut limits.registration_count_max),
            (file.register_expires_min_s, &mut limits.register_expires_min_s),
            (file.register_expires_max_s, &mut limits.register_expires_max_s),
            (file.register_expires_default_s, &mut limits.register_expires_default_s),
            (file.subscription_count_max, &mut limits.subscription_count_max),
            (file.watcher_count_max, &mut limits.watcher_count_max),
            (file.subscription_per_source_max, &mut limits.subscription_per_source_max),
            (file.publication_count_max, &mut limits.publication_count_max),
            (file.publication_per_tenant_max, &mut limits.publication_per_tenant_max),
            (file.publication_per_source_max, &mut limits.publication_per_source_max),
            (file.publication_expires_min_s, &mut limits.publication_expires_min_s),
            (file.publication_expires_max_s, &mut limits.publication_expires_max_s),
            (file.publication_expires_default_s, &mut limits.publication_expires_default_s),
            (file.extension_count_max, &mut limits.extension_count_max),
            (file.source_count_max, &mut limits.source_count_max),
            (file.expires_max_s, &mut limits.expires_max_s),
            (file.expires_default_s, &mut limits.expires_default_s),
            (file.hop_window_initial, &mut limits.hop_window_initial),
            (file.hop_window_max, &mut limits.hop_window_max),
            (file.list_edge_count_max, &mut limits.list_edge_count_max),
        ];
        for (value, limit) in counts {
            *limit = self.positive(value.as_ref()).unwrap_or(*limit);
        }
        let sizes: [(Option<Spanned<u32>>, &mut usize); 19] = [
            (file.contact_count_max, &mut limits.contact_count_max),
            (file.publication_per_presentity_max, &mut limits.publication_per_presentity_max),
            (file.publication_bytes_max, &mut limits.publication_bytes_max),
            (file.publication_told_max, &mut limits.publication_told_max),
            (file.view_count_max, &mut limits.view_count_max),
            (file.notify_per_turn_max, &mut limits.notify_per_turn_max),
            (file.transaction_count_max, &mut limits.transaction_count_max),
            (file.presence_text_bytes_max, &mut limits.presence_text_bytes_max),
            (file.accept_value_count_max, &mut limits.accept_value_count_max),
            (file.dialog_bytes_max, &mut limits.dialog_bytes_max),
            (file.mesh_waiting_max, &mut limits.mesh_waiting_max),
            (file.store_waiting_max, &mut limits.store_waiting_max),
            (file.event_waiting_max, &mut limits.event_waiting_max),
            (file.list_member_count_max, &mut limits.list_member_count_max),
            (file.request_uri_bytes_max, &mut limits.request_uri_bytes_max),
            (file.list_depth_max, &mut limits.list_depth_max),
            (file.notify_bytes_max, &mut limits.notify_bytes_max),
            (file.notify_bytes_whole, &mut limits.notify_bytes_whole),
            (file.request_list_bytes_max, &mut limits.request_list_bytes_max),
        ];
        for (value, limit) in sizes {
            *limit = self.positive(value.as_ref()).map_or(*limit, |value| value as usize);
        }
        let times: [(Option<Spanned<u32>>, u64, &mut Duration); 4] = [
            (file.t1_ms, 1, &mut limits.t1),
            (file.t2_ms, 1, &mut limits.t2),
            (file.probe_after_s, 1000, &mut limits.probe_after),
            (file.transaction_memory_s, 1000, &mut limits.transaction_memory),
        ];
        for (value, unit_ms, limit) in times {
            let value = self.positive(value.as_ref()).map(|value| u64::from(value) * unit_ms);
            *limit = value.map_or(*limit, Duration::from_millis);
        }
        if let Some(percent) = file.expires_jitter_percent {
            if *percent.get_ref() > 90 {
                self.error(&percent, "a percentage from 0 to 90 expected");
            }
            limits.expires_jitter_percent = *percent.get_ref();
        }
        if let Some(bytes) = file.train_padding_bytes_max {
            if *bytes.get_ref() > 1000 {
                self.error(&bytes, "a number of bytes from 0 to 1000 expected");
            }
            limits.train_padding_bytes_max = *bytes.get_ref();
        }
        self.draft.core.limits = limits;
    }
}
