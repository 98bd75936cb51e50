//! Where NOTIFYs of a dialog go: route set and remote target.
//!
//! Source: RFC 3261 sections 12.1.1, 12.2.1.1 and 16.12.

use std::net::{IpAddr, SocketAddr};

use lampfield_wire::{HeaderName, Message, NameAddr, UriParts, split_uri};

use crate::admission::Contact;
use crate::config::Endpoint;
use crate::flow::{ConnectionId, Flow, Transport};

/// The route set of a SUBSCRIBE as Route lines, and whether its first router is a strict one
/// (RFC 3261 section 12.2.1.1).
pub(crate) fn routes(message: &Message<'_>) -> (Vec<u8>, bool) {
    let mut lines = Vec::new();
    let mut is_strict = false;
    for (index, route) in message.values(HeaderName::RecordRoute).enumerate() {
        if index == 0 {
            let uri = NameAddr::parse(route).ok().and_then(|route| split_uri(route.uri).ok());
            is_strict = uri.is_some_and(|uri| uri.param("lr").is_none());
        }
        push_route(&mut lines, &[route]);
    }
    (lines, is_strict)
}

pub(crate) fn push_route(lines: &mut Vec<u8>, route: &[&[u8]]) {
    lines.extend_from_slice(b"Route: ");
    route.iter().for_each(|part| lampfield_wire::write::push_value(lines, part));
    lines.extend_from_slice(b"\r\n");
}

/// URI of the first Route line.
pub(crate) fn first_route(lines: &[u8]) -> Option<&[u8]> {
    let line = lines.strip_prefix(b"Route: ")?;
    let end = line.iter().position(|byte| *byte == b'\r')?;
    NameAddr::parse(&line[..end]).ok().map(|route| route.uri)
}

/// Where NOTIFYs go: the first route, else the Contact, as far as they are addresses; the
/// request's own source if the endpoint is behind NAT (`rewrite_contact`) or a name would have
/// to be looked up.
pub(crate) fn next_hop(
    source: Flow,
    target: &Contact<'_>,
    routes: &[u8],
    endpoint: &Endpoint,
) -> Flow {
    let route = first_route(routes).and_then(|uri| split_uri(uri).ok());
    if route.is_none() && endpoint.rewrite_contact {
        return source;
    }
    let uri = route.as_ref().unwrap_or(&target.parts);
    let Some(peer) = address_of(uri) else { return source };
    let transport = match uri.param("transport") {
        None => Transport::Udp,
        Some(token) if token.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        Some(token) if token.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(_) => return source,
    };
    if peer.is_ipv4() != source.local.is_ipv4() || peer.port() == 0 {
        return source;
    }
    let connection = match transport == source.transport {
        true => source.connection,
        false => ConnectionId::default(),
    };
    Flow { transport, local: source.local, peer, connection }
}

fn address_of(uri: &UriParts<'_>) -> Option<SocketAddr> {
    let host = uri.param("maddr").unwrap_or(uri.host);
    let host = std::str::from_utf8(host).ok()?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let ip: IpAddr = host.parse().ok()?;
    (!ip.is_unspecified() && !ip.is_multicast())
        .then(|| SocketAddr::new(ip, uri.port.unwrap_or(5060)))
}
