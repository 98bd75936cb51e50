//! Resource lists, in Asterisk's files and in `lampfield.toml`.

use std::time::Duration;

use lampfield::config::{LoadOptions, Loaded, load};
use lampfield_core::list::List;
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;

use super::{Dir, report};

const T: TenantId = TenantId(0);

const EXTENSIONS: &str = "\
[office]
exten => 1000,hint,Custom:a
exten => 1001,hint,Custom:b
[elsewhere]
exten => 2000,hint,Custom:c
";

const ENDPOINT: &str = "\
[phones]
type=endpoint
context=office
identify_by=ip
[phones]
type=identify
endpoint=phones
match=192.0.2.0/24
";

fn asterisk(lists: &str) -> Dir {
    let pjsip = format!("{ENDPOINT}{lists}");
    Dir::new(&[("extensions.conf", EXTENSIONS), ("pjsip.conf", &pjsip)])
}

const NATIVE: &str = r#"
[[endpoint]]
name = "phones"
context = "office"
match = ["192.0.2.0/24"]

[[hint_range]]
context = "office"
range = "1000..=1999"
hint = "Custom:{exten}"
"#;

fn native(lists: &str) -> Dir {
    Dir::new(&[("lampfield.toml", &format!("{NATIVE}{lists}"))])
}

fn find(loaded: &Loaded, tenant: TenantId, name: &str, package: Package) -> Option<String> {
    let list = loaded.node.core.lists.find(tenant, name, package)?;
    let List { items, full_state, batch_interval, display_names, .. } = &*list;
    let items: Vec<String> = items
        .iter()
        .map(|item| {
            let context = item.context.as_ref().map(|context| format!("@{context}"));
            let name = item.display_name.as_ref().map(|name| format!("({name})"));
            format!("{}{}{}", item.name, context.unwrap_or_default(), name.unwrap_or_default())
        })
        .collect();
    let items = items.join(" ");
    Some(format!("{items} full={full_state} {batch_interval:?} names={display_names}"))
}

#[test]
fn lists_of_pjsip_conf_with_templates_defaults_and_nesting() {
    let dir = asterisk(
        "[basic](!)\ntype=resource_list\nevent=dialog\nfull_state=yes\nlist_item=1000\n\
         notification_batch_interval=250\nresource_display_name=on\n\
         [sales](basic)\nlist_item=1001, 2000@elsewhere,\n\
         [plain]\ntype=resource_list\nevent=presence\nlist_item=1001\nlist_item=inner,1000\n\
         [inner]\ntype=resource_list\nevent=presence\nlist_item=1000\n",
    );
    let loaded = dir.asterisk().unwrap();
    assert_eq!(loaded.warnings, []);
    for (name, package, want) in [
        ("sales", Package::Dialog, Some("1000 1001 2000@elsewhere full=true 250ms names=true")),
        ("sales", Package::Presence, None),
        ("basic", Package::Dialog, None),
        ("plain", Package::Presence, Some("1001 inner 1000 full=false 0ns names=false")),
    ] {
        assert_eq!(find(&loaded, T, name, package).as_deref(), want, "{name}");
    }
    let origin = loaded.node.core.lists.find(T, "sales", Package::Dialog).unwrap();
    assert_eq!(dir.strip(&origin.origin), "pjsip.conf:16");
    insta::assert_snapshot!("lists_of_pjsip_conf", dir.strip(&report(&loaded)));
}

