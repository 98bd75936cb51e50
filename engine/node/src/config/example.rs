//! Configurations that need no file, and files to begin with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lampfield_core::config::{Dialect, Endpoint, Network, PublishScope};
use lampfield_core::dialplan::{Globals, HintRange, Template};
use lampfield_core::flow::Transport;
use lampfield_core::list::{List, ListItem};
use lampfield_core::package::Package;
use lampfield_core::placement::TenantId;

use super::Listen;
use super::build::Draft;
use super::load::sip_port;
use super::problem::Place;

/// What `lampfield run` alone serves: extensions 1000 to 1099, to this machine only.
const EMBEDDED: (&str, &str, &str) = ("1000", "1099", "Custom:lamp{exten},CustomPresence:{exten}");

/// A list for each package, to subscribe to.
const LISTS: [(&str, Package); 2] = [("team", Package::Presence), ("lamps", Package::Dialog)];

/// Members of each of [`LISTS`].
const MEMBER_COUNT: u32 = 10;

/// Fills in the example: one tenant, one range of hints, two lists, one endpoint for the loopback networks,
/// AMI on loopback with a secret drawn at start.
pub(super) fn embedded(draft: &mut Draft, dialect: Option<Dialect>) {
    let place = Place::default();
    let Some(tenant) = draft.tenant("example") else { return };
    let (first, last, hint) = EMBEDDED;
    match Template::parse(hint, &Globals::new(), "") {
        Ok(template) => {
            let range = HintRange { first: first.into(), last: last.into(), template };
            let result = draft.core.dialplan.add_range(tenant, "default", range);
            draft.dialplan(&place, false, result);
        }
        Err(error) => draft.problems.error(&place, error.to_string()),
    }
    lists(draft, tenant);
    draft.core.dialect = dialect.unwrap_or_default();
    let endpoint = Endpoint {
        name: "loopback".into(),
        tenant,
        context: "default".into(),
        allow_subscribe: true,
        allow_publish: PublishScope::Any,
        allow_register: PublishScope::Any,
        dialect: draft.core.dialect,
        ..Endpoint::default()
    };
    if let Some(endpoint) = draft.endpoint(&place, endpoint) {
        let v4 = Network { address: [127, 0, 0, 0].into(), prefix: 8 };
        let v6 = Network { address: std::net::Ipv6Addr::LOCALHOST.into(), prefix: 128 };
        draft.identify(&place, v4, endpoint);
        draft.identify(&place, v6, endpoint);
    }
    let bind = (std::net::Ipv4Addr::LOCALHOST, sip_port(Transport::Udp)).into();
    let listen = |transport| Listen::plain(transport, bind);
    draft.listen.extend([Transport::Udp, Transport::Tcp].map(listen));
    draft.ami_enabled = true;
}

fn lists(draft: &mut Draft, tenant: TenantId) {
    let items: Arc<[ListItem]> =
        (0..MEMBER_COUNT).map(|n| ListItem::parse(&(1000 + n).to_string())).collect();
    for (name, package) in LISTS {
        let list = List {
            name: name.into(),
            package,
            items: Arc::clone(&items),
            full_state: false,
            batch_interval: Duration::ZERO,
            display_names: false,
            origin: "example".into(),
        };
        draft.list(&Place::default(), false, tenant, list);
    }
}

/// Members of the lists in the files: `hint_count` may be less.
fn members(hint_count: u32, mark: &str, between: &str) -> String {
    let numbers = (0..hint_count.min(MEMBER_COUNT)).map(|n| format!("{mark}{}{mark}", 10_000 + n));
    numbers.collect::<Vec<_>>().join(between)
}

/// Writes an Asterisk-style directory: `hint_count` hints in context `hints`, two lists, an
/// endpoint for the loopback network, AMI user `demo`. Existing files are not overwritten.
///
/// # Errors
///
/// What the file system refused.
pub fn write_asterisk(dir: &Path, hint_count: u32) -> anyhow::Result<()> {
    use std::fmt::Write as _;
    let mut extensions = String::from(EXTENSIONS_HEAD);
    for exten in (0..hint_count).map(|n| 10_000 + n) {
        let _ =
            writeln!(extensions, "exten => {exten},hint,Custom:lamp{exten},CustomPresence:{exten}");
    }
    let pjsip = PJSIP.replace("MEMBERS", &members(hint_count, "", ","));
    std::fs::create_dir_all(dir)?;
    for (name, text) in
        [("extensions.conf", &*extensions), ("pjsip.conf", &*pjsip), ("manager.conf", MANAGER)]
    {
        write_new(&dir.join(name), text)?;
    }
    Ok(())
}

/// Writes a `lampfield.toml` that serves `hint_count` numbers from 10000 on to this machine.
///
/// # Errors
///
/// What the file system refused.
pub fn write_native(dir: &Path, hint_count: u32) -> anyhow::Result<()> {
    let last = (10_000 + hint_count - 1).to_string();
    std::fs::create_dir_all(dir)?;
    let text = NATIVE.replace("LAST", &last).replace("MEMBERS", &members(hint_count, "\"", ", "));
    write_new(&dir.join("lampfield.toml"), &text)
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

const NATIVE: &str = r#"# Example node: everything on this machine may subscribe.
[[listen]]
transport = "udp"
bind = "127.0.0.1:5060"

[[listen]]
transport = "tcp"
bind = "127.0.0.1:5060"

[[endpoint]]
name = "local"
context = "hints"
match = ["127.0.0.0/8", "::1"]

# One line for any number of extensions: each exists once somebody asks for it.
[[hint_range]]
context = "hints"
range = "10000..=LAST"
hint = "Custom:lamp{exten},CustomPresence:{exten}"

# A phone subscribes once to a list instead of once to every lamp.
[[list]]
name = "team"
event = "presence"
items = [MEMBERS]

[[list]]
name = "lamps"
event = "dialog"
items = [MEMBERS]

# Or one line for everybody: list blf-10007 shows the others of the fifty that 10007 is one of.
[[list_range]]
name = "blf-{exten}"
event = "dialog"
range = "10000..=LAST"
group_size = 50

[ami]
bind = "127.0.0.1:5038"

[[ami.user]]
name = "demo"
secret = "demo"
read = ["all"]
write = ["all"]
"#;

const EXTENSIONS_HEAD: &str = "\
; Example dialplan: one hint per line, as Asterisk reads them.
[general]

[hints]
; Any number of the form 77XX exists once somebody asks for it.
exten => _77XX,hint,Custom:p${EXTEN},CustomPresence:p${EXTEN}

";

const PJSIP: &str = "\
; Example endpoints: everything on this machine may subscribe to the hints.
[global]
type=global
user_agent=Lampfield demo

[transport-udp]
type=transport
protocol=udp
bind=127.0.0.1:5060

[transport-tcp]
type=transport
protocol=tcp
bind=127.0.0.1:5060

[local]
type=endpoint
context=hints
identify_by=ip

[local]
type=identify
endpoint=local
match=127.0.0.0/8

; A phone subscribes once to a list instead of once to every lamp.
[team]
type=resource_list
event=presence
list_item=MEMBERS

[lamps]
type=resource_list
event=dialog
list_item=MEMBERS
";

const MANAGER: &str = "\
; Example AMI: this machine only.
[general]
enabled=yes
bindaddr=127.0.0.1
port=5038

[demo]
secret=demo
read=all
write=all
";
