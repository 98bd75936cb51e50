//! Where we differ from an Asterisk on purpose. `docs/DIALECTS.md` has the list for users.

/// A fact that differs from the captured one.
pub(crate) struct Difference<'d> {
    pub(crate) title: &'d str,
    pub(crate) name: &'d str,
    pub(crate) want: &'d str,
    pub(crate) got: &'d str,
}

/// They identify the dialog; RFC 3261 section 8.2.6.2 wants them copied.
pub(crate) const PARTIES: &str = "From and To keep their port";
/// Lists of what a PBX can do: we can less.
pub(crate) const ABILITIES: &str = "no Allow and Supported in answers to SUBSCRIBE";
pub(crate) const PACKAGES: &str = "Allow-Events names the packages we have";
/// A scanner learns nothing.
pub(crate) const SERVER: &str = "strangers are not told what we are";
/// Strict phones discard a document with an equal version.
pub(crate) const VERSION: &str = "the document version rises with every NOTIFY";
/// Numbers of both are arbitrary.
pub(crate) const ATOM: &str = "an atom has a number of ours";
/// A lost answer must not darken a lamp for an hour.
pub(crate) const SUSPECT: &str = "a silent watcher is probed, not dropped";

type Is = fn(&Difference<'_>) -> bool;

/// Every deliberate difference, and when a difference is it.
const DEVIATIONS: [(&str, Is); 7] = [
    (PARTIES, |d| d.name.ends_with(" as written") && d.got.starts_with(&format!("{}:", d.want))),
    (ABILITIES, |d| matches!(d.name, "Allow" | "Supported") && d.got == "(absent)"),
    (PACKAGES, |d| d.name == "Allow-Events" && d.got == "presence, dialog"),
    (SERVER, |d| d.name == "Server" && d.title.starts_with("unidentified source")),
    (VERSION, |d| {
        let number = |text: &str| text.parse::<u32>().ok();
        d.name == "version" && number(d.want) < number(d.got)
    }),
    (ATOM, |d| {
        let id = |text: &str| text.split(' ').next().map(str::to_owned);
        d.name == "atom" && id(d.want) == id(d.got) && d.got.split(' ').all(|id| !id.is_empty())
    }),
    (SUSPECT, |d| {
        d.name == "is subscribed" && d.got == "true" && d.title.starts_with("NOTIFY never answered")
    }),
];

/// Why we differ here; `None` if nobody knows.
pub(crate) fn reason_of(difference: &Difference<'_>) -> Option<&'static str> {
    DEVIATIONS.iter().find(|(_, is)| is(difference)).map(|(reason, _)| *reason)
}
