//! The report's page in a real browser: Debian's Chromium, without a screen or network.
//!
//! It runs when `LAMPFIELD_INTEROP=1` is set, as `make test` does after installing the browser;
//! without it it says so and ends, so that `cargo test` needs nothing but Rust.

#[expect(dead_code, reason = "the stories in the other target use the rest")]
#[path = "loadgen/stage.rs"]
mod stage;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use stage::{Target, lampload};

const SCENARIO: &str = r#"
name = "a <small> run"
[target]
address = "127.0.0.1:9"
[states]
by = "publish"
[population]
extensions = "lamp{0..9}"
[lists]
name = "blf-{exten}"
members = 5
[generator]
max_own_lateness = "60s"
[[phase]]
kind = "ramp"
[[phase]]
kind = "steady"
duration = "2s"
rate = "50/s"
settle = "1s"
[[phase]]
kind = "drain"
"#;

/// The page as the browser has it after loading.
fn dumped(page: &Path, profile: &Path) -> String {
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .stderr(Stdio::null())
        .output()
        .expect("chromium starts: Debian has it in the package chromium");
    assert!(output.status.success(), "chromium: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// The text of the element with this id.
fn text_of<'a>(dom: &'a str, id: &str) -> &'a str {
    let at = dom.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("no {id} in {dom}"));
    let rest = &dom[at..];
    let start = rest.find('>').expect("the tag ends") + 1;
    let end = rest[start..].find("</").expect("the element ends") + start;
    &rest[start..end]
}

#[test]
fn the_page_shows_in_a_browser_what_the_json_says() {
    if std::env::var_os("LAMPFIELD_INTEROP").is_none_or(|value| value != "1") {
        eprintln!("not run: LAMPFIELD_INTEROP=1 is not set (make test sets it)");
        return;
    }
    let directory: PathBuf =
        std::env::temp_dir().join(format!("lampload-page-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (scenario, page) = (directory.join("s.toml"), directory.join("report.html"));
    std::fs::write(&scenario, SCENARIO).expect("written");
    let [scenario_path, page_path] = [&scenario, &page].map(|path| path.to_str().expect("text"));
    let target = Target::start(&["--scenario", scenario_path]);
    let address = format!("target.address={}", target.address);
    let words = ["run", "--json", "-", "--report", page_path, scenario_path, "--set", &address];
    let run = lampload(&words);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = run.json();
    let dom = dumped(&page, &directory.join("profile"));
    std::fs::remove_dir_all(&directory).expect("removed");

    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).expect(pointer);
    assert_eq!(text_of(&dom, "outcome"), "ok");
    assert_eq!(text_of(&dom, "wrong-lamps"), "0");
    assert_eq!(text_of(&dom, "judged-lamps"), "50");
    assert_eq!(text_of(&dom, "notify-rate"), format!("{:.0}", number("/notify/per_s")));
    let p99 = format!("{:.2} ms", number("/latency/from_intended/p99_ms"));
    assert_eq!(text_of(&dom, "p99"), p99);
    let embedded: Value = serde_json::from_str(text_of(&dom, "report")).expect("the same JSON");
    assert_eq!(embedded, report);
    // What the browser could not read as SVG it would not give back as polylines in it.
    assert_eq!(dom.matches("<svg").count(), 4, "{dom}");
    assert_eq!(dom.matches("<polyline").count(), 8, "{dom}");
    assert!(dom.contains("<h1>a &lt;small&gt; run</h1>") && !dom.contains("NaN"), "{dom}");
}
