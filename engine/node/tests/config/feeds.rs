//! Names to which other servers publish their states, from either kind of file.

use lampfield::config::Loaded;

use super::Dir;

/// Every feed in a line: name, endpoint, then devices and mailboxes as `takes:filtered name`.
fn feeds(loaded: &Loaded) -> Vec<String> {
    let row = |feed: &lampfield_core::feed::Feed| {
        let taken = |rules: &Option<lampfield_core::feed::FeedRules>| match rules {
            None => "-".to_owned(),
            Some(rules) => {
                let filter = rules.filter.as_ref();
                let passes = ["PJSIP/1", "2000@default", "Local/x"]
                    .map(|name| filter.is_none_or(|filter| filter.passes(name)) as u8);
                format!("{}{passes:?}", rules.accepts)
            }
        };
        let endpoint = feed.endpoint.as_deref().unwrap_or("any");
        let (devices, mailboxes) = (taken(&feed.devices), taken(&feed.mailboxes));
        format!("{} {} {endpoint} {devices} {mailboxes}", feed.tenant.0, feed.name)
    };
    loaded.node.core.feeds.rows.iter().map(row).collect()
}

#[test]
fn inbound_publications_of_pjsip_conf() {
    let dir = Dir::new(&[
        ("extensions.conf", "[default]\nexten => 1,hint,Custom:x\n"),
        (
            "pjsip.conf",
            "[pbx2]\ntype=endpoint\nauth=pbx2\n[pbx2]\ntype=auth\nusername=pbx2\npassword=x\n\
             [mesh]\ntype=inbound-publication\nendpoint=pbx2\n\
             event_asterisk-devicestate=all\nevent_asterisk-mwi=all\n\
             [silent]\ntype=inbound-publication\nevent_asterisk-devicestate=nothing\nevent_dialog=x\n\
             [all]\ntype=asterisk-publication\ndevicestate_publish=back\ndevice_state=yes\n\
             device_state_filter=^pjsip/\nmailbox_state=yes\n\
             [nothing]\ntype=asterisk-publication\n",
        ),
    ]);
    let loaded = dir.asterisk().unwrap();
    assert_eq!(
        feeds(&loaded),
        ["0 mesh pbx2 true[1, 0, 0] true[1, 1, 1]", "0 silent any false[1, 1, 1] -",]
    );
    insta::assert_snapshot!(dir.warnings(&loaded));
}

#[test]
fn what_is_wrong_with_an_inbound_publication_names_file_and_line() {
    let mut out = String::new();
    for text in [
        "[mesh]\ntype=inbound-publication\nendpoint=nobody\n",
        "[mesh]\ntype=inbound-publication\nevent_asterisk-mwi=nothing\n",
        "[mesh]\ntype=inbound-publication\nevent_asterisk-mwi=x\n\
         [x]\ntype=asterisk-publication\nmailbox_state=yes\nmailbox_state_filter=(\n",
    ] {
        let hints = ("extensions.conf", "[default]\nexten => 1,hint,Custom:x\n");
        let dir = Dir::new(&[hints, ("pjsip.conf", text)]);
        out.push_str(&dir.errors(dir.asterisk()));
        out.push('\n');
    }
    insta::assert_snapshot!("pjsip_feed_errors", out);
}

#[test]
fn feeds_of_a_native_file() {
    let before = "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\n\
                  [[endpoint]]\nname = \"pbx\"\ntenant = \"b\"\nmatch = [\"::1\"]\ncontext = \"x\"\n";
    let file = format!(
        "{before}[[feed]]\ntenant = \"b\"\nname = \"mesh\"\nendpoint = \"pbx\"\ndevices = true\n\
         device_filter = \"^(pjsip|sip)/\"\nmailboxes = true\n\
         [[feed]]\ntenant = \"a\"\nname = \"mesh\"\nmailboxes = true\nmailbox_filter = \"@default$\"\n"
    );
    let loaded = Dir::new(&[("lampfield.toml", &file)]).native().unwrap();
    assert_eq!(
        feeds(&loaded),
        ["1 mesh pbx true[1, 0, 0] true[1, 1, 1]", "0 mesh any - true[0, 1, 0]",]
    );
    let mut out = String::new();
    for text in [
        "name = \"x\"\n",
        "name = \"\"\ndevices = true\n",
        "name = \"x\"\ntenant = \"c\"\ndevices = true\n",
        "name = \"x\"\ntenant = \"a\"\ndevices = true\nendpoint = \"pbx\"\n",
        "name = \"x\"\ntenant = \"a\"\ndevices = true\ndevice_filter = \"[\"\n",
        "name = \"x\"\ntenant = \"a\"\ndevices = true\n[[feed]]\nname = \"x\"\ntenant = \"a\"\nmailboxes = true\n",
        "name = \"x\"\nstates = true\n",
    ] {
        let dir = Dir::new(&[("lampfield.toml", &format!("{before}[[feed]]\n{text}"))]);
        out.push_str(&dir.errors(dir.native()));
        out.push('\n');
    }
    insta::assert_snapshot!("native_feed_errors", out);
}
