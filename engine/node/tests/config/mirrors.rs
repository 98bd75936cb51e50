//! Mirrors of PBXs in `lampfield.toml`, and of the Asterisk whose directory is read.

use std::time::Duration;

use lampfield::config::{ConfigErrors, LoadOptions, Loaded, MirrorLogin, StalePolicy, load};
use lampfield_core::placement::TenantId;

use super::{Dir, report};

const EVERYTHING: &str = r#"
[[tenant]]
name = "alpha"

[[tenant]]
name = "beta"

[[mirror]]
name = "pbx1"
address = "pbx1.example.org"
user = "lampfield"
secret_file = "pbx1.secret"
login = "plain"
tenants = ["beta", "alpha", "beta"]
devices = ["PJSIP/1*", "!PJSIP/19*"]
stale = "keep"
stale_after_s = 0
retry_s = 2
retry_max_s = 30
ping_s = 20
answer_s = 10
resync_s = 0
name_count_max = 1000

[[mirror]]
address = "192.0.2.1:5039"
user = "lampfield"
secret = "s3cret"
tenant = "*"
"#;

#[test]
fn a_mirror_has_what_the_file_says_and_defaults() {
    let dir = Dir::new(&[("lampfield.toml", EVERYTHING), ("pbx1.secret", "geheim \nrest\n")]);
    let loaded = dir.native().unwrap();
    let text = report(&loaded);
    assert!(
        text.contains(
            "mirror pbx1 at pbx1.example.org:5038 as lampfield for tenant alpha, beta, devices \
         PJSIP/1* !PJSIP/19*, keep when lost for 0 s\n\
         mirror 192.0.2.1:5039 at 192.0.2.1:5039 as lampfield for tenant alpha, beta, \
         unavailable when lost for 300 s\n"
        ),
        "{text}"
    );
    assert!(!text.contains("geheim") && !text.contains("s3cret"));
    let [one, other] = &loaded.node.mirrors[..] else { panic!("two mirrors") };
    assert_eq!((one.secret.0.as_str(), one.login), ("geheim", MirrorLogin::Plain));
    assert_eq!(one.tenants, [TenantId(0), TenantId(1)]);
    assert_eq!((one.stale, one.stale_after), (StalePolicy::Keep, Duration::ZERO));
    let seconds = [one.retry, one.retry_max, one.ping, one.answer, one.resync];
    assert_eq!(seconds.map(|time| time.as_secs()), [2, 30, 20, 10, 0]);
    assert!(one.devices.contains("PJSIP/18") && !one.devices.contains("PJSIP/191"));
    assert_eq!((other.login, other.tenants.len()), (MirrorLogin::Md5, 2));
}

#[test]
fn what_is_wrong_with_a_mirror_names_line_and_column() {
    for (more, want) in [
        ("", ""),
        ("address = \"a b\"", "5:11: HOST or HOST:PORT expected"),
        ("user = \"\"", "6:8: the name of a manager user expected"),
        ("secret = \"\"", "7:10: a secret that is not empty expected"),
        ("secret_file = \"x\"", "4:1: either secret or secret_file expected"),
        ("login = \"sha\"", "8:9: login = \"md5\" or \"plain\" expected"),
        ("tenant = \"beta\"", "8:10: there is no [[tenant]] named beta"),
        ("tenants = [\"beta\"]", "8:12: there is no [[tenant]] named beta"),
        ("tenant = \"alpha\"\ntenants = [\"alpha\"]", "8:10: either tenant or tenants expected"),
        ("devices = [\"!\"]", "8:12: a name expected, in which * stands for any text"),
        ("stale = \"gone\"", "8:9: stale = \"keep\", \"unknown\" or \"unavailable\" expected"),
        ("retry_s = 0", "8:11: a number of seconds from 1 to 86400 expected"),
        ("ping_s = 100000", "8:10: a number of seconds from 1 to 86400 expected"),
        ("retry_max_s = 1\nretry_s = 2", "4:1: retry_max_s is less than retry_s"),
        ("name_count_max = 0", "8:18: a number from 1 on expected"),
        (
            "[[mirror]]\naddress = \"pbx\"\nuser = \"u\"\nsecret = \"s\"",
            "8:1: 'pbx' is no name, or that of another mirror",
        ),
    ] {
        let mut lines: Vec<&str> = vec!["[[tenant]]", "name = \"alpha\"", "", "[[mirror]]"];
        lines.extend(["address = \"pbx\"", "user = \"u\"", "secret = \"s\""]);
        let key = more.split(' ').next().unwrap_or_default();
        match lines.iter().position(|line| line.starts_with(&format!("{key} ="))) {
            Some(at) if at >= 4 => lines[at] = more,
            _ => lines.push(more),
        }
        let dir = Dir::new(&[("lampfield.toml", &lines.join("\n"))]);
        let got = match dir.native() {
            Ok(_) => String::new(),
            Err(errors) => dir.strip(&errors.to_string()),
        };
        let want = match want {
            "" => String::new(),
            want => format!("lampfield.toml:{want}"),
        };
        assert_eq!(got, want, "{more}");
    }
    for (secret, want) in [
        (None, "lampfield.toml:4:15: pbx.secret: cannot be read: No such file"),
        (Some(""), "lampfield.toml:4:15: pbx.secret: the first line is empty; a secret expected"),
    ] {
        let text = "[[mirror]]\naddress = \"pbx\"\nuser = \"u\"\nsecret_file = \"pbx.secret\"\n";
        let mut files = vec![("lampfield.toml", text)];
        files.extend(secret.map(|secret| ("pbx.secret", secret)));
        let dir = Dir::new(&files);
        let got = dir.errors(dir.native());
        assert!(got.starts_with(want), "{got}");
    }
}

