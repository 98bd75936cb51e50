//! URIs: the splitter, the user part, and the canonical spelling.

use lampfield_wire::{UserBuffer, canonical_uri, decode_user, host_address, split_uri};

#[test]
fn uris_are_cut_at_their_separators() {
    for (uri, user, host, port, params, headers) in [
        ("sip:h", "", "h", None, "", ""),
        ("sip:2000@example.com", "2000", "example.com", None, "", ""),
        ("SIPS:a@h:5061;transport=tcp;lr", "a", "h", Some(5061), ";transport=tcp;lr", ""),
        (
            "sip:a@[2001:db8::1]:5060;maddr=[::1];ttl=1",
            "a",
            "[2001:db8::1]",
            Some(5060),
            ";maddr=[::1];ttl=1",
            "",
        ),
        ("sip:[::ffff:192.0.2.1]", "", "[::ffff:192.0.2.1]", None, "", ""),
        ("sip:a@h?X=y&Z=1", "a", "h", None, "", "X=y&Z=1"),
        ("sip:a@h;p=1?X=y;q", "a", "h", None, ";p=1", "X=y;q"),
        (
            "sip:user;par=u%40example.net@example.com",
            "user;par=u%40example.net",
            "example.com",
            None,
            "",
            "",
        ),
        ("sip:a?b/c@h", "a?b/c", "h", None, "", ""),
        ("sip:*97#@h_1.example.", "*97#", "h_1.example.", None, "", ""),
        ("tel:+1201;phone-context=x", "+1201", "", None, ";phone-context=x", ""),
        ("urn:service:sos", "", "", None, "", ""),
    ] {
        let parts = split_uri(uri.as_bytes()).unwrap_or_else(|error| panic!("{uri}: {error}"));
        let text = |bytes| str::from_utf8(bytes).unwrap();
        assert_eq!(
            (
                text(parts.user),
                text(parts.host),
                parts.port,
                text(parts.params),
                text(parts.headers)
            ),
            (user, host, port, params, headers),
            "{uri}"
        );
    }
    let parts = split_uri(b"sip:a:pw@h;LR;transport=TCP").unwrap();
    assert_eq!((parts.user, parts.password), (&b"a"[..], Some(&b"pw"[..])));
    assert_eq!((parts.param("lr"), parts.param("Transport")), (Some(&b""[..]), Some(&b"TCP"[..])));
}

#[test]
fn broken_uris_are_refused() {
    for uri in [
        "",
        "sip",
        ":a",
        "sip:",
        "sip:@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@h:",
        "sip:a@h:0",
        "sip:a@h:65536",
        "sip:a@h:5x",
        "sip:a@[::1",
        "sip:a@[::1]x",
        "sip:a@[1.2.3.4]",
        "sip:a@::1",
        "sip:a b@h",
        "<sip:a@h>",
        "sip:a%4@h",
        "sip:a%zz@h",
        "sip:a\0@h",
        "sip:a@h\r\n",
        "1sip:a@h",
        "tel:",
        "tel:;x",
        "sip:a@h/x",
        "sip:a@[fe80::1%25eth0]",
        "sip:a@[2001:db8:::::1]",
    ] {
        assert!(split_uri(uri.as_bytes()).is_err(), "{uri:?}");
    }
}

#[test]
fn a_user_part_is_decoded_only_when_it_must_be() {
    let mut buffer = UserBuffer::new();
    for (user, want) in [
        ("2000", &b"2000"[..]),
        ("%32%30%30%30", b"2000"),
        ("null-%00-null", b"null-\0-null"),
        ("%C3%A9%c3%a9", "\u{e9}\u{e9}".as_bytes()),
        ("a%2", b"a%2"),
        ("%zz%", b"%zz%"),
    ] {
        assert_eq!(decode_user(user.as_bytes(), &mut buffer), want, "{user}");
    }
}

#[test]
fn equal_uris_get_one_spelling() {
    for (uri, want) in [
        ("SIP:2000@EXAMPLE.com", Some("sip:2000@example.com")),
        ("sip:%32000@example.com:5060", Some("sip:2000@example.com:5060")),
        ("sip:2000@[2001:DB8::1]", Some("sip:2000@[2001:db8::1]")),
        ("tel:+1201", Some("tel:+1201")),
        ("sip:User;par=u%40Example.net", Some("sip:user;par=u%40Example.net")),
        ("sip:a%40b@H;p=%40", Some("sip:a%40b@h;p=%40")),
        ("urn:service:sos", None),
        ("sip:a b@h", None),
        ("sip:\u{e9}", None),
    ] {
        assert_eq!(canonical_uri(uri.as_bytes()).ok().as_deref(), want, "{uri}");
    }
}

#[test]
fn hosts_that_are_addresses_are_read() {
    for (host, want) in [
        ("192.0.2.1", Some("192.0.2.1")),
        ("[2001:db8::1]", Some("2001:db8::1")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8:::192.0.2.1]", Some("2001:db8::c000:201")),
        ("[192.0.2.1]", None),
        ("example.com", None),
        ("", None),
        ("[]", None),
    ] {
        let want = want.map(|address| address.parse().unwrap());
        assert_eq!(host_address(host.as_bytes()), want, "{host}");
    }
}
