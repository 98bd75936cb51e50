//! Registrations for the console.

use crate::command::{Answer, ContactRow};
use crate::placement::TenantId;
use crate::{Shard, Time};

impl Shard {
    /// At most `limit` contacts, and how many there are in all.
    pub(crate) fn list_registrations(
        &self,
        tenant: Option<TenantId>,
        limit: usize,
        now: Time,
    ) -> Answer {
        let of_tenant =
            self.registrations.iter().filter(|one| tenant.is_none_or(|tenant| one.key.0 == tenant));
        let (mut rows, mut count) = (Vec::new(), 0);
        for registration in of_tenant {
            for binding in &registration.bindings {
                count += 1;
                if rows.len() < limit {
                    let left_s = u64::from(binding.expires_at_s).saturating_sub(now.as_secs_ceil());
                    rows.push(ContactRow {
                        device: registration.key.1.clone(),
                        contact: binding.uri.as_ref().into(),
                        path: binding.path.as_ref().into(),
                        flow: binding.flow,
                        expires_s: left_s as u32,
                    });
                }
            }
        }
        Answer::Registrations(rows, count)
    }
}