const MANAGER: &str = "\
[general]
enabled=yes
bindaddr=0.0.0.0
port=5039

[lamp]
secret=s3cret
read=system,call
write=reporting

[weak]
secret=x
read=cdr

[empty]
read=all
write=all
";

fn asterisk(dir: &Dir, mirror: &str) -> Result<Loaded, ConfigErrors> {
    load(&LoadOptions {
        asterisk: Some(dir.0.clone()),
        mirror: Some(mirror.to_owned()),
        ..LoadOptions::default()
    })
}

#[test]
fn the_asterisk_of_a_directory_is_mirrored_as_a_user_of_its_own() {
    let hint = "[office]\nexten => 1,hint,PJSIP/1\n";
    let dir = Dir::new(&[("extensions.conf", hint), ("pjsip.conf", ""), ("manager.conf", MANAGER)]);
    for (wish, address, serves_ami) in [
        ("lamp", "127.0.0.1:5039", false),
        ("lamp@192.0.2.7", "192.0.2.7:5038", true),
        ("lamp@pbx:5040", "pbx:5040", true),
    ] {
        let loaded = asterisk(&dir, wish).unwrap();
        let mirror = &loaded.node.mirrors[0];
        assert_eq!((&*mirror.address, &*mirror.secret.0), (address, "s3cret"), "{wish}");
        assert_eq!((mirror.tenants.len(), loaded.node.ami.is_some()), (1, serves_ami), "{wish}");
        let warnings = dir.warnings(&loaded);
        assert!(!warnings.contains("mirror"), "{wish}: {warnings}");
    }
    let warnings = dir.warnings(&asterisk(&dir, "weak").unwrap());
    for lack in ["read lacks call", "read lacks system", "write lacks reporting and call"] {
        assert!(warnings.contains(&format!("manager.conf:11: mirror weak: {lack}")), "{warnings}");
    }
    for (wish, want) in [
        ("nobody", "manager.conf: mirror nobody: there is no user [nobody]"),
        ("general", "manager.conf: mirror general: there is no user [general]"),
        ("empty", "manager.conf:15: mirror empty: user empty has no secret"),
        ("lamp@a b", "manager.conf: mirror lamp@a b: USER or USER@HOST:PORT expected"),
    ] {
        let errors = dir.errors(asterisk(&dir, wish));
        assert!(errors.starts_with(want), "{wish}: {errors}");
    }
    // The same from a native file.
    let native = "asterisk_dir = \".\"\nasterisk_mirror = \"lamp\"\n";
    std::fs::write(dir.0.join("lampfield.toml"), native).unwrap();
    assert_eq!(dir.native().unwrap().node.mirrors[0].user, "lamp");
    std::fs::write(dir.0.join("lampfield.toml"), "asterisk_mirror = \"lamp\"\n").unwrap();
    assert!(dir.errors(dir.native()).starts_with("lampfield.toml:1:19: asterisk_dir expected"));
}