/// Every warning and every error a list of `pjsip.conf` can give, one list each.
#[test]
fn what_is_wrong_with_a_list_of_pjsip_conf_names_file_and_line() {
    let mut out = String::new();
    for lists in [
        "event=presence\nlist_item=1000,1001,1000\nlist_item=1001\n",
        "event=message-summary\nlist_item=1000\n",
        "event=presence\nlist_item=1000\nlistitem=1001\n",
        "event=presence\nlist_item=nobody,1000@elsewhere,1000\n",
        "event=presence\nlist_item=2000\n",
        "event=presence\nlist_item=l,1000\n",
        "event=presence\nlist_item=a,1000\n[a]\ntype=resource_list\nevent=presence\nlist_item=l\n",
        "event=presence\nlist_item=a\n[a]\ntype=resource_list\nevent=presence\nlist_item=l\n",
        "event=presence\nlist_item=a,1000\n[a]\ntype=resource_list\nevent=dialog\nlist_item=1000\n",
        "event=dialog\nlist_item=1000\n[l]\ntype=resource_list\nevent=dialog\nlist_item=1001\n",
        "list_item=1000\n",
        "event=Presence\nlist_item=1000\n",
        "event=\nlist_item=1000\n",
        "event=refer\nlist_item=1000\n",
        "event=presence\n",
        "event=presence\nlist_item=,\n",
        "event=presence\nlist_item=1000\nfull_state=perhaps\n",
        "event=presence\nlist_item=1000\nnotification_batch_interval=-1\n",
        "event=presence\nlist_item=1000\nresource_display_name=2\n",
    ] {
        let dir = asterisk(&format!("[l]\ntype=resource_list\n{lists}"));
        match dir.asterisk() {
            Ok(loaded) => out.push_str(&format!("warning: {}\n", dir.warnings(&loaded))),
            errors => out.push_str(&format!("error: {}\n", dir.errors(errors))),
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn native_lists_and_rules_for_many() {
    let dir = native(
        r#"
[[list]]
name = "lobby"
event = "presence"
items = ["1000", "1001@office", { exten = "1002", name = "Reception" }, { exten = "1003", context = "office" }]
full_state = true
batch_interval_ms = 1500
display_names = true

[[list]]
name = "both"
events = ["presence", "dialog", "dialog"]
items = ["1000"]

[[list_range]]
name = "blf-{exten}"
event = "dialog"
range = "1000..=1999"
group_size = 50

[[list_range]]
name = "group-{first}"
events = ["dialog", "presence"]
range = "1000..=1049"
group_size = 3
with_self = true
batch_interval_ms = 200
"#,
    );
    let loaded = dir.native().unwrap();
    assert_eq!(loaded.warnings, []);
    for (name, package, want) in [
        (
            "lobby",
            Package::Presence,
            Some("1000 1001@office 1002(Reception) 1003@office full=true 1.5s names=true"),
        ),
        ("both", Package::Presence, Some("1000 full=false 0ns names=false")),
        ("both", Package::Dialog, Some("1000 full=false 0ns names=false")),
        ("group-1003", Package::Presence, Some("1003 1004 1005 full=false 200ms names=false")),
        ("group-1004", Package::Presence, None),
        ("blf-1000", Package::Presence, None),
        ("blf-2000", Package::Dialog, None),
    ] {
        assert_eq!(find(&loaded, T, name, package).as_deref(), want, "{name}");
    }
    let full_mesh = loaded.node.core.lists.find(T, "blf-1060", Package::Dialog).unwrap();
    assert_eq!(full_mesh.items.len(), 49);
    insta::assert_snapshot!("native_lists", dir.strip(&report(&loaded)));
}

#[test]
fn one_rule_for_every_tenant() {
    let rules = r#"
[[tenant]]
name = "alpha"
[[tenant]]
name = "beta"
[[context]]
name = "office"
tenant = "*"
[[hint_range]]
tenant = "*"
context = "office"
range = "1000..=1049"
hint = "Custom:{exten}"
[[pattern]]
tenant = "*"
context = "office"
pattern = "_77XX"
hint = "Custom:p{exten}"
[[hint]]
tenant = "*"
context = "office"
exten = "door"
hint = "Custom:door"
[[list]]
tenant = "*"
name = "all"
event = "dialog"
items = ["door", "7701"]
[[list_range]]
tenant = "*"
name = "blf-{exten}"
event = "dialog"
range = "1000..=1049"
group_size = 50
[[endpoint]]
name = "a"
tenant = "alpha"
context = "office"
match = ["192.0.2.1"]
[[endpoint]]
name = "b"
tenant = "beta"
context = "office"
match = ["192.0.2.2"]
"#;
    let dir = Dir::new(&[("lampfield.toml", rules)]);
    let loaded = dir.native().unwrap();
    assert_eq!(loaded.warnings, []);
    for tenant in [TenantId(0), TenantId(1)] {
        let core = &loaded.node.core;
        assert!(core.dialplan.find(tenant, "office", "1049").is_some());
        assert!(core.lists.find(tenant, "all", Package::Dialog).is_some());
        let mesh = core.lists.find(tenant, "blf-1000", Package::Dialog).unwrap();
        assert_eq!(mesh.items.len(), 49);
    }
}

/// Every warning and every error of `[[list]]`, `[[list_range]]` and `notify_bytes_max`.
#[test]
fn what_is_wrong_with_a_native_list_names_line_and_column() {
    let list = |keys: &str| format!("[[list]]\nname = \"l\"\n{keys}");
    let range = |keys: &str| format!("[[list_range]]\n{keys}");
    let endpoint = |bytes: &str| {
        format!("[[endpoint]]\nname = \"e\"\nmatch = [\"::1\"]\nnotify_bytes_max = {bytes}\n")
    };
    let of_presence = |items: &str| list(&format!("event = \"presence\"\nitems = {items}\n"));
    let mut out = String::new();
    for text in [
        of_presence("[\"1000\", \"1000\", \"1000@office\"]"),
        of_presence("[\"l\", \"1000\"]"),
        of_presence("[\"5\", \"1000@nowhere\"]"),
        list("event = \"message-summary\"\nitems = [\"1000\"]\n"),
        range(
            "name = \"g-{first}\"\nevent = \"dialog\"\nrange = \"1999..=2000\"\ngroup_size = 2\n",
        ),
        range(
            "name = \"g-{first}\"\nevent = \"dialog\"\nrange = \"1000..=1999\"\ngroup_size = 9\n",
        ) + "[limits]\nlist_member_count_max = 8\n",
        of_presence("[\"1000\", \"1001\"]") + "[limits]\nlist_member_count_max = 1\n",
        of_presence("[]"),
        of_presence("[\"\", \"@office\", \"1000@\", \"1000\"]"),
        of_presence("[5]"),
        of_presence("[{ exten = \"1000\", contxt = \"x\" }]"),
        of_presence("[\"1000\"]\nfull = true"),
        of_presence("[\"1000\"]\nbatch_interval_ms = -1"),
        of_presence("[\"1000\"]\ntenant = \"nobody\""),
        of_presence("[\"1000\"]") + &of_presence("[\"1001\"]"),
        list("items = [\"1000\"]\n"),
        list("event = \"dialog\"\nevents = [\"presence\"]\nitems = [\"1000\"]\n"),
        list("event = \"Dialog\"\nitems = [\"1000\"]\n"),
        list("events = [\"presence\", \"refer\"]\nitems = [\"1000\"]\n"),
        list("event = \"presence\"\n"),
        "[[list]]\nname = \"\"\nevent = \"presence\"\nitems = [\"1000\"]\n".into(),
        range("name = \"blf\"\nevent = \"dialog\"\nrange = \"1000..=1999\"\ngroup_size = 2\n"),
        range("name = \"{exten}\"\nevent = \"dialog\"\nrange = \"1000..=1999\"\ngroup_size = 2\n"),
        range("name = \"b-{exten}\"\nevent = \"dialog\"\nrange = \"1000-1999\"\ngroup_size = 2\n"),
        range("name = \"b-{exten}\"\nevent = \"dialog\"\nrange = \"a..=b\"\ngroup_size = 2\n"),
        range(
            "name = \"b-{exten}\"\nevent = \"dialog\"\nrange = \"1000..=1999\"\ngroup_size = 0\n",
        ),
        range("name = \"b-{exten}\"\nevent = \"dialog\"\nrange = \"1000..=1999\"\n"),
        range("name = \"b-{exten}\"\nevent = \"x\"\nrange = \"1000..=1999\"\ngroup_size = 2\n"),
        range("name = \"b-{exten}\"\nrange = \"1000..=1999\"\ngroup_size = 2\n"),
        "[[tenant]]\nname = \"*\"\n".into(),
        endpoint("575"),
        endpoint("65508"),
        "[limits]\nlist_depth_max = 0\n".into(),
    ] {
        let dir = native(&text);
        match dir.native() {
            Ok(loaded) => out.push_str(&format!("warning: {}\n", dir.warnings(&loaded))),
            errors => out.push_str(&format!("error: {}\n", dir.errors(errors))),
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn an_endpoint_may_bound_its_notifications() {
    let dir = native(
        "[[endpoint]]\nname = \"far\"\ncontext = \"office\"\nmatch = [\"::1\"]\n\
         notify_bytes_max = 1400\n[limits]\nnotify_bytes_max = 9000\nlist_member_count_max = 5\n",
    );
    let core = dir.native().unwrap().node.core;
    let bounds: Vec<_> = core.endpoints.iter().map(|e| (&*e.name, e.notify_bytes_max)).collect();
    assert_eq!(bounds, [("phones", None), ("far", Some(1400))]);
    assert_eq!((core.limits.notify_bytes_max, core.limits.list_member_count_max), (9000, 5));
}

#[test]
fn lists_of_an_asterisk_directory_belong_to_its_tenant() {
    let toml = "asterisk_dir = \"etc\"\nasterisk_tenant = \"beta\"\n[[tenant]]\nname = \"alpha\"\n\
                [[tenant]]\nname = \"beta\"\n";
    let pjsip = format!("{ENDPOINT}[sales]\ntype=resource_list\nevent=presence\nlist_item=1000\n");
    let dir = Dir::new(&[
        ("lampfield.toml", toml),
        ("etc/extensions.conf", EXTENSIONS),
        ("etc/pjsip.conf", &pjsip),
    ]);
    let loaded = dir.native().unwrap();
    assert_eq!(dir.warnings(&loaded), "");
    assert_eq!(find(&loaded, TenantId(0), "sales", Package::Presence), None);
    assert!(find(&loaded, TenantId(1), "sales", Package::Presence).is_some());
}

#[test]
fn twenty_thousand_lists_of_fifty_load_fast_and_deep_nesting_is_no_danger() {
    let mut pjsip = String::from(ENDPOINT);
    for n in 0..20_000 {
        let items: Vec<String> = (0..50).map(|m| (1000 + (n + m) % 2000).to_string()).collect();
        pjsip.push_str(&format!(
            "[l{n}]\ntype=resource_list\nevent=dialog\nlist_item={},l{}\n",
            items.join(","),
            n + 1
        ));
    }
    let extensions: String =
        (1000..3000).map(|n| format!("exten => {n},hint,Custom:{n}\n")).collect();
    let extensions = format!("[office]\n{extensions}");
    let dir = Dir::new(&[("extensions.conf", &extensions), ("pjsip.conf", &pjsip)]);
    let start = std::time::Instant::now();
    let options = LoadOptions { asterisk: Some(dir.0.clone()), ..LoadOptions::default() };
    let loaded = load(&options).unwrap();
    let elapsed = start.elapsed();
    // The last of the chain names a list that there is not.
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert_eq!(loaded.node.core.lists.rows(T).count(), 20_000);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}
