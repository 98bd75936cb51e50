//! Mailboxes: who watches which, from either kind of file.

use lampfield_core::mailbox::CONTEXT;
use lampfield_core::placement::TenantId;

use lampfield::config::Loaded;

use super::Dir;

const T: TenantId = TenantId(0);

/// Devices of an address of record, and its voicemail extension.
fn account(loaded: &Loaded, tenant: TenantId, name: &str) -> Option<String> {
    let found = loaded.node.core.find_hint(tenant, CONTEXT, name)?;
    let extension = found.hint.voicemail_extension.as_deref().unwrap_or("-");
    Some(format!("{} {extension}", found.hint.text))
}

#[test]
fn mailboxes_of_pjsip_conf() {
    let dir = Dir::new(&[
        ("extensions.conf", "[default]\nexten => 1,hint,Custom:x\n"),
        (
            "pjsip.conf",
            "[global]\ntype=global\ndefault_voicemail_extension=*98\n\
             [2000]\ntype=endpoint\nauth=2000\naors=2000, 2001,nosuch\n\
             [2000]\ntype=auth\nusername=2000\npassword=x\n\
             [2000]\ntype=aor\nmailboxes = 2000@default, 7@sales,\nvoicemail_extension=*97\n\
             [2001]\ntype=aor\nmailboxes=2001@default\n\
             [2002]\ntype=aor\nmax_contacts=1\n\
             [own]\ntype=endpoint\nauth=2000\nmailboxes=9@own\nmwi_from_user=x\n",
        ),
    ]);
    let loaded = dir.asterisk().unwrap();
    insta::assert_snapshot!(dir.warnings(&loaded));
    for (name, want) in [
        ("2000", Some("MWI:2000@default&MWI:7@sales *97")),
        ("2001", Some("MWI:2001@default *98")),
        ("2002", None),
        ("own", Some("MWI:9@own *98")),
        ("@2000", Some("MWI:2000@default&MWI:7@sales&MWI:2001@default -")),
        ("@own", Some("MWI:9@own -")),
    ] {
        assert_eq!(account(&loaded, T, name).as_deref(), want, "{name}");
    }
}

#[test]
fn mailboxes_of_a_native_file() {
    let tenants = "[[tenant]]\nname = \"a\"\n[[tenant]]\nname = \"b\"\n\
                   [[endpoint]]\nname = \"phones\"\ntenant = \"b\"\nmatch = [\"::1\"]\ncontext = \"x\"\n";
    let dir = Dir::new(&[(
        "lampfield.toml",
        &format!(
            "{tenants}[[mailbox]]\nname = \"sales\"\ntenant = \"*\"\nmailboxes = [\"1@a\", \"2@a\"]\n\
             voicemail_extension = \"*97\"\nendpoints = [\"phones\"]\n\
             [[mailbox]]\nname = \"more\"\ntenant = \"b\"\nmailboxes = [\"3\"]\n"
        ),
    )]);
    let loaded = dir.native().unwrap();
    for (tenant, name, want) in [
        (0, "sales", Some("MWI:1@a&MWI:2@a *97")),
        (1, "sales", Some("MWI:1@a&MWI:2@a *97")),
        (0, "more", None),
        (1, "more", Some("MWI:3 -")),
        (0, "@phones", None),
        (1, "@phones", Some("MWI:1@a&MWI:2@a -")),
    ] {
        assert_eq!(account(&loaded, TenantId(tenant), name).as_deref(), want, "{tenant} {name}");
    }
    let mut out = String::new();
    for text in [
        "name = \"x\"\nmailboxes = []\n",
        "name = \"\"\nmailboxes = [\"1\"]\n",
        "name = \"x\"\nmailboxes = [\"1\\n2\"]\n",
        "name = \"x\"\nmailboxes = [\"1\"]\nendpoints = [\"nobody\"]\n",
        "name = \"x\"\nmailbox = \"1\"\n",
    ] {
        let dir = Dir::new(&[("lampfield.toml", &format!("[[mailbox]]\n{text}"))]);
        out.push_str(&dir.errors(dir.native()));
        out.push('\n');
    }
    insta::assert_snapshot!("native_errors", out);
}
