//! From a file, and `--set` options, to a checked [`Loaded`]; errors say where they are.

use std::path::Path;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::Loaded;
use super::check::{Problem, check};
use super::file::{PhaseTable, ScenarioFile};
use crate::outcome::LoadError;

/// Reads, changes and checks a scenario file.
///
/// # Errors
///
/// [`LoadError::Usage`] with file, line and key; [`LoadError::Setup`] when a name has no address.
pub fn load(path: &Path, sets: &[String]) -> Result<Loaded, LoadError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| LoadError::Usage(format!("{}: {error}", path.display())))?;
    let default_name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut loaded = parse(&text, &path.display().to_string(), sets)?;
    if loaded.scenario.name.is_empty() {
        loaded.scenario.name = default_name;
    }
    Ok(loaded)
}

/// [`load`] for a text; `label` stands for its file in errors.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, label: &str, sets: &[String]) -> Result<Loaded, LoadError> {
    // The file alone must be right, so that its errors have lines.
    let file: ScenarioFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        // Of a phase the reader knows only where all phases begin.
        let line = bad_phase(text).map_or(line, |index| line_of(text, &format!("phase.{index}")));
        LoadError::Usage(format!("{label}:{line}: {}", error.message()))
    })?;
    let file = if sets.is_empty() { file } else { with_sets(text, sets)? };
    check(&file).map_err(|problem| match problem {
        Problem::Setup(why) => LoadError::Setup(why),
        Problem::At { key, why } if sets.iter().any(|set| names(set, &key)) => {
            LoadError::Usage(format!("--set {key}: {why}"))
        }
        Problem::At { key, why } => {
            let line = line_of(text, &key);
            LoadError::Usage(format!("{label}:{line}: {key}: {why}"))
        }
    })
}

/// The file with the `--set key=value` options applied. Keys have points; entries of lists are
/// numbered from 0, as in `phase.1.rate`. A value is TOML, or else taken as text.
fn with_sets(text: &str, sets: &[String]) -> Result<ScenarioFile, LoadError> {
    let usage = |set: &str, why: &str| LoadError::Usage(format!("--set {set}: {why}"));
    let mut table: Table = toml::from_str(text).map_err(|error| usage("", error.message()))?;
    for set in sets {
        let (key, value) = set.split_once('=').ok_or_else(|| usage(set, "expected KEY=VALUE"))?;
        let value = value.trim();
        let parsed: Option<Table> = toml::from_str(&format!("v = {value}")).ok();
        let parsed = parsed.and_then(|mut table| table.remove("v"));
        let place = find(&mut table, key.trim()).ok_or_else(|| usage(set, "no such place"))?;
        *place = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    }
    table.try_into().map_err(|error: toml::de::Error| {
        LoadError::Usage(format!("--set {}: {}", sets.join(" "), error.message()))
    })
}

/// The value at a key; missing tables on the way are made.
fn find<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Value> {
    let (first, rest) = match key.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (key, None),
    };
    let empty = || Value::Table(Table::new());
    let mut value = table.entry(first).or_insert_with(empty);
    let Some(mut rest) = rest else {
        return Some(value);
    };
    if let Value::Array(entries) = value {
        let (number, deeper) = rest.split_once('.')?;
        value = entries.get_mut(number.parse::<usize>().ok()?)?;
        rest = deeper;
    }
    match value {
        Value::Table(table) => find(table, rest),
        _ => None,
    }
}

/// The first phase that cannot be read by itself.
fn bad_phase(text: &str) -> Option<usize> {
    let table: Table = toml::from_str(text).ok()?;
    let phases = table.get("phase")?.as_array()?;
    phases.iter().position(|phase| phase.clone().try_into::<PhaseTable>().is_err())
}

fn names(set: &str, key: &str) -> bool {
    set.split_once('=').is_some_and(|(name, _)| name.trim() == key)
}

