//! Asterisk directories.

use std::time::Instant;

use lampfield::config::{LoadOptions, example, load};
use lampfield_core::config::Dialect;
use lampfield_core::placement::TenantId;
use lampfield_core::state::DeviceState;

use super::{Dir, lab, report};

const T: TenantId = TenantId(0);

#[test]
fn the_lab_is_read_as_the_traces_show_it() {
    let loaded = lab();
    let core = &loaded.node.core;
    assert_eq!(loaded.warnings, []);
    for (exten, want) in [
        ("2000", Some("PJSIP/2000,CustomPresence:2000")),
        ("lamp99", Some("Custom:lamp99,CustomPresence:lamp99")),
        ("ponly", Some(",CustomPresence:ponly")),
        ("donly", Some("Custom:donly")),
        ("multi", Some("Custom:m1&Custom:m2,CustomPresence:multi")),
        ("7701", Some("Custom:p7701,CustomPresence:p7701")),
        ("nohint", None),
        ("nosuch", None),
        ("lamp100", None),
    ] {
        let found = core.dialplan.find(T, "hints", exten);
        assert_eq!(found.as_ref().map(|found| &*found.hint.text), want, "{exten}");
    }
    // Of the 206 hints in trace 21, two are instances of the pattern.
    assert_eq!(
        core.dialplan.explicit_hints(T).count() + core.dialplan.pattern_hints(T).count(),
        204
    );
    for (source, user, want) in [
        ("127.0.0.1", "w1", Some(("watcher", true, 5, false))),
        ("127.0.0.2", "w1", Some(("nosub", false, 0, false))),
        ("127.0.0.3", "w1", Some(("early", true, 0, true))),
        ("127.0.0.9", "w1", None),
    ] {
        let id = core.identify.find(source.parse().unwrap(), user);
        let got = id.map(|id| &core.endpoints[id.0 as usize]);
        let got = got.map(|e| {
            assert_eq!((e.dialect, &*e.context), (Dialect::Asterisk, "hints"));
            (&*e.name, e.allow_subscribe, e.sub_min_expiry_s, e.notify_early_inuse_ringing)
        });
        assert_eq!(got, want, "{source}");
    }
    assert_eq!((&*core.user_agent, &*core.realm), ("Asterisk-lab", "asterisk"));
    assert_eq!(core.providers.initial_device("PJSIP/2099"), DeviceState::Unavailable);
    assert_eq!(core.providers.initial_device("PJSIP/2100"), DeviceState::Invalid);
}

#[test]
fn check_prints_what_the_lab_serves() {
    insta::assert_snapshot!(report(&lab()));
}

#[test]
fn the_dialect_of_the_command_line_goes_first() {
    let options = LoadOptions {
        asterisk: Some(super::LAB.into()),
        dialect: Some(Dialect::Rfc),
        ..LoadOptions::default()
    };
    let core = load(&options).unwrap().node.core;
    assert!(core.endpoints.iter().all(|endpoint| endpoint.dialect == Dialect::Rfc));
    assert_eq!(core.dialect, Dialect::Rfc);
}

const EXTENSIONS: &str = "\
[globals]
TECH=PJSIP
BOSS=${TECH}/boss
[office](!)
exten => 1,hint,Custom:template
[office]
include => more
include => night,20:00-6:00,*,*,*
exten => 1000,1,Dial(PJSIP/1000)
 same => n,hint,no
 same => hint,${BOSS}&${TECH}/${EXTEN},CustomPresence:${EXTEN}(The boss)
