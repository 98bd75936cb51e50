//! What the NOTIFYs of lists were like.

use super::Found;
use crate::report::ListsPart;

/// The list part of a report.
pub(super) fn part(found: &Found) -> ListsPart {
    let counts = &found.tally.counts;
    let per_notify = |count: u64| count as f64 / counts.list_notify_count.max(1) as f64;
    ListsPart {
        notify_count: counts.list_notify_count,
        full_count: counts.list_full_count,
        body_bytes_mean: per_notify(counts.list_body_bytes),
        members_mean: per_notify(counts.list_member_count),
        inner_lists_count: counts.list_inner_count,
        errors_count: counts.version_gap_count
            + counts.version_back_count
            + counts.first_not_full_count
            + counts.full_state_missing_count
            + counts.cid_unresolved_count
            + counts.stranger_count
            + counts.member_twice_count
            + counts.not_a_list_count,
        version_gap_count: counts.version_gap_count,
        version_back_count: counts.version_back_count,
        first_not_full_count: counts.first_not_full_count,
        full_state_missing_count: counts.full_state_missing_count,
        cid_unresolved_count: counts.cid_unresolved_count,
        stranger_count: counts.stranger_count,
        member_twice_count: counts.member_twice_count,
        not_a_list_count: counts.not_a_list_count,
        resubscribed_count: counts.resubscribed_count,
        part_orphaned_count: counts.part_orphaned_count,
        member_gone_count: counts.member_gone_count,
        member_without_state_count: counts.member_without_state_count,
        instance_changed_count: counts.instance_changed_count,
        first_version_not_zero_count: counts.first_version_not_zero_count,
        version_jump_count: counts.version_jump_count,
    }
}
