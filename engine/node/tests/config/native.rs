//! `lampfield.toml`.

use lampfield::config::{LoadOptions, Loaded, example, load};
use lampfield_core::config::Dialect;
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;

use super::{Dir, report};

const EVERYTHING: &str = r#"
asterisk_dir = "etc"
asterisk_tenant = "beta"

[node]
shards = 2
state_dir = "/var/lib/lampfield"
console_socket = "/run/lampfield/console.sock"
user_agent = "Lamps"
realm = "example.org"

[[listen]]
transport = "udp"
bind = "192.0.2.1"
advertised = "198.51.100.1:5080"

[[tenant]]
name = "alpha"
domain = "alpha.example"

[[tenant]]
name = "beta"

[[provider]]
label = "Door"
kind = "device"
settable = true
initial = "NOT_INUSE"

[[context]]
name = "office"
tenant = "alpha"
include = ["shared"]
autohints = true

[[hint]]
tenant = "alpha"
context = "shared"
exten = "door"
hint = "Door:front,CustomPresence:door(Front door)"

[[hint_range]]
tenant = "alpha"
context = "office"
range = "0000..=0999"
hint = "PJSIP/{exten},CustomPresence:{exten}"

[[hint_range]]
tenant = "alpha"
context = "office"
range = "1000..=999999"
hint = "Custom:{exten}"

[[pattern]]
tenant = "alpha"
context = "office"
pattern = "_77XX"
hint = "Custom:p{exten:2}"

[[endpoint]]
name = "edge"
tenant = "alpha"
context = "office"
match = ["192.0.2.0/24", "2001:db8::/32"]
dialect = "asterisk"

[[endpoint]]
name = "desk"
tenant = "alpha"
context = "office"
auth = { username = "desk", password = "secret" }

[ami]
bind = "127.0.0.1:5039"
timestamp_events = true

[[ami.user]]
name = "crm"
tenant = "alpha"
secret = "s3cret"
read = ["call", "system"]
write = ["all"]
access = ["deny 0.0.0.0/0", "permit 127.0.0.0/8"]

[limits]
subscription_count_max = 1000
t1_ms = 250
probe_after_s = 30
"#;

#[test]
fn a_native_file_with_everything_in_it_beside_an_asterisk_directory() {
    let dir = Dir::new(&[
        ("lampfield.toml", EVERYTHING),
        ("etc/extensions.conf", "[office]\nexten => 5000,hint,Custom:beta\n"),
        (
            "etc/pjsip.conf",
            "[global]\ntype=global\nuser_agent=Asterisk\n[b]\ntype=endpoint\n\
                            context=office\nidentify_by=ip\n[b]\ntype=identify\nendpoint=b\n\
                            match=203.0.113.0/24\n",
        ),
        ("etc/manager.conf", "[general]\nenabled=yes\n[other]\nsecret=x\n"),
    ]);
    let loaded = dir.native().unwrap();
    insta::assert_snapshot!(dir.strip(&report(&loaded)));
    let core = &loaded.node.core;
    let (alpha, beta) = (TenantId(0), TenantId(1));
    for (tenant, exten, want) in [
        (alpha, "door", Some("Door:front,CustomPresence:door")),
        (alpha, "0042", Some("PJSIP/0042,CustomPresence:0042")),
        (alpha, "42", None),
        (alpha, "999999", Some("Custom:999999")),
        (alpha, "7701", Some("Custom:p01")),
        (alpha, "5000", Some("Custom:5000")),
        (beta, "5000", Some("Custom:beta")),
        (beta, "0042", None),
    ] {
        let found = core.dialplan.find(tenant, "office", exten);
        assert_eq!(found.as_ref().map(|found| &*found.hint.text), want, "{exten}");
    }
    let dialects: Vec<_> = core.endpoints.iter().map(|e| (&*e.name, e.dialect)).collect();
    let want = [("edge", Dialect::Asterisk), ("desk", Dialect::Rfc), ("b", Dialect::Asterisk)];
    assert_eq!(dialects, want);
    assert_eq!(core.limits.subscription_count_max, 1000);
    assert_eq!((core.limits.t1.as_millis(), core.limits.probe_after.as_secs()), (250, 30));
}

