//! TLS of a transport in `pjsip.conf`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lampfield_net::tls::{CertificateFiles, ClientCheck, Tls, TlsSettings};

use super::super::build::Draft;
use super::super::tls;
use super::section::Section;

/// Reads what the section names; `None` if that cannot be, which is told then.
pub(super) fn of_transport(section: &Section, draft: &mut Draft) -> Option<Arc<Tls>> {
    let near = Path::new(&*section.place.file).parent().unwrap_or(Path::new("")).to_owned();
    let path =
        |name| section.text(name).filter(|text| !text.is_empty()).map(|text| near.join(text));
    let (Some(chain), Some(key)) = (path("cert_file"), path("priv_key_file")) else {
        let text = format!("transport {} needs cert_file and priv_key_file, in PEM", section.name);
        draft.problems.error(&section.place, text);
        return None;
    };
    let authorities: Option<PathBuf> = path("ca_list_file");
    let problems = &mut draft.problems;
    let clients = match (
        section.flag("require_client_cert", false, problems),
        section.flag("verify_client", false, problems),
    ) {
        (true, _) => ClientCheck::Always,
        (false, true) => ClientCheck::IfShown,
        (false, false) => ClientCheck::Never,
    };
    let settings = TlsSettings {
        certificate: CertificateFiles { chain, key },
        by_name: draft.certificates.clone(),
        authorities,
        clients,
        verifies_servers: section.flag("verify_server", false, &mut draft.problems),
    };
    let place = section.get("cert_file").map_or(&section.place, |entry| &entry.place);
    tls::load(settings, place, draft)
}
