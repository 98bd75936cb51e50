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
    let Some(transport) = transport_of(uri) else { return source };
    let Some(peer) = address_of(uri, transport) else { return source };
    if peer.is_ipv4() != source.local.is_ipv4() || peer.port() == 0 {
        return source;
    }
    let connection = match transport == source.transport {
        true => source.connection,
        false => ConnectionId::default(),
    };
    Flow { transport, local: source.local, peer, connection }
}

/// Whether a URI starts with the scheme `sips`.
pub(crate) fn is_sips<'a>(uri: impl IntoIterator<Item = &'a u8>) -> bool {
    uri.into_iter().take(5).map(u8::to_ascii_lowercase).eq(*b"sips:")
}

/// By what a URI is reached; `None` by something we cannot open ourselves.
fn transport_of(uri: &UriParts<'_>) -> Option<Transport> {
    let named = match uri.param("transport") {
        Some(token) => Transport::from_token(token)?,
        None if uri.is_sips() => Transport::Tls,
        None => Transport::Udp,
    };
    match named {
        // `sips` over TCP means TLS over TCP (RFC 3261 section 26.2.2); over UDP it cannot be.
        Transport::Tcp | Transport::Tls if uri.is_sips() => Some(Transport::Tls),
        Transport::Udp | Transport::Tcp | Transport::Tls if !uri.is_sips() => Some(named),
        _ => None,
    }
}

fn address_of(uri: &UriParts<'_>, transport: Transport) -> Option<SocketAddr> {
    let host = uri.param("maddr").unwrap_or(uri.host);
    let host = std::str::from_utf8(host).ok()?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let ip: IpAddr = host.parse().ok()?;
    let default_port = if transport == Transport::Tls { 5061 } else { 5060 };
    (!ip.is_unspecified() && !ip.is_multicast())
        .then(|| SocketAddr::new(ip, uri.port.unwrap_or(default_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(transport: Transport, peer: &str, serial: u32) -> Flow {
        let connection = ConnectionId { shard: 1, serial };
        let local = "192.0.2.1:5060".parse().expect("an address");
        Flow { transport, local, peer: peer.parse().expect(peer), connection }
    }

    /// Where a NOTIFY goes if the request came by `source`, named `contact` and these routes.
    fn hop(source: Flow, contact: &str, routes: &str) -> Flow {
        let (uri, parts) = (contact.as_bytes(), split_uri(contact.as_bytes()).expect(contact));
        next_hop(source, &Contact { uri, parts }, routes.as_bytes(), &Endpoint::default())
    }

    #[test]
    fn a_uri_says_by_what_it_is_reached() {
        let udp = flow(Transport::Udp, "192.0.2.9:40000", 0);
        for (contact, transport, peer) in [
            ("sip:a@192.0.2.7", Transport::Udp, "192.0.2.7:5060"),
            ("sip:a@192.0.2.7;transport=TCP", Transport::Tcp, "192.0.2.7:5060"),
            ("sip:a@192.0.2.7:7;transport=tls", Transport::Tls, "192.0.2.7:7"),
            ("sip:a@192.0.2.7;transport=tls", Transport::Tls, "192.0.2.7:5061"),
            ("sips:a@192.0.2.7", Transport::Tls, "192.0.2.7:5061"),
            ("sips:a@192.0.2.7;transport=tcp", Transport::Tls, "192.0.2.7:5061"),
            // Over these nobody is reached, or nobody whom we could connect to.
            ("sips:a@192.0.2.7;transport=udp", Transport::Udp, "192.0.2.9:40000"),
            ("sip:a@192.0.2.7;transport=ws", Transport::Udp, "192.0.2.9:40000"),
            ("sip:a@192.0.2.7;transport=sctp", Transport::Udp, "192.0.2.9:40000"),
            ("sip:a@phone.example;transport=tls", Transport::Udp, "192.0.2.9:40000"),
        ] {
            let got = hop(udp, contact, "");
            let want = (transport, peer.parse().expect(peer));
            assert_eq!((got.transport, got.peer), want, "{contact}");
        }
    }

    #[test]
    fn a_connection_is_used_again_by_what_is_reached_the_same_way() {
        let tls = flow(Transport::Tls, "192.0.2.9:40000", 8);
        let wss = flow(Transport::Wss, "192.0.2.9:40000", 8);
        for (source, contact, serial) in [
            (tls, "sip:a@192.0.2.9:5061;transport=tls", 8),
            (tls, "sips:a@192.0.2.9", 8),
            (tls, "sip:a@192.0.2.9;transport=tcp", 0),
            (wss, "sip:a@192.0.2.9;transport=ws", 8),
            (wss, "sip:a@random.invalid;transport=ws", 8),
            (wss, "sip:a@192.0.2.9;transport=tls", 0),
        ] {
            let got = hop(source, contact, "");
            assert_eq!(got.connection.serial, serial, "{contact}");
        }
        let routed = hop(tls, "sip:a@192.0.2.9", "Route: <sips:192.0.2.3;lr>\r\n");
        assert_eq!(
            (routed.transport, routed.peer),
            (Transport::Tls, ([192, 0, 2, 3], 5061).into())
        );
    }
}