#[test]
fn what_is_wrong_names_line_and_column_and_what_was_expected() {
    let mut out = String::new();
    for text in [
        "[node]\nshard = 2\n",
        "[node]\nshards = \"two\"\n",
        "[node]\nshards = 0\n",
        "[node]\nuser = \"no-such-user\"\n",
        "[registrar]\ntechnology = \"PJ/SIP\"\n",
        "[registrar]\nusers = \"(\"\n",
        "[limits]\ncontact_count_max = 0\n",
        "[[listen]]\ntransport = \"tls\"\nbind = \"::\"\n",
        "[[listen]]\ntransport = \"udp\"\nbind = \"localhost\"\n",
        "[[hint]]\nexten = \"_1X\"\nhint = \"Custom:x\"\n",
        "[[hint]]\nexten = \"1\"\nhint = \"Custom:${DB(x)}\"\n",
        "[[hint]]\nexten = \"1\"\nhint = \"Custom:x\"\n[[hint]]\nexten = \"1\"\nhint = \"Custom:y\"\n",
        "[[hint]]\nexten = \"1\"\n",
        "[[hint_range]]\nrange = \"1-9\"\nhint = \"Custom:x\"\n",
        "[[hint_range]]\nrange = \"9..=1\"\nhint = \"Custom:x\"\n",
        "[[pattern]]\npattern = \"_[\"\nhint = \"Custom:x\"\n",
        "[[endpoint]]\nname = \"a\"\n",
        "[[endpoint]]\nname = \"a\"\nmatch = [\"10.0.0.0/33\"]\n",
        "[[endpoint]]\nname = \"a\"\nauth = { username = \"u\" }\n",
        "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\n[[hint]]\nexten = \"1\"\nhint = \"\"\n",
        "[[hint]]\ntenant = \"c\"\nexten = \"1\"\nhint = \"\"\n",
        "[[provider]]\nlabel = \"a:b\"\nkind = \"device\"\n",
        "[[provider]]\nlabel = \"a\"\nkind = \"device\"\ninitial = \"AWAY\"\n",
        "[[ami.user]]\nname = \"a\"\nsecret = \"\"\nread = [\"x\"]\naccess = [\"allow ::1\"]\n",
        "[ami]\n[limits]\nt1_ms = 0\nexpires_jitter_percent = 91\n",
        "asterisk_tenant = \"x\"\n",
        "[node\n",
    ] {
        let dir = Dir::new(&[("lampfield.toml", text)]);
        out.push_str(&dir.errors(dir.native()));
        out.push('\n');
    }
    insta::assert_snapshot!(out);
}

#[test]
fn without_any_file_loopback_is_served() {
    let options = LoadOptions { ami_secret: "drawn".into(), ..LoadOptions::default() };
    let mut loaded = load(&options).unwrap();
    loaded.node.console_socket = "console.sock".into();
    insta::assert_snapshot!(report(&loaded));
    let core = &loaded.node.core;
    for (source, want) in
        [("127.0.0.1", true), ("127.1.2.3", true), ("::1", true), ("192.0.2.1", false)]
    {
        assert_eq!(
            core.identify.find(source.parse().unwrap(), "loopback").is_some(),
            want,
            "{source}"
        );
    }
    let drawn = || load(&LoadOptions::default()).unwrap();
    let secret = |loaded: &Loaded| loaded.node.ami.as_ref().unwrap().users[0].secret.clone();
    let (first, second) = (drawn(), drawn());
    assert_ne!(secret(&first), secret(&second));
    assert_eq!(secret(&load(&first.source).unwrap()), secret(&first), "kept over a reload");
}

#[test]
fn the_command_line_goes_before_the_files() {
    let options = LoadOptions {
        asterisk: Some(super::LAB.into()),
        ami: Some("0.0.0.0:5039".parse().unwrap()),
        shard_count: Some(3),
        state_dir: Some("state".into()),
        listen: vec![lampfield::config::Listen::plain(
            lampfield_core::flow::Transport::Udp,
            "127.0.0.1:0".parse().unwrap(),
        )],
        ..LoadOptions::default()
    };
    let loaded = load(&options).unwrap();
    let node = &loaded.node;
    assert_eq!(node.listen, options.listen);
    assert_eq!(node.ami.as_ref().unwrap().bind, options.ami);
    assert_eq!((node.shard_count, &node.state_dir), (Some(3), &options.state_dir));
    assert!(loaded.warnings[0].text.contains("open to other machines"));
}

#[test]
fn the_generated_native_example_loads() {
    let small = Dir::new(&[]);
    example::write_native(&small.0, 3).unwrap();
    assert_eq!(small.native().unwrap().warnings, []);
    let dir = Dir::new(&[]);
    example::write_native(&dir.0, 1000).unwrap();
    let loaded = dir.native().unwrap();
    assert_eq!(loaded.warnings, []);
    let lists = &loaded.node.core.lists;
    for (name, package, want) in [
        ("team", Package::Presence, 10),
        ("lamps", Package::Dialog, 10),
        ("blf-10999", Package::Dialog, 49),
    ] {
        let list = lists.find(TenantId(0), name, package);
        assert_eq!(list.map(|list| list.items.len()), Some(want), "{name}");
    }
    let plan = &loaded.node.core.dialplan;
    assert!(plan.find(TenantId(0), "hints", "10999").is_some());
    assert!(plan.find(TenantId(0), "hints", "11000").is_none());
}

#[test]
fn every_limit_of_the_core_can_be_set() {
    let source = include_str!("../../../core/src/limits.rs");
    let (fields, _) = source.split_once("\n}").unwrap();
    let names = fields.lines().filter_map(|line| line.trim().strip_prefix("pub "));
    let names: Vec<&str> = names.filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        // Times carry their unit in the file.
        let key = match name {
            "t1" | "t2" => format!("{name}_ms"),
            "probe_after" | "transaction_memory" => format!("{name}_s"),
            name => name.to_owned(),
        };
        let dir = Dir::new(&[("lampfield.toml", &format!("[limits]\n{key} = 7\n"))]);
        let limits =
            dir.native().unwrap_or_else(|error| panic!("{error}")).node.core.limits.clone();
        assert!(format!("{limits:?}").contains(&format!("{name}: 7")), "{name} is not taken over");
    }
}