/// The line of a key, or of the nearest table around it that is there.
fn line_of(text: &str, key: &str) -> usize {
    let Ok(root) = DeTable::parse(text) else {
        return 1;
    };
    let mut found = 0;
    let mut table = root.get_ref();
    let mut words = key.split('.');
    while let Some(word) = words.next() {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == word) else {
            break;
        };
        found = name.span().start;
        let inner: &Spanned<DeValue<'_>> = match value.get_ref() {
            DeValue::Array(entries) => {
                let entry = words.next().and_then(|word| word.parse::<usize>().ok());
                match entry.and_then(|number| entries.get(number)) {
                    Some(entry) => entry,
                    None => break,
                }
            }
            _ => value,
        };
        match inner.get_ref() {
            DeValue::Table(next) => {
                // A table of a list has no key of its own; its first entry is near enough.
                if let Some((name, _)) = next.iter().min_by_key(|(name, _)| name.span().start)
                    && matches!(value.get_ref(), DeValue::Array(_))
                {
                    found = name.span().start;
                }
                table = next;
            }
            _ => break,
        }
    }
    line_at(text, found)
}

fn line_at(text: &str, byte: usize) -> usize {
    1 + text.as_bytes()[..byte.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    const SMALL: &str = r#"
[target]
address = "127.0.0.1:5060"
[states]
by = "publish"
[population]
extensions = "lamp{0..9}"
[watchers]
single = 20
[[phase]]
kind = "ramp"
rate = "100/s"
[[phase]]
kind = "steady"
duration = "2s"
rate = 10
[[phase]]
kind = "drain"
"#;

    fn tried(text: &str, sets: &[&str]) -> Result<Scenario, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        parse(text, "s.toml", &sets).map(|loaded| loaded.scenario).map_err(|e| e.to_string())
    }

    #[test]
    fn a_small_file_is_enough_and_options_change_it() {
        let scenario = tried(SMALL, &[]).expect("valid");
        assert_eq!((scenario.watcher_count, scenario.extensions.len()), (20, 10));
        let scenario = tried(
            SMALL,
            &["watchers.single=30", "phase.1.rate=5/s", "target.domain=x.org", "sources.sockets=3"],
        )
        .expect("valid");
        assert_eq!((scenario.watcher_count, scenario.socket_count), (30, 3));
        assert_eq!(scenario.domain, "x.org");
    }

    #[test]
    fn errors_have_file_line_and_key() {
        for (from, to, want) in [
            ("single = 20", "single = 20\nsinlge = 3", "s.toml:10: unknown field `sinlge`"),
            ("single = 20", "single = \"x\"", "s.toml:9: invalid type"),
            ("kind = \"ramp\"", "kind = \"jump\"", "s.toml:11: unknown variant `jump`"),
            ("rate = 10", "rate = 200000.0", "s.toml:16: phase.1.rate: 200000 is over 100000"),
            ("duration = \"2s\"", "duration = \"2\"", "s.toml:14: \"2\" is not a time"),
            ("lamp{0..9}", "lamp{0..", "s.toml:7: population.extensions: "),
            ("single = 20", "single = 0", "s.toml:9: watchers.single: "),
            ("[states]", "[states", "s.toml:4: "),
            ("rate = 10\n", "", "s.toml:14: phase.1.rate: "),
        ] {
            let text = SMALL.replacen(from, to, 1);
            let error = tried(&text, &[]).expect_err(want);
            assert!(error.starts_with(want), "{to}: {error}");
        }
        for (set, want) in [
            ("phase.1.rate=200000", "--set phase.1.rate: 200000 is over"),
            ("phase.7.rate=2", "--set phase.7.rate=2: no such place"),
            ("watchers", "--set watchers: expected KEY=VALUE"),
            ("watchers.doubel=2", "--set watchers.doubel=2: unknown field"),
        ] {
            let error = tried(SMALL, &[set]).expect_err(set);
            assert!(error.starts_with(want), "{set}: {error}");
        }
    }
}
