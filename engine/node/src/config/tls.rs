//! Certificates named by a configuration: read when it is, so that a bad one changes nothing.

use std::sync::Arc;

use lampfield_net::tls::{Tls, TlsSettings};

use super::build::Draft;
use super::problem::Place;

/// Reads what `settings` names; `None` if that cannot be, which is told at `place`.
pub(super) fn load(settings: TlsSettings, place: &Place, draft: &mut Draft) -> Option<Arc<Tls>> {
    match Tls::load(settings) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(error) => {
            draft.problems.error(place, error.to_string());
            None
        }
    }
}
