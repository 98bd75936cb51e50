//! The named scenarios: each is valid, is what its comment says, and runs at a small size.

use crate::stage::{Target, assert_numbers, lampload};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");

/// Name, what makes it small, and lamps judged then.
const NAMED: [(&str, &[&str], u64); 7] = [
    (
        "busy-hour-1k",
        &[
            "population.extensions={1000..1099}",
            "population.tenants=2",
            "watchers.single=20",
            "sources.sockets=20",
            "phase.1.duration=2s",
            "phase.1.calls.per_extension_per_hour=600",
        ],
        100 * 50 + 20,
    ),
    (
        "boot-storm",
        &["population.extensions={100..199}", "population.tenants=2", "phase.0.window=20"],
        100 * 50,
    ),
    (
        "mega-watched",
        &["watchers.single=100", "lists.watchers_each=10", "phase.1.duration=1s"],
        200,
    ),
    (
        "restart",
        &[
            "population.extensions={300..339}",
            "watchers.single=80",
            "phase.1.duration=1s",
            "phase.2.command=exit 0",
            "phase.3.duration=1s",
        ],
        40 * 10 + 80,
    ),
    (
        "lossy",
        &[
            "population.extensions={400..419}",
            "watchers.single=30",
            "phase.1.duration=1s",
            "phase.2.duration=1s",
            // The null-target sends nothing again, so nothing may be lost here.
            "behaviour.0.receive_loss=0",
            "thresholds.p99_growth=1e9",
            // Nor does it give anybody up.
            "thresholds.dead_told=1000",
        ],
        0,
    ),
    (
        "million-edges",
        &[
            "population.extensions={1000..1099}",
            "population.tenants=2",
            "sources.sockets=20",
            "phase.0.pause=50ms",
            "phase.1.duration=1s",
            "phase.1.rate=100",
        ],
        100 * 50,
    ),
    (
        "ten-million-edges",
        &[
            "population.extensions={1000..1099}",
            "population.tenants=2",
            "sources.sockets=20",
            "phase.0.pause=50ms",
            "phase.1.duration=1s",
        ],
        100 * 50,
    ),
];

#[test]
fn every_file_is_named_here_and_runs() {
    let mut files: Vec<String> = std::fs::read_dir(DIRECTORY)
        .expect("the scenarios")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut names: Vec<String> = NAMED.iter().map(|(name, ..)| format!("{name}.toml")).collect();
    names.sort();
    assert_eq!(files, names);
    for (name, small, judged) in NAMED {
        let path = format!("{DIRECTORY}/{name}.toml");
        let mut words = vec!["run", &path, "--json", "-"];
        let more = ["generator.max_own_lateness=60s", "states.by=publish"];
        small.iter().chain(&more).for_each(|set| words.extend(["--set", set]));
        let mut serving = vec!["--scenario", &path];
        small.iter().for_each(|set| serving.extend(["--set", set]));
        let target = Target::start(&serving);
        let address = format!("target.address={}", target.address);
        words.extend(["--set", &address]);
        let run = lampload(&words);
        assert_eq!(run.code, 0, "{name}: {}{}", run.stdout, run.stderr);
        let report = run.json();
        assert_numbers(&report, &[("/lamps/wrong_lamps_count", 0), ("/notify/lost_count", 0)]);
        if judged > 0 {
            assert_numbers(&report, &[("/lamps/right_count", judged)]);
        }
        assert_eq!(report["scenario"]["name"], name);
    }
}

#[test]
fn a_configuration_is_printed_for_each_server() {
    let path = format!("{DIRECTORY}/million-edges.toml");
    let run = lampload(&["run", &path, "--print-config", "lampfield"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("\nrange = \"100000..=119999\"\ngroup_size = 50\n"));
    let run = lampload(&["run", &path, "--print-config", "asterisk"]);
    assert_eq!(run.stdout.matches("type=resource_list").count(), 20_000);
}
