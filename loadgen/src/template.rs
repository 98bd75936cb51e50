//! Names from templates: ranges of extensions, and the placeholders of commands and devices.

use crate::limits::{EXTENSION_BYTES_MAX, EXTENSION_COUNT_MAX};

/// Expands `lamp{0..99}`, `1000..1099`, `200` or a comma list of these; both ends are included.
/// A lower end written with leading zeros keeps its width: `{000..099}`. With several braces, as
/// in `t{0..9}x{0..49}`, the last one varies fastest.
///
/// # Errors
///
/// Says which part is wrong: an open brace, an empty or reversed range, too many names, or a name
/// that could not stand in a SIP URI unescaped.
pub fn expand(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for item in text.split(',').map(str::trim) {
        expand_item(item, &mut names)?;
    }
    if let Some(bad) = names.iter().find(|name| !is_plain_user(name)) {
        return Err(format!(
            "extension {bad:?}: use 1 to {EXTENSION_BYTES_MAX} letters, digits or -_.!~*'()&=+$;?/"
        ));
    }
    Ok(names)
}

/// Replaces `{exten}`, `{device}` and `{state}`.
pub fn fill(template: &str, exten: &str, device: &str, state: &str) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        rest = &rest[open..];
        let found = [("{exten}", exten), ("{device}", device), ("{state}", state)]
            .into_iter()
            .find(|(name, _)| rest.starts_with(name));
        let (name, value) = found.unwrap_or(("{", "{"));
        text.push_str(value);
        rest = &rest[name.len()..];
    }
    text.push_str(rest);
    text
}

fn expand_item(item: &str, names: &mut Vec<String>) -> Result<(), String> {
    let mut heads = vec![String::new()];
    let mut rest = item;
    while let Some(open) = rest.find('{') {
        let close = rest[open..]
            .find('}')
            .map(|at| open + at)
            .ok_or_else(|| format!("{item:?}: the brace is not closed; expected {{0..99}}"))?;
        heads = extend(item, &heads, &rest[..open], &rest[open + 1..close], names.len())?;
        rest = &rest[close + 1..];
    }
    if heads.len() == 1 && heads[0].is_empty() && rest.contains("..") {
        names.extend(extend(item, &heads, "", rest, names.len())?);
    } else {
        names.extend(heads.into_iter().map(|head| head + rest));
    }
    Ok(())
}

/// Every head with `prefix` and every number of `range`.
fn extend(
    item: &str,
    heads: &[String],
    prefix: &str,
    range: &str,
    others: usize,
) -> Result<Vec<String>, String> {
    let (first_text, last_text) =
        range.split_once("..").ok_or_else(|| format!("{range:?}: expected FIRST..LAST"))?;
    let number = |text: &str| {
        text.trim_start_matches('=')
            .parse::<u64>()
            .map_err(|_| format!("{text:?} in {item:?} is not a number"))
    };
    let (first, last) = (number(first_text)?, number(last_text)?);
    let count =
        last.checked_sub(first).ok_or_else(|| format!("{item:?}: {first} is after {last}"))?;
    let room = (EXTENSION_COUNT_MAX.saturating_sub(others) / heads.len()) as u64;
    if count >= room {
        return Err(format!("{item:?}: more than {EXTENSION_COUNT_MAX} extensions"));
    }
    let width = if first_text.starts_with('0') { first_text.len() } else { 0 };
    let numbered = |head: &String| {
        let head = format!("{head}{prefix}");
        (first..=last).map(move |number| format!("{head}{number:0width$}"))
    };
    Ok(heads.iter().flat_map(numbered).collect())
}

/// RFC 3261 section 25.1: `user` without escapes.
fn is_plain_user(name: &str) -> bool {
    (1..=EXTENSION_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$;?/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_expand_or_say_what_is_wrong() {
        let ok = |text: &str| expand(text).map(|names| names.join(" "));
        assert_eq!(ok("lamp{0..3}"), Ok("lamp0 lamp1 lamp2 lamp3".into()));
        assert_eq!(ok("1000..1002"), Ok("1000 1001 1002".into()));
        assert_eq!(ok("200, a{08..10}z"), Ok("200 a08z a09z a10z".into()));
        assert_eq!(ok("t{8..9}x{00..01}y"), Ok("t8x00y t8x01y t9x00y t9x01y".into()));
        assert!(expand("t{0..999}x{0..9999}").is_err_and(|error| error.contains("more than")));
        assert_eq!(expand("1..1000000").map(|names| names.len()), Ok(1_000_000));
        for (text, want) in [
            ("lamp{0..3", "not closed"),
            ("lamp{3}", "expected FIRST..LAST"),
            ("lamp{a..3}", "not a number"),
            ("9..3", "is after"),
            ("0..1000000", "more than"),
            ("0..18446744073709551615", "more than"),
            ("", "use 1 to"),
            ("a b", "use 1 to"),
            ("x@y", "use 1 to"),
        ] {
            let error = expand(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn placeholders_are_replaced_once_and_other_braces_stay() {
        let fill = |template| fill(template, "10", "Custom:{state}", "INUSE");
        assert_eq!(fill("{exten}|{device}|{state}"), "10|Custom:{state}|INUSE");
        assert_eq!(fill("awk '{print}' {exten}{"), "awk '{print}' 10{");
    }
}
