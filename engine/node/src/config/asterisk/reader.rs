//! Files in Asterisk's format: sections, templates, includes, comments.
//!
//! ```text
//! ; comment              ;-- block --;            #include "other/*.conf"
//! [basic](!)             ; a template
//! context = office
//! [1000](basic)          ; a section that begins with everything of the template
//! auth => 1000           ; the same as =
//! [1000](+)              ; more for the section before of that name
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::build::Draft;
use super::super::problem::{Place, Problems};
use super::section::{Entry, Section};

/// Depth of includes; Asterisk's own bound.
const INCLUDE_DEPTH_MAX: usize = 10;
/// Files one configuration file may lead to.
const FILE_COUNT_MAX: usize = 10_000;
/// Bytes of one file: a line each for some million hints.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Bytes of one line; Asterisk's own bound.
const LINE_BYTES_MAX: usize = 8192;
/// Entries a section inherits from its templates.
const INHERITED_COUNT_MAX: usize = 10_000;

/// Reads a file and all it includes. `None` if there is no such file.
pub(super) fn read(dir: &Path, name: &str, draft: &mut Draft) -> Option<Vec<Section>> {
    let path = dir.join(name);
    if !path.exists() {
        return None;
    }
    let Draft { problems, files, .. } = draft;
    let mut reader = Reader { dir, problems, files, sections: Vec::new(), open: Vec::new() };
    reader.file(&path, None);
    Some(reader.sections)
}

struct Reader<'a> {
    dir: &'a Path,
    problems: &'a mut Problems,
    files: &'a mut Vec<PathBuf>,
    sections: Vec<Section>,
    /// The files being read, each included by the one before it.
    open: Vec<PathBuf>,
}

impl Reader<'_> {
    /// Reads one file; its first entries belong to section `current`.
    fn file(&mut self, path: &Path, mut current: Option<usize>) {
        let name: Arc<str> = path.to_string_lossy().into();
        let Some(text) = self.contents(path, &name) else { return };
        self.open.push(path.to_owned());
        let mut comment_depth = 0;
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let place = Place::line(&name, at as u32 + 1);
            if line.len() > LINE_BYTES_MAX {
                let text = format!("a line of {} bytes; at most {LINE_BYTES_MAX}", line.len());
                self.problems.error(&place, text);
                continue;
            }
            let line = strip_comments(line, &mut comment_depth);
            match line.trim() {
                "" => {}
                line if line.starts_with('#') => self.directive(line, &place, current),
                line if line.starts_with('[') => current = self.header(line, &place, current),
                line => self.entry(line, &place, current),
            }
        }
        if comment_depth > 0 {
            let text = "a block comment ';--' is not closed with '--;'";
            self.problems.warn(&Place { line: 0, ..Place::line(&name, 0) }, text);
        }
        self.open.pop();
    }

    fn contents(&mut self, path: &Path, name: &Arc<str>) -> Option<String> {
        let place = Place::file(name);
        let failed = |error: std::io::Error| format!("cannot be read: {error}");
        let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
        if size > FILE_BYTES_MAX {
            self.problems.error(&place, format!("{size} bytes; at most {FILE_BYTES_MAX}"));
            return None;
        }
        if self.files.len() >= FILE_COUNT_MAX {
            self.problems.error(&place, format!("more than {FILE_COUNT_MAX} files are included"));
            return None;
        }
        let bytes = fs::read(path).map_err(|e| self.problems.error(&place, failed(e))).ok()?;
        self.files.push(path.to_owned());
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) => {
                let text = "is not UTF-8: other characters than ASCII are replaced";
                self.problems.warn(&place, text);
                Some(String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        }
    }

    /// `#include "name"`, `#tryinclude <name>`, `#exec …`.
    fn directive(&mut self, line: &str, place: &Place, current: Option<usize>) {
        let (directive, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let argument = argument.trim();
        let argument = argument
            .strip_prefix(['"', '<'])
            .and_then(|inner| inner.split_once(['"', '>']))
            .map_or(argument, |(inner, _)| inner);
        match directive {
            "#include" | "#tryinclude" if argument.is_empty() => {
                self.problems.error(place, format!("{directive} needs the name of a file"));
            }
            "#include" => self.include(argument, true, place, current),
            "#tryinclude" => self.include(argument, false, place, current),
            "#exec" => self.problems.warn(
                place,
                "#exec is refused: a configuration runs no programs; put its output into a file",
            ),
            other => {
                let text = format!("{other} is no directive (#include, #tryinclude); ignored");
                self.problems.warn(place, text);
            }
        }
    }

    fn include(&mut self, pattern: &str, required: bool, place: &Place, current: Option<usize>) {
        let is_glob = pattern.contains(['*', '?']);
        let paths = if is_glob { glob(self.dir, pattern) } else { vec![self.dir.join(pattern)] };
        if is_glob && paths.is_empty() {
            self.problems.warn(place, format!("no file is named {pattern}: nothing is included"));
        }
        for path in paths {
            if !path.is_file() {
                if required {
                    let text = format!("the included file {} does not exist", path.display());
                    self.problems.error(place, text);
                }
            } else if self.open.contains(&path) {
                self.problems.error(place, format!("{} includes itself", path.display()));
            } else if self.open.len() >= INCLUDE_DEPTH_MAX {
                let text = format!("includes are nested more than {INCLUDE_DEPTH_MAX} deep");
                self.problems.error(place, text);
            } else {
                self.file(&path, current);
            }
        }
    }

    /// `[name]`, `[name](!)`, `[name](template,…)`, `[name](+)`. Returns the section to fill.
    fn header(&mut self, line: &str, place: &Place, current: Option<usize>) -> Option<usize> {
        let Some((name, rest)) = line[1..].split_once(']') else {
            self.problems.error(place, "a section name ends in ']'");
            return current;
        };
        let rest = rest.trim();
        let options = match rest.strip_prefix('(').map(|rest| rest.split_once(')')) {
            None => "",
            Some(Some((options, _))) => options,
            Some(None) => {
                self.problems.error(place, "the options of a section end in ')'");
                return current;
            }
        };
        let mut section = Section::new(name, place.clone());
        let mut appends = None;
        for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            match option {
                "!" => section.is_template = true,
                "+" => {
                    appends = self.sections.iter().position(|other| *other.name == *name);
                    if appends.is_none() {
                        let text = format!("[{name}](+) adds to a section that does not exist");
                        self.problems.error(place, text);
                    }
                }
                template => self.inherit(&mut section, template, place),
            }
        }
        if let Some(at) = appends {
            self.sections[at].entries.append(&mut section.entries);
            return Some(at);
        }
        self.sections.push(section);
        Some(self.sections.len() - 1)
    }

    fn inherit(&mut self, section: &mut Section, template: &str, place: &Place) {
        let Some(parent) = self.sections.iter().find(|other| *other.name == *template) else {
            let text = format!("the template [{template}] does not exist (further up)");
            return self.problems.error(place, text);
        };
        if section.entries.len() + parent.entries.len() > INHERITED_COUNT_MAX {
            let text = format!("inherits more than {INHERITED_COUNT_MAX} entries");
            return self.problems.error(place, text);
        }
        section.entries.extend(parent.entries.iter().cloned());
    }

    /// `name = value`, `name => value`, `name += value`.
    fn entry(&mut self, line: &str, place: &Place, current: Option<usize>) {
        let Some(section) = current.map(|at| &mut self.sections[at]) else {
            return self.problems.error(place, "an entry before the first [section]");
        };
        let Some((name, value)) = line.split_once('=') else {
            let text = "'name = value' expected; the line is ignored, as in Asterisk";
            return self.problems.warn(place, text);
        };
        let value = value.strip_prefix('>').unwrap_or(value).trim();
        let (name, appends) = match name.strip_suffix('+') {
            Some(name) => (name.trim(), true),
            None => (name.trim(), false),
        };
        let mut value = value.to_owned();
        if appends && let Some(before) = section.get(name) {
            value.insert_str(0, &before.value);
        }
        section.entries.push(Entry { name: name.into(), value, place: place.clone() });
    }
}

