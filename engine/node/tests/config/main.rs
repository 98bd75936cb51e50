//! Configuration files as their users meet them: what is served, and what the messages say.

mod asterisk;
mod auth;
mod feeds;
mod lists;
mod mailboxes;
mod mirrors;
mod native;
mod tls;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use lampfield::config::{ConfigErrors, LoadOptions, Loaded, load};

/// The configuration the traces of a real Asterisk were taken with.
const LAB: &str = "tests/fixtures/asterisk-lab";

/// A directory of its own, removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("lampfield-config-{}-{serial}", std::process::id());
        let dir = Self(std::env::temp_dir().join(name));
        for (name, text) in files {
            let path = dir.0.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    /// `text` with this directory's changing name taken out.
    fn strip(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }

    fn asterisk(&self) -> Result<Loaded, ConfigErrors> {
        load(&LoadOptions { asterisk: Some(self.0.clone()), ..LoadOptions::default() })
    }

    fn native(&self) -> Result<Loaded, ConfigErrors> {
        load(&LoadOptions { config: Some(self.0.join("lampfield.toml")), ..LoadOptions::default() })
    }

    fn errors(&self, result: Result<Loaded, ConfigErrors>) -> String {
        self.strip(&result.expect_err("errors expected").to_string())
    }

    fn warnings(&self, loaded: &Loaded) -> String {
        let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        self.strip(&lines.join("\n"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn lab() -> Loaded {
    load(&LoadOptions { asterisk: Some(Path::new(LAB).into()), ..LoadOptions::default() }).unwrap()
}

/// The report without the line that depends on who runs the test.
fn report(loaded: &Loaded) -> String {
    lampfield::check::report(loaded)
}
