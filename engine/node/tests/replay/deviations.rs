//! Where we differ from an Asterisk on purpose. `docs/DIALECTS.md` has the list for users.

/// A fact that differs from the captured one.
pub(crate) struct Difference<'d> {
    pub(crate) title: &'d str,
    pub(crate) name: &'d str,
    pub(crate) want: &'d str,
    pub(crate) got: &'d str,
}

impl<'d> Difference<'d> {
    /// Its name, without the members of a list that it stands under.
    fn fact(&self) -> &'d str {
        self.name.rsplit_once(": ").map_or(self.name, |(_, fact)| fact)
    }
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
/// RFC 4662 section 5.5 wants it for the life of the subscription.
pub(crate) const INSTANCE: &str = "an instance of a list keeps its id";
/// Numbers of both are arbitrary.
pub(crate) const ATOM: &str = "an atom has a number of ours";
/// A lost answer must not darken a lamp for an hour.
pub(crate) const SUSPECT: &str = "a silent watcher is probed, not dropped";
/// Nobody but an Asterisk's own tools hears them.
pub(crate) const SECURITY: &str = "no events of class security";
/// A message must not silently be read as base64.
pub(crate) const BASE64: &str = "option e with texts that are no base64 is refused";
/// Whoever wrote the value can repair it.
pub(crate) const REASON: &str = "a refused value is answered with a reason";
/// A source has one name, however it was spelled.
pub(crate) const SPELLING: &str = "a source is listed once";
/// A scan of numbers must not fill memory.
pub(crate) const PATTERNS: &str = "an extension of a pattern is there while it is watched";
/// A list may be on another shard than its members; `explain` shows that there are some.
pub(crate) const LISTS: &str = "lists are not counted among an extension's watchers";
/// An Asterisk knows it only after a change.
pub(crate) const TOLD: &str = "the state told last is known from the first NOTIFY on";
/// Ours is another.
pub(crate) const DATABASE: &str = "there is no database of an Asterisk";
/// An Asterisk calls it `core show help`.
pub(crate) const HELP: &str = "help is a command";
/// We have no such threads.
pub(crate) const INSIDES: &str = "there are no task processors";

/// What is not there.
pub(crate) const ABSENT: &str = "(absent)";

type Is = fn(&Difference<'_>) -> bool;

/// Every deliberate difference, and when a difference is it.
const DEVIATIONS: [(&str, Is); 18] = [
    (PARTIES, |d| d.name.ends_with(" as written") && d.got.starts_with(&format!("{}:", d.want))),
    (ABILITIES, |d| matches!(d.name, "Allow" | "Supported") && d.got == ABSENT),
    (PACKAGES, |d| d.name == "Allow-Events" && d.got == "presence, dialog, message-summary"),
    (SERVER, |d| d.name == "Server" && d.title.starts_with("unidentified source")),
    (VERSION, |d| {
        let number = |text: &str| text.parse::<u32>().ok();
        d.fact() == "version" && number(d.want) < number(d.got)
    }),
    (INSTANCE, |d| {
        let is_hex = |id: &str| id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        d.fact() == "instance id" && d.want.len() == 5 && is_hex(d.got)
    }),
    (ATOM, |d| {
        let id = |text: &str| text.split(' ').next().map(str::to_owned);
        d.fact() == "atom" && id(d.want) == id(d.got) && d.got.split(' ').all(|id| !id.is_empty())
    }),
    (SUSPECT, |d| {
        d.name == "is subscribed" && d.got == "true" && d.title.starts_with("NOTIFY never answered")
    }),
    (SECURITY, |d| {
        d.name == "message"
            && matches!(d.want, "SuccessfulAuth" | "RequestBadFormat")
            && d.got == ABSENT
    }),
    (BASE64, |d| match d.title {
        "set 'available,,x,ee'" => is_refusal(d) || keeps_the_presence(d),
        "bad forms" => keeps_the_presence(d),
        _ => false,
    }),
    (REASON, |d| d.name == "headers" && d.got == format!("{}, Reason", d.want)),
    (SPELLING, |d| {
        d.title == "PresenceState action"
            && (is_left_out(d, "PresenceStateChange custompresence:bob") || is_count(d, "5", "4"))
    }),
    (PATTERNS, |d| match d.name {
        "core show hints" => {
            let is_one = d.want.starts_with("7701@hints ") || d.want.starts_with("7703@hints ");
            let counts = (d.want, d.got) == ("- 206 hints registered", "- 204 hints registered");
            is_one && d.got == ABSENT || counts
        }
        _ => {
            d.title == "ExtensionState"
                && (is_left_out(d, "ExtensionStatus 7701")
                    || is_left_out(d, "ExtensionStatus 7703")
                    || is_count(d, "205", "203"))
        }
    }),
    (LISTS, |d| match d.name {
        "core show hint lamp0" => is_less_by_one(d, "lamp0@hints ", ["3", "2"]),
        "core show hint lamp1" => is_less_by_one(d, "lamp1@hints ", ["1", "0"]),
        _ => false,
    }),
    (TOLD, |d| match d.name {
        "ExtensionStates" => (d.want, d.got) == ("Unknown", "Idle"),
        _ => {
            let line = |state| format!("ExtensionStates     : {state}");
            d.want == line("Unknown") && d.got == line("Idle")
        }
    }),
    (DATABASE, |d| d.name.starts_with("database show") && is_unknown_command(d)),
    (HELP, |d| d.name == "help pjsip" && (d.got.contains("pjsip show ") || d.want == ABSENT)),
    (INSIDES, |d| d.name.starts_with("core show taskprocessors") && is_unknown_command(d)),
];

fn is_left_out(d: &Difference<'_>, message: &str) -> bool {
    d.name == "message" && d.want == message && d.got == ABSENT
}

fn is_count(d: &Difference<'_>, want: &str, got: &str) -> bool {
    d.name == "ListItems" && (d.want, d.got) == (want, got)
}

/// A line whose watchers are one less.
fn is_less_by_one(d: &Difference<'_>, line: &str, counts: [&str; 2]) -> bool {
    let [Some(want), Some(got)] = [d.want.strip_suffix(counts[0]), d.got.strip_suffix(counts[1])]
    else {
        return false;
    };
    d.want.starts_with(line) && want == got
}

fn is_refusal(d: &Difference<'_>) -> bool {
    is_left_out(d, "PresenceStateChange CustomPresence:bob")
        || (d.name, d.want, d.got) == ("Response", "Success", "Error")
        || (d.name, d.want, d.got) == ("Message", "Variable Set", "Variable not set")
}

/// What was set before stays: `away,a,b`.
fn keeps_the_presence(d: &Difference<'_>) -> bool {
    let before = match d.want {
        "available" => &["away"][..],
        "" => &["a", "b", "YQ==", "Yg=="],
        _ => &[],
    };
    d.name == "Value" && before.contains(&d.got)
}

fn is_unknown_command(d: &Difference<'_>) -> bool {
    d.got == ABSENT || d.got.starts_with("No such command '")
}

/// Why we differ here; `None` if nobody knows.
pub(crate) fn reason_of(difference: &Difference<'_>) -> Option<&'static str> {
    DEVIATIONS.iter().find(|(_, is)| is(difference)).map(|(reason, _)| *reason)
}
