//! An Asterisk configuration directory: `extensions.conf`, `pjsip.conf`, `manager.conf` and, if an
//! AMI user names a list of it, `acl.conf`.
//!
//! Read is what concerns hints, watchers and AMI. Options of calls and media are passed over
//! silently; an option that concerns watchers and is not honoured, and one nobody knows, gives a
//! warning that says what happens instead. A wrong value is an error.
//!
//! Source: `reference/states.md` section 5, `reference/sip-pubsub.md` sections 2 and 20,
//! `reference/ami.md` sections 1 and 3.

mod extensions;
mod feeds;
mod lists;
mod mailboxes;
mod manager;
mod mirror;
mod options;
mod pjsip;
mod reader;
mod section;
mod tls;

use std::path::Path;

use lampfield_core::config::Dialect;
use lampfield_core::placement::TenantId;

use self::reader::read;
use super::build::Draft;
use super::problem::Place;

/// What others say of a directory.
pub(super) struct Wanted<'a> {
    /// Whose it is; the first tenant without.
    pub(super) tenant: Option<&'a str>,
    pub(super) dialect: Option<Dialect>,
    /// Whether its Asterisk is mirrored, and how: `USER` or `USER@HOST:PORT`.
    pub(super) mirror: Option<&'a str>,
}

/// Reads the directory into `draft`, everything for one tenant.
pub(super) fn read_dir(dir: &Path, wanted: &Wanted<'_>, draft: &mut Draft) {
    let place = Place::file(&dir.to_string_lossy());
    if !dir.is_dir() {
        return draft
            .problems
            .error(&place, "no such directory; an Asterisk configuration expected");
    }
    let dialect = wanted.dialect.unwrap_or(Dialect::Asterisk);
    draft.core.dialect = dialect;
    let Some(tenant) = tenant_of(wanted.tenant, draft) else {
        return draft.problems.error(&place, "too many tenants");
    };
    let first_endpoint = draft.core.endpoints.len();
    if let Some(sections) = read(dir, "extensions.conf", draft) {
        extensions::load(&sections, tenant, draft);
    } else {
        draft.problems.warn(&place, "there is no extensions.conf: no hints from here");
    }
    if let Some(sections) = read(dir, "pjsip.conf", draft) {
        pjsip::load(&sections, tenant, draft);
    } else {
        draft.problems.warn(&place, "there is no pjsip.conf: no endpoints from here");
    }
    draft.set_dialect(first_endpoint, dialect);
    if draft.has_native_ami && wanted.mirror.is_none() {
        return;
    }
    let Some(sections) = read(dir, "manager.conf", draft) else {
        if wanted.mirror.is_some() {
            draft.problems.error(&place, "there is no manager.conf: no user to mirror as");
        }
        return;
    };
    if let Some(wish) = wanted.mirror {
        mirror::load(wish, &sections, tenant, draft);
    }
    if !draft.has_native_ami {
        manager::load(dir, &sections, tenant, draft);
        if wanted.mirror.is_some_and(|wish| !wish.contains('@')) && draft.ami_enabled {
            draft.ami_enabled = false;
            let text = "AMI is served only where --ami says: the address in manager.conf is that of \
                        the PBX that is mirrored";
            draft.notices.push(text.to_owned());
        }
    }
}

/// The tenant named, else the first configured, else a new one.
fn tenant_of(name: Option<&str>, draft: &mut Draft) -> Option<TenantId> {
    match name {
        Some(name) => draft.tenant(name),
        None => {
            let first = draft.core.tenant_ids().next();
            first.or_else(|| draft.tenant("default"))
        }
    }
}