exten => 1001,hint,PJSIP/1001(Anna \\; Bob)   ; comment
;-- exten => 1002,hint,PJSIP/1002
--; exten => 1003,hint,PJSIP/${NOSUCH}x
exten => 1001,hint,PJSIP/other
exten => _2X[,hint,PJSIP/x
exten => 1004,HINT,PJSIP/x
exten => 1005/200,hint,PJSIP/x
exten => 1006,hint,${DB(a/b)}
exten => 1007,hint,lamp7,Nope:x
switch => DUNDi/x
includ => typo
autohints = perhaps
#include \"sub/*.conf\"
#include nofile.conf
#tryinclude nofile.conf
#exec /bin/true
no entry
exten += 1
";

#[test]
fn a_dialplan_with_everything_in_it() {
    let included = "exten => 3000,hint,Custom:three\n[more](+)\n[night]\nautohints=yes\n";
    let files = [("extensions.conf", EXTENSIONS), ("sub/a.conf", included), ("pjsip.conf", "")];
    let dir = Dir::new(&files);
    insta::assert_snapshot!("dialplan_errors", dir.errors(dir.asterisk()));
    // The same without what is wrong.
    let wrong = ["_2X[", "perhaps", "nofile.conf\n#try"];
    let lines = EXTENSIONS.split_inclusive('\n');
    let extensions: String = lines
        .filter(|line| {
            !line.contains("#include nofile") && !wrong.iter().any(|wrong| line.contains(wrong))
        })
        .collect();
    let included = included.replace("[more](+)", "[more]");
    let dir = Dir::new(&[
        ("extensions.conf", &extensions),
        ("sub/a.conf", &included),
        ("pjsip.conf", ""),
    ]);
    let loaded = dir.asterisk().unwrap();
    insta::assert_snapshot!("dialplan_warnings", dir.warnings(&loaded));
    let plan = &loaded.node.core.dialplan;
    let boss = plan.find(T, "office", "1000").unwrap();
    assert_eq!(&*boss.hint.text, "PJSIP/boss&PJSIP/1000,CustomPresence:1000(The boss)");
    let anna = plan.find(T, "office", "1001").unwrap();
    assert_eq!(anna.hint.display_name.as_deref(), Some("Anna ; Bob"));
    assert_eq!(dir.strip(&anna.hint.origin), "extensions.conf:12");
    assert!(plan.find(T, "office", "1").is_none() && plan.find(T, "office", "1002").is_none());
    assert_eq!(&*plan.find(T, "office", "3000").unwrap().context, "office");
    assert_eq!(plan.autohint_contexts(T).map(|c| &**c).collect::<Vec<_>>(), ["night"]);
}

const PJSIP: &str = "\
[global]
type=global
default_realm=lab
endpoint_identifier_order=username,ip
ignore_uri_user_options=yes
[system]
type=system
timer_t1=250
[udp]
type=transport
bind=0.0.0.0
external_signaling_address=198.51.100.1
local_net=10.0.0.0/8
[tls]
type=transport
protocol=wss
bind=0.0.0.0:5061
[basic](!)
type=endpoint
context=office
dtmf_mode=rfc4733
[1000](basic)
auth=1000
mailboxes=1000@default
[1000]
type=auth
username=1000
password=secret
[1000]
type=aor
max_contacts=1
[1001](basic)
contxt=typo
device_state_busy_at=2
[phones]
type=identify
endpoint=1001
match=192.0.2.0/24,phones.example
match=2001:db8::/32
[anonymous](basic)
[list]
type=resource_list
event=presence
list_item=1000
[x]
type=nonsense
[y]
key=1
";

#[test]
fn endpoints_with_everything_in_them() {
    let dir = Dir::new(&[
        ("extensions.conf", "[office]\nexten => 1000,hint,PJSIP/1000\n"),
        ("pjsip.conf", PJSIP),
    ]);
    let loaded = dir.asterisk().unwrap();
    insta::assert_snapshot!("pjsip_warnings", dir.warnings(&loaded));
    insta::assert_snapshot!("pjsip_check", dir.strip(&report(&loaded)));
    let core = &loaded.node.core;
    assert_eq!(core.limits.t1.as_millis(), 250);
    let auth = core.endpoints[0].auth.as_ref().unwrap();
    // md5("1000:lab:secret")
    assert_eq!((&*auth.realm, &*auth.secrets[0].ha1), ("lab", "156e960d0feb6ad5d3c516fe159a3d03"));
}

#[test]
fn wrong_values_name_their_place_and_what_was_expected() {
    let dir = Dir::new(&[
        ("extensions.conf", "entry = x\n[a\n[b](nosuch)\n[c](+)\n#include extensions.conf\n"),
        (
            "pjsip.conf",
            "[t]\ntype=transport\nbind=host\n[u]\ntype=transport\n[v]\ntype=transport\nprotocol=sctp\n\
             bind=::\n[e]\ntype=endpoint\nallow_subscribe=maybe\nsub_min_expiry=-1\nauth=none\n\
             [i]\ntype=identify\nendpoint=nobody\nmatch=1.2.3.4\n[j]\ntype=identify\nendpoint=e\n\
             match=300.1.1.1\n[a]\ntype=auth\nmd5_cred=xyz\n[f]\ntype=endpoint\nauth=a\n",
        ),
        (
            "manager.conf",
            "[general]\nenabled=si\nport=0\nbindaddr=here\n[u]\nsecret=s\nread=call,bogus\n\
             permit=1.2.3\nacl=office\n",
        ),
    ]);
    insta::assert_snapshot!(dir.errors(dir.asterisk()));
    let nowhere = LoadOptions { asterisk: Some("no/such/dir".into()), ..LoadOptions::default() };
    let error = load(&nowhere).unwrap_err().to_string();
    assert_eq!(error, "no/such/dir: no such directory; an Asterisk configuration expected");
}

#[test]
fn of_two_networks_the_longer_prefix_finds_the_endpoint_and_of_two_equal_ones_the_first() {
    let endpoint = |name: &str, matches: &str| {
        format!(
            "[{name}]\ntype=endpoint\nidentify_by=ip\n[{name}]\ntype=identify\n\
             endpoint={name}\nmatch={matches}\n"
        )
    };
    let pjsip = [
        endpoint("wide", "10.0.0.0/8"),
        endpoint("narrow", "10.1.0.0/16,10.1.2.9"),
        endpoint("host", "10.1.2.3,::ffff:10.1.2.4"),
        endpoint("late", "10.1.2.3,10.0.0.0/255.0.0.0"),
    ];
    let dir = Dir::new(&[
        ("extensions.conf", "[default]\nexten => 1,hint,Custom:x\n"),
        ("pjsip.conf", &pjsip.concat()),
    ]);
    let loaded = dir.asterisk().unwrap();
    let core = &loaded.node.core;
    for (source, want) in [
        ("10.9.9.9", Some("wide")),
        ("10.1.9.9", Some("narrow")),
        ("10.1.2.9", Some("narrow")),
        ("10.1.2.3", Some("host")),
        ("::ffff:10.1.2.3", Some("host")),
        ("10.1.2.4", Some("host")),
        ("11.0.0.1", None),
    ] {
        let found = core.identify.find(source.parse().unwrap(), "nobody");
        let name = found.map(|id| &*core.endpoints[id.0 as usize].name);
        assert_eq!(name, want, "{source}");
    }
    let warnings = dir.warnings(&loaded);
    let lines: Vec<&str> = warnings.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "10.1.2.3/32 already identifies host; ignored here",
            "10.0.0.0/8 already identifies wide; ignored here",
        ]
    );
}

