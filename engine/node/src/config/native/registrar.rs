//! `[registrar]` of `lampfield.toml`.

use lampfield_core::feed::NameFilter;

use super::Native;
use super::file::Registrar;

impl Native<'_> {
    pub(super) fn registrar(&mut self, file: Registrar) {
        if let Some(technology) = file.technology {
            let label = technology.get_ref();
            if label.is_empty() || label.len() > 39 || label.contains(['/', ':', ',', '&']) {
                let text = format!("'{label}' is no label: 1 to 39 bytes without / : , & expected");
                self.error(&technology, text);
            } else {
                self.draft.core.registrar.technology = label.as_str().into();
            }
        }
        if let Some(users) = file.users {
            match NameFilter::parse(users.get_ref()) {
                Ok(filter) => self.draft.core.registrar.users = Some(filter),
                Err(error) => self.error(&users, format!("users: {error}")),
            }
        }
    }
}
