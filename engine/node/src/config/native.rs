//! The native configuration file, `lampfield.toml`. Unknown keys are errors.
//!
//! ```toml
//! [node]
//! shards = 2
//! state_dir = "/var/lib/lampfield"
//!
//! [[listen]]
//! transport = "udp"
//! bind = "127.0.0.1:5060"
//!
//! [[endpoint]]
//! name = "phones"
//! context = "office"
//! match = ["192.0.2.0/24"]
//!
//! [[hint_range]]
//! context = "office"
//! range = "1000..=999999"
//! hint = "PJSIP/{exten},CustomPresence:{exten}"
//!
//! [[list_range]]
//! name = "blf-{exten}"
//! event = "dialog"
//! range = "1000..=999999"
//! group_size = 50
//! ```

mod endpoints;
mod feeds;
mod file;
mod hints;
mod limits;
mod lists;
mod mailboxes;
mod mirrors;
mod node;
mod registrar;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lampfield_core::config::Dialect;
use lampfield_core::digest::Algorithm;
use lampfield_core::placement::TenantId;
use toml::Spanned;

use self::file::File;
use super::build::Draft;
use super::problem::Place;

/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What an entry names as its tenant to be every tenant's.
const EVERY_TENANT: &str = "*";

/// The Asterisk directory a native file names.
#[derive(Debug, Default)]
pub(super) struct Asterisk {
    pub(super) dir: Option<PathBuf>,
    pub(super) tenant: Option<String>,
    /// The user of its `manager.conf` by which it is mirrored.
    pub(super) mirror: Option<String>,
    /// The dialect the native file has for everything.
    pub(super) dialect: Option<Dialect>,
}

/// Reads a file into `draft`. `dialect` goes before the dialect the file has for the node.
pub(super) fn read(path: &Path, dialect: Option<Dialect>, draft: &mut Draft) -> Asterisk {
    let name: Arc<str> = path.to_string_lossy().into();
    let place = Place::file(&name);
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > FILE_BYTES_MAX {
        draft.problems.error(&place, format!("{size} bytes; at most {FILE_BYTES_MAX}"));
        return Asterisk::default();
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            draft.problems.error(&place, format!("cannot be read: {error}"));
            return Asterisk::default();
        }
    };
    draft.files.push(path.to_owned());
    let source = Source { name, text: &text };
    match toml::from_str::<File>(&text) {
        Ok(file) => Native { source, draft }.load(file, path, dialect),
        Err(error) => {
            let place = error.span().map_or(place, |span| source.place_at(span.start));
            draft.problems.error(&place, error.message());
            Asterisk::default()
        }
    }
}

/// The text of the file, to find places in.
struct Source<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn place<T>(&self, value: &Spanned<T>) -> Place {
        self.place_at(value.span().start)
    }

    fn place_at(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() as u32 + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: Arc::clone(&self.name),
            line,
            column: before[start..].chars().count() as u32 + 1,
        }
    }
}

/// A file being taken over.
struct Native<'a> {
    source: Source<'a>,
    draft: &'a mut Draft,
}

impl Native<'_> {
    fn load(mut self, file: File, path: &Path, dialect: Option<Dialect>) -> Asterisk {
        let named = dialect.or(file.node.dialect.map(Dialect::from));
        let dialect = named.unwrap_or_default();
        self.draft.core.dialect = dialect;
        if let Some(realm) = &file.node.realm {
            // Credentials below are made for it.
            self.draft.core.realm = realm.get_ref().as_str().into();
        }
        // The strong one first (RFC 8760); an Asterisk asks for MD5 unless it is told otherwise.
        let algorithms = file.node.digest_algorithms.as_ref();
        self.draft.core.algorithms =
            algorithms.and_then(|named| self.algorithms(named)).unwrap_or_else(|| match dialect {
                Dialect::Rfc => vec![Algorithm::Sha256, Algorithm::Md5],
                Dialect::Asterisk => vec![Algorithm::Md5],
            });
        // Relative to the file that names it, wherever the node was started.
        let near = path.parent().unwrap_or(Path::new(""));
        self.tenants(file.tenant, near);
        self.providers(file.provider);
        self.contexts(file.context);
        self.hints(file.hint);
        self.ranges(file.hint_range);
        self.patterns(file.pattern);
        self.lists(file.list);
        self.list_ranges(file.list_range);
        self.registrar(file.registrar);
        self.endpoints(file.endpoint, dialect);
        self.mailboxes(&file.mailbox);
        self.feeds(&file.feed);
        self.listen(file.listen, near);
        self.limits(file.limits);
        self.mirrors(file.mirror, near);
        self.ami(file.ami);
        self.node(file.node);
        let tenant = file.asterisk_tenant.and_then(|name| {
            self.find_tenant(&name)?;
            Some(name.into_inner())
        });
        if let Some(mirror) = &file.asterisk_mirror
            && file.asterisk_dir.is_none()
        {
            self.error(mirror, "asterisk_dir expected beside it: the secret is in manager.conf");
        }
        Asterisk {
            dir: file.asterisk_dir.map(|dir| near.join(dir)),
            tenant,
            mirror: file.asterisk_mirror.map(Spanned::into_inner),
            dialect: named,
        }
    }

    fn error<T>(&mut self, value: &Spanned<T>, text: impl Into<String>) {
        let place = self.source.place(value);
        self.draft.problems.error(&place, text);
    }

    /// The tenant an entry names, or the only one.
    fn tenant_of<T>(
        &mut self,
        name: Option<&Spanned<String>>,
        entry: &Spanned<T>,
    ) -> Option<TenantId> {
        if let Some(name) = name {
            return self.find_tenant(name);
        }
        let mut tenants = self.draft.core.tenant_ids();
        let first_two = (tenants.next(), tenants.next());
        drop(tenants);
        match first_two {
            (None, _) => self.draft.tenant("default"),
            (only, None) => only,
            _ => {
                self.error(entry, "there are several tenants: tenant = \"NAME\" expected here");
                None
            }
        }
    }

    /// The tenants an entry is for: `*` names all of them.
    fn tenants_of<T>(
        &mut self,
        name: Option<&Spanned<String>>,
        entry: &Spanned<T>,
    ) -> Vec<TenantId> {
        if name.is_none_or(|name| name.get_ref() != EVERY_TENANT) {
            return self.tenant_of(name, entry).into_iter().collect();
        }
        if self.draft.core.tenant_ids().next().is_none() {
            let _ = self.draft.tenant("default");
        }
        self.draft.core.tenant_ids().collect()
    }

    fn find_tenant(&mut self, name: &Spanned<String>) -> Option<TenantId> {
        let tenant = self.draft.find_tenant(name.get_ref());
        if tenant.is_none() {
            self.error(name, format!("there is no [[tenant]] named {}", name.get_ref()));
        }
        tenant
    }
}
