//! Mirroring the very Asterisk whose configuration is read: `manager.conf` says where it listens
//! and what the secret of its user is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lampfield_core::placement::TenantId;

use super::super::build::Draft;
use super::super::load::AMI_PORT;
use super::super::problem::Place;
use super::super::{MirrorConfig, Secret, acl, mirror};
use super::section::Section;
use crate::control::ami::class;

/// Classes of the actions that a mirror uses; one of them is enough.
const WRITE: u64 = class::CALL | class::REPORTING;

/// Adds the mirror that `wish` (`USER` or `USER@HOST[:PORT]`) asks for.
pub(super) fn load(wish: &str, sections: &[Section], tenant: TenantId, draft: &mut Draft) {
    let place = sections.first().map_or_else(Place::default, |section| section.place.clone());
    let place = Place { line: 0, column: 0, ..place };
    let (user, address) = match wish.rsplit_once('@') {
        Some((user, address)) => (user, mirror::address(address, AMI_PORT)),
        None => (wish, Some(own_address(sections).to_string())),
    };
    let Some(address) = address else {
        let text = format!("mirror {wish}: USER or USER@HOST:PORT expected");
        return draft.problems.error(&place, text);
    };
    let found = sections.iter().find(|section| &*section.name == user && !section.is_template);
    let Some(section) = found.filter(|_| user != "general") else {
        let text = format!(
            "mirror {wish}: there is no user [{user}]; give the PBX one: secret, \
                            read = system,call and write = reporting"
        );
        return draft.problems.error(&place, text);
    };
    let secret = section.text("secret").unwrap_or_default();
    if secret.is_empty() {
        let text = format!("mirror {wish}: user {user} has no secret");
        return draft.problems.error(&section.place, text);
    }
    check(wish, section, sections, draft);
    if draft.mirrors.iter().any(|mirror| mirror.name == address) {
        let text = format!("mirror {wish}: {address} is mirrored already");
        return draft.problems.error(&section.place, text);
    }
    draft.mirrors.push(MirrorConfig {
        name: address.clone(),
        address,
        user: user.to_owned(),
        secret: Secret(secret.to_owned()),
        tenants: vec![tenant],
        ..MirrorConfig::default()
    });
}

/// What would keep the PBX from telling anything.
fn check(wish: &str, user: &Section, sections: &[Section], draft: &mut Draft) {
    let problems = &mut draft.problems;
    let classes = |name: &str| {
        let values = user.all(name).map(|entry| class::parse_names(&entry.value).unwrap_or(0));
        values.fold(0, |all, some| all | some)
    };
    let (read, write) = (classes("read"), classes("write"));
    for (is_missing, text) in [
        (read & class::CALL == 0, "read lacks call: the PBX does not tell it of changes"),
        (read & class::SYSTEM == 0, "read lacks system: the PBX does not tell it when it is up"),
        (write & WRITE == 0, "write lacks reporting and call: the PBX lists no states for it"),
    ] {
        if is_missing {
            problems.warn(&user.place, format!("mirror {wish}: {text}"));
        }
    }
    let general = sections.iter().find(|section| &*section.name == "general");
    if let Some(general) = general.filter(|_| !wish.contains('@'))
        && !general.flag("enabled", false, problems)
    {
        let text = format!("mirror {wish}: enabled = no: this PBX serves no manager interface");
        problems.warn(&general.place, text);
    }
}

/// Where the Asterisk of this configuration listens, as it is reached from the same machine.
fn own_address(sections: &[Section]) -> SocketAddr {
    let general = sections.iter().find(|section| &*section.name == "general");
    let text = |name| general.and_then(|section| section.text(name));
    let port = text("port").and_then(|port| port.trim().parse().ok()).unwrap_or(AMI_PORT);
    let address = text("bindaddr").and_then(|address| acl::address(address, port));
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    match address {
        Some(address) if address.ip().is_unspecified() => any,
        Some(address) => address,
        None => any,
    }
}
