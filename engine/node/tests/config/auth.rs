//! Which algorithms an endpoint is asked for.

use lampfield_core::digest::Algorithm;

use super::{ConfigErrors, Dir, Loaded};

const SHA256: &str = "36bb9e4f0bc1d6a7bbf18bbd8d4ecbe3ebbcd4a1ee0b2a57ae50fcbd4e1f5c11";
const MD5: &str = "156e960d0feb6ad5d3c516fe159a3d03";

#[test]
fn an_asterisk_asks_for_md5_unless_it_is_told_otherwise() {
    for (global, auth, want) in [
        ("", "password=secret", Ok("MD5")),
        ("default_auth_algorithms_uas=SHA-256,MD5", "password=secret", Ok("SHA-256 MD5")),
        ("default_auth_algorithms_uas=SHA-1,MD5", "password=secret", Ok("MD5")),
        ("", "password=secret\nsupported_algorithms_uas=sha-512-256", Ok("SHA-512-256")),
        ("", "md5_cred={md5}", Ok("MD5")),
        ("", "password_digest=MD5:{md5}", Ok("MD5")),
        ("", "password_digest=SHA-256:{sha}", Ok("SHA-256")),
        (
            "default_auth_algorithms_uas=SHA-256,MD5",
            "password_digest=SHA-256:{sha}\npassword_digest=MD5:{md5}",
            Ok("SHA-256 MD5"),
        ),
        ("", "password_digest=SHA-256:{md5}", Err("64 hexadecimal digits expected")),
        ("", "password_digest=SHA-1:{md5}", Err("ALGORITHM:HASH expected")),
        ("", "realm=r", Err("needs username and password")),
    ] {
        let auth = auth.replace("{md5}", MD5).replace("{sha}", SHA256);
        let pjsip = format!(
            "[global]\ntype=global\n{global}\n[a]\ntype=auth\nusername=1000\nrealm=lab\n{auth}\n\
             [1000]\ntype=endpoint\ncontext=office\nauth=a\n"
        );
        let dir = Dir::new(&[
            ("extensions.conf", "[office]\nexten => 1000,hint,PJSIP/1000\n"),
            ("pjsip.conf", &pjsip),
        ]);
        check(dir.asterisk(), want, &pjsip);
    }
}

#[test]
fn a_native_file_asks_for_the_strong_one_first() {
    for (node, auth, want) in [
        ("", "password = \"secret\"", Ok("SHA-256 MD5")),
        ("dialect = \"asterisk\"", "password = \"secret\"", Ok("MD5")),
        ("digest_algorithms = [\"md5\"]", "password = \"secret\"", Ok("MD5")),
        (
            "digest_algorithms = [\"md5\"]",
            "password = \"secret\", algorithms = [\"SHA-512-256\", \"SHA-256\"]",
            Ok("SHA-512-256 SHA-256"),
        ),
        ("", "ha1_md5 = \"{md5}\"", Ok("MD5")),
        ("", "ha1_md5 = \"{md5}\", ha1_sha256 = \"{sha}\"", Ok("SHA-256 MD5")),
        ("", "ha1_sha512_256 = \"{sha}\"", Ok("SHA-512-256")),
        ("", "ha1_sha256 = \"{md5}\"", Err("64 hexadecimal digits expected")),
        ("", "ha1_md5 = \"{md5}\", password = \"x\"", Err("either password or")),
        ("", "password = \"x\", algorithms = [\"SHA-1\"]", Err("SHA-1: MD5, SHA-256 or")),
        ("digest_algorithms = []", "password = \"x\"", Err("at least one algorithm")),
    ] {
        let auth = auth.replace("{md5}", MD5).replace("{sha}", SHA256);
        let text = format!(
            "[node]\n{node}\n[[hint]]\nexten = \"1\"\nhint = \"Custom:x\"\n\
             [[endpoint]]\nname = \"a\"\nauth = {{ username = \"u\", {auth} }}\n"
        );
        let dir = Dir::new(&[("lampfield.toml", &text)]);
        check(dir.native(), want, &text);
    }
}

/// The algorithms the first endpoint is asked for, or what is said against the file.
fn check(result: Result<Loaded, ConfigErrors>, want: Result<&str, &str>, text: &str) {
    let asked = result.map_err(|errors| errors.to_string()).map(|loaded| {
        let auth = loaded.node.core.endpoints[0].auth.as_ref().expect("credentials");
        let tokens: Vec<_> = auth.secrets.iter().map(|secret| secret.algorithm.token()).collect();
        tokens.join(" ")
    });
    match want {
        Ok(want) => assert_eq!(asked.as_deref(), Ok(want), "{text}"),
        Err(want) => assert!(asked.as_ref().is_err_and(|e| e.contains(want)), "{asked:?}: {text}"),
    }
}

#[test]
fn a_password_is_hashed_with_the_realm_it_is_asked_for_in() {
    assert_eq!(&*Algorithm::Md5.ha1("1000", "lab", "secret"), MD5);
}