/// A line without comments: `;` to the end, `;-- … --;` over lines and nested. `\;` is a `;`.
fn strip_comments(line: &str, depth: &mut u32) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    loop {
        if *depth > 0 {
            let end = rest.find("--;");
            match rest.find(";--") {
                Some(start) if end.is_none_or(|end| start < end) => {
                    *depth += 1;
                    rest = &rest[start + 3..];
                }
                _ => {
                    let Some(end) = end else { return out };
                    *depth -= 1;
                    rest = &rest[end + 3..];
                }
            }
            continue;
        }
        let Some(at) = rest.find(';') else {
            out.push_str(rest);
            return out;
        };
        let (before, comment) = (&rest[..at], &rest[at..]);
        if let Some(before) = before.strip_suffix('\\') {
            out.push_str(before);
            out.push(';');
            rest = &comment[1..];
            continue;
        }
        out.push_str(before);
        if !comment.starts_with(";--") || comment.starts_with(";---") {
            return out;
        }
        *depth += 1;
        rest = &comment[3..];
    }
}

/// The files a pattern with `*` and `?` names, sorted. Any part of the path may have them.
fn glob(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') { "/".into() } else { dir.to_owned() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for dir in found {
            if !part.contains(['*', '?']) {
                next.push(dir.join(part));
                continue;
            }
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let hidden = |name: &str| name.starts_with('.') && !part.starts_with('.');
            let mut names: Vec<_> = names
                .filter(|name| !hidden(name) && glob_fits(part.as_bytes(), name.as_bytes()))
                .collect();
            names.sort_unstable();
            next.extend(names.into_iter().map(|name| dir.join(name)));
        }
        found = next;
        found.retain(|path| path.exists());
    }
    found
}

/// Whether `name` fits a pattern with `*` and `?`. Linear but for one step back per star.
fn glob_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star_p, star_n)) = star else { return false };
                star = Some((star_p, star_n + 1));
                p = star_p + 1;
                n = star_n + 1;
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_escaped_semicolons_stay() {
        for (lines, want) in [
            (&["a = b ; c"][..], &["a = b "][..]),
            (&["a = b\\;c ; d"], &["a = b;c "]),
            (&["a ;-- x --; = b"], &["a  = b"]),
            (&["a = b ;-- x", "y = z", "--; c"], &["a = b ", "", " c"]),
            (&[";-- a ;-- b --; c", "d --;e"], &["", "e"]),
            (&["a = b ;--- no block", "c"], &["a = b ", "c"]),
            (&[";-- one", "two"], &["", ""]),
        ] {
            let mut depth = 0;
            let got: Vec<_> = lines.iter().map(|line| strip_comments(line, &mut depth)).collect();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn file_names_fit_their_patterns() {
        for (pattern, name, want) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXcXb", false),
            ("?.conf", "ab.conf", false),
            ("*", "", true),
            ("x", "", false),
        ] {
            assert_eq!(glob_fits(pattern.as_bytes(), name.as_bytes()), want, "{pattern} {name}");
        }
    }
}