#[test]
fn manager_users_and_their_address_rules() {
    let manager = "[general]\nenabled=yes\ntlsenable=yes\nallowmultiplelogin=no\n\
        disabledevents=Newexten,VarSet\n[anna]\nsecret=a\nread=call,system\nwrite=all\nacl=office\n\
        permit=127.0.0.1\neventfilter=!Channel: [A-Z]\neventfilter=Exten\n[none]\nsecrt=x\n";
    let dir = Dir::new(&[
        ("extensions.conf", ""),
        ("pjsip.conf", ""),
        ("manager.conf", manager),
        ("acl.conf", "[office]\ndeny=0.0.0.0/0\npermit=10.0.0.0/255.0.0.0,!10.9.0.0/16\n"),
    ]);
    let loaded = dir.asterisk().unwrap();
    insta::assert_snapshot!("manager_warnings", dir.warnings(&loaded));
    let ami = loaded.node.ami.as_ref().unwrap();
    assert_eq!(ami.bind, Some("127.0.0.1:5038".parse().unwrap()));
    assert_eq!(ami.disabled_events, ["Newexten", "VarSet"]);
    let anna = &ami.users[0];
    assert_eq!((anna.read, anna.allow_multiple_login), (3, false));
    let rules: Vec<_> = anna
        .access
        .iter()
        .map(|(permit, net)| (*permit, format!("{}/{}", net.address, net.prefix)))
        .collect();
    let want = [
        (true, "127.0.0.1/32"),
        (false, "0.0.0.0/0"),
        (true, "10.0.0.0/8"),
        (false, "10.9.0.0/16"),
    ];
    assert_eq!(rules, want.map(|(permit, net)| (permit, net.to_owned())));
    assert_eq!(anna.event_filters.len(), 1);
}

#[test]
fn ten_thousand_hints_of_the_generated_example_load_fast() {
    let dir = Dir::new(&[]);
    example::write_asterisk(&dir.0, 10_000).unwrap();
    assert!(example::write_asterisk(&dir.0, 1).is_err(), "nothing is overwritten");
    let small = Dir::new(&[]);
    example::write_asterisk(&small.0, 1).unwrap();
    assert_eq!(small.asterisk().unwrap().warnings, []);
    let start = Instant::now();
    let loaded = dir.asterisk().unwrap();
    let elapsed = start.elapsed();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.node.core.lists.rows(T).count(), 2);
    assert_eq!(loaded.node.core.dialplan.explicit_hints(T).count(), 10_000);
    assert!(loaded.node.core.dialplan.find(T, "hints", "19999").is_some());
    assert!(elapsed.as_millis() < 1000, "{elapsed:?}");
}
