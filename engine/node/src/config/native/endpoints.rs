//! Endpoints of `lampfield.toml`.

use std::sync::Arc;

use lampfield_core::config::{self, Dialect};
use lampfield_core::digest::{Algorithm, Secret};
use toml::Spanned;

use super::super::acl;
use super::super::build;
use super::Native;
use super::file::{Auth, Endpoint};

/// RFC 791: a host takes datagrams of 576 bytes, and UDP over IPv4 carries 65507.
const NOTIFY_BYTES: std::ops::RangeInclusive<u32> = 576..=65_507;

impl Native<'_> {
    pub(super) fn endpoints(&mut self, endpoints: Vec<Spanned<Endpoint>>, dialect: Dialect) {
        for entry in endpoints {
            self.endpoint(entry, dialect);
        }
    }

    fn endpoint(&mut self, entry: Spanned<Endpoint>, dialect: Dialect) {
        let Some(tenant) = self.tenant_of(entry.get_ref().tenant.as_ref(), &entry) else { return };
        let endpoint = entry.into_inner();
        let auth = match &endpoint.auth {
            Some(auth) => match self.auth(auth) {
                Some(auth) => Some(auth),
                None => return,
            },
            None => None,
        };
        let name: Arc<str> = endpoint.name.get_ref().as_str().into();
        if name.is_empty() {
            return self.error(&endpoint.name, "an endpoint needs a name");
        }
        let notify_bytes_max = self.notify_bytes_max(endpoint.notify_bytes_max.as_ref());
        let by_user = endpoint.match_from_user.unwrap_or(auth.is_some());
        let place = self.source.place(&endpoint.name);
        if endpoint.networks.is_empty() && !by_user && !endpoint.anonymous {
            let text = "nobody is this endpoint: match = [\"192.0.2.0/24\"], auth, \
                        match_from_user or anonymous expected";
            return self.error(&endpoint.name, text);
        }
        if by_user && auth.is_none() {
            let text = format!("anybody who claims the From user {name} is this endpoint");
            self.draft.problems.warn(&place, text);
        }
        let id = self.draft.endpoint(
            &place,
            config::Endpoint {
                name: Arc::clone(&name),
                tenant,
                context: endpoint.context.into(),
                subscribe_context: endpoint.subscribe_context.map(Arc::from),
                allow_subscribe: endpoint.allow_subscribe,
                allow_publish: endpoint.allow_publish.into(),
                allow_register: endpoint.allow_register.into(),
                sub_min_expiry_s: endpoint.sub_min_expiry_s,
                notify_early_inuse_ringing: endpoint.notify_early_inuse_ringing,
                single_dialog: endpoint.force_single_dialog,
                rewrite_contact: endpoint.rewrite_contact,
                notify_bytes_max,
                is_unpadded: !endpoint.train_padding,
                dialect: endpoint.dialect.map_or(dialect, Dialect::from),
                auth,
            },
        );
        let Some(id) = id else { return };
        for text in &endpoint.networks {
            match acl::network(text.get_ref()) {
                Some(network) => {
                    let place = self.source.place(text);
                    self.draft.identify(&place, network, id);
                }
                None => self.error(
                    text,
                    format!("'{}': an address or network (192.0.2.0/24) expected", text.get_ref()),
                ),
            }
        }
        if by_user {
            self.draft.core.identify.users.insert(name, id);
        }
        if endpoint.anonymous {
            self.anonymous(&endpoint.name, id);
        }
    }

    /// The bytes of one NOTIFY: what every host takes in one piece, to what a datagram carries.
    fn notify_bytes_max(&mut self, number: Option<&Spanned<u32>>) -> Option<u32> {
        let number = number?;
        if !NOTIFY_BYTES.contains(number.get_ref()) {
            let (min, max) = (NOTIFY_BYTES.start(), NOTIFY_BYTES.end());
            self.error(number, format!("a number of bytes from {min} to {max} expected"));
        }
        Some(*number.get_ref())
    }

    fn anonymous(&mut self, name: &Spanned<String>, id: config::EndpointId) {
        if self.draft.core.identify.anonymous.is_some() {
            return self.error(name, "another endpoint is the anonymous one already");
        }
        self.draft.core.identify.anonymous = Some(id);
        let place = self.source.place(name);
        let text = "anonymous: everybody who is not another endpoint may subscribe to its context";
        self.draft.problems.warn(&place, text);
    }

    fn auth(&mut self, entry: &Spanned<Auth>) -> Option<config::Auth> {
        let auth = entry.get_ref();
        let realm = auth.realm.as_deref().unwrap_or(self.draft.realm()).to_owned();
        let wanted = match &auth.algorithms {
            Some(named) => self.algorithms(named)?,
            None => self.draft.core.algorithms.clone(),
        };
        let mut hashes = Vec::new();
        for (algorithm, given) in [
            (Algorithm::Md5, &auth.ha1_md5),
            (Algorithm::Sha256, &auth.ha1_sha256),
            (Algorithm::Sha512_256, &auth.ha1_sha512_256),
        ] {
            let Some(given) = given else { continue };
            let Some(ha1) = algorithm.parse_ha1(given.get_ref()) else {
                self.error(given, build::bad_ha1(algorithm));
                return None;
            };
            hashes.push(Secret { algorithm, ha1 });
        }
        if hashes.is_empty() == auth.password.is_none() {
            self.error(entry, "either password or ha1_md5, ha1_sha256, ha1_sha512_256 expected");
            return None;
        }
        let password = auth
            .password
            .as_ref()
            .map(|password| |algorithm: Algorithm| algorithm.ha1(&auth.username, &realm, password));
        let secrets = build::secrets(&wanted, hashes, password);
        Some(config::Auth {
            username: auth.username.as_str().into(),
            realm: realm.as_str().into(),
            secrets: secrets.into(),
        })
    }

    /// Digest algorithms, the preferred one first.
    pub(super) fn algorithms(&mut self, named: &Spanned<Vec<String>>) -> Option<Vec<Algorithm>> {
        let problem = match build::algorithms(named.get_ref().iter().map(String::as_str)) {
            Ok(algorithms) if !algorithms.is_empty() => return Some(algorithms),
            Ok(_) => "at least one algorithm expected".to_owned(),
            Err(text) => text,
        };
        self.error(named, problem);
        None
    }
}
