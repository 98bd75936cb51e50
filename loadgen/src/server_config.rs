//! Configurations of servers for a scenario, so that a newcomer can run it at once:
//! `lampload run SCENARIO --print-config lampfield > lampfield.toml`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::cli::ServerKind;
use crate::population::{Lists, Owner, Watched};
use crate::scenario::{ChangeBy, Scenario, Sources};

/// Context of hints and endpoint.
const CONTEXT: &str = "load";

/// Writes the configuration of `kind`.
pub fn write(kind: ServerKind, scenario: &Scenario) -> String {
    match kind {
        ServerKind::Lampfield => lampfield(scenario),
        ServerKind::Asterisk => asterisk(scenario),
    }
}

fn lampfield(scenario: &Scenario) -> String {
    let mut out = format!("# Lampfield for `lampload run` of {}.\n", scenario.name);
    let _ = write!(
        out,
        "[[listen]]\ntransport = \"udp\"\nbind = \"{}\"\n\n\
         [[endpoint]]\nname = \"lampload\"\ncontext = \"{CONTEXT}\"\nmatch = [\"{}\"]\n",
        scenario.target,
        network(scenario)
    );
    let range = numeric_range(&scenario.extensions);
    match &range {
        Some((first, last)) => {
            let _ = write!(
                out,
                "\n[[hint_range]]\ncontext = \"{CONTEXT}\"\nrange = \"{first}..={last}\"\n\
                 hint = \"{}\"\n",
                scenario.device_template
            );
        }
        None => scenario.extensions.iter().for_each(|exten| {
            let hint = scenario.device(exten);
            let _ = write!(
                out,
                "\n[[hint]]\ncontext = \"{CONTEXT}\"\nexten = \"{exten}\"\nhint = \"{hint}\"\n"
            );
        }),
    }
    match (&scenario.population.lists, range) {
        (Some(lists), Some((first, last))) if is_mesh(lists, scenario) => {
            let _ = write!(
                out,
                "\n[[list_range]]\nname = \"{}\"\nevent = \"{}\"\nrange = \"{first}..={last}\"\n\
                 group_size = {}\nwith_self = true\nbatch_interval_ms = {}\n",
                lists.name, scenario.event, scenario.population.tenant_size, lists.batch_ms
            );
        }
        _ => lists_of(scenario).for_each(|(name, items)| {
            let _ = write!(
                out,
                "\n[[list]]\nname = \"{name}\"\nevent = \"{}\"\nitems = [\"{}\"]\n\
                 batch_interval_ms = {}\n",
                scenario.event,
                items.join("\", \""),
                batch_ms(scenario)
            );
        }),
    }
    if let ChangeBy::Ami { address, user, secret, .. } = &scenario.change_by {
        let _ = write!(
            out,
            "\n[ami]\nbind = \"{}\"\n\n[[ami.user]]\nname = \"{user}\"\nsecret = \"{secret}\"\n\
             read = [\"all\"]\nwrite = [\"all\"]\n",
            bind(address)
        );
    }
    out
}

fn asterisk(scenario: &Scenario) -> String {
    let target = scenario.target;
    let mut out = format!(
        "; ===== pjsip.conf, for `lampload run` of {} =====\n\
         [lampload-udp]\ntype=transport\nprotocol=udp\nbind={target}\n\n\
         [lampload]\ntype=endpoint\ntransport=lampload-udp\ncontext={CONTEXT}\n\
         allow_subscribe=yes\ndisallow=all\nallow=ulaw\naors=lampload\n\n\
         [lampload]\ntype=aor\nmax_contacts=1\n\n\
         [lampload]\ntype=identify\nendpoint=lampload\nmatch={}\n",
        scenario.name,
        network(scenario)
    );
    for (name, items) in lists_of(scenario) {
        let _ = write!(out, "\n[{name}]\ntype=resource_list\nevent={}\n", scenario.event);
        // A line of the file has at most 8191 bytes.
        for some in items.chunks(50) {
            let _ = writeln!(out, "list_item={}", some.join(","));
        }
        let _ = writeln!(out, "notification_batch_interval={}", batch_ms(scenario));
    }
    let _ = write!(out, "\n; ===== extensions.conf =====\n[{CONTEXT}]\n");
    for exten in &scenario.extensions {
        let _ = writeln!(out, "exten => {exten},hint,{}", scenario.device(exten));
    }
    if let ChangeBy::Ami { address, user, secret, .. } = &scenario.change_by {
        let bind = bind(address);
        let _ = write!(
            out,
            "\n; ===== manager.conf =====\n[general]\nenabled=yes\nbindaddr={}\nport={}\n\n\
             [{user}]\nsecret={secret}\nread=call\nwrite=call\n",
            bind.ip(),
            bind.port()
        );
    }
    out
}

/// Every list with its items; inner lists stand before those that name them.
fn lists_of(scenario: &Scenario) -> impl Iterator<Item = (String, Vec<String>)> {
    let population = &scenario.population;
    let in_config = population.lists.as_ref().is_some_and(|lists| !lists.in_request);
    let count = if in_config { population.list_count() } else { 0 };
    (0..count as u32).flat_map(move |list| {
        let watched = Watched::List(list);
        let name = scenario.watched_name(watched);
        let items: Vec<String> = (0..population.member_count(watched))
            .map(|place| scenario.extensions[population.member(watched, place) as usize].clone())
            .collect();
        let inner = population.inner_lists(&name);
        if inner.is_empty() {
            return vec![(name, items)];
        }
        let names = inner.iter().map(|(name, _)| name.clone()).collect();
        let mut lists: Vec<(String, Vec<String>)> =
            inner.into_iter().map(|(name, places)| (name, items[places].to_vec())).collect();
        lists.push((name, names));
        lists
    })
}

fn batch_ms(scenario: &Scenario) -> u32 {
    scenario.population.lists.as_ref().map_or(0, |lists| lists.batch_ms)
}

/// Whether Lampfield's generated lists are these: every tenant a full mesh.
fn is_mesh(lists: &Lists, scenario: &Scenario) -> bool {
    let named_by_first = lists.owner == Owner::Extension || lists.name.contains("{first}");
    let whole = lists.member_count == scenario.population.tenant_size;
    whole
        && named_by_first
        && lists.nested.is_none()
        && !lists.in_request
        && !lists.name.contains("{tenant}")
}

/// First and last, if the extensions are numbers in sequence and of equal length.
fn numeric_range(extensions: &[String]) -> Option<(&str, &str)> {
    let (first, last) = (extensions.first()?, extensions.last()?);
    let number = |text: &String| text.parse::<u64>().ok();
    let from = number(first)?;
    let in_sequence = (from..)
        .zip(extensions)
        .all(|(want, exten)| exten.len() == first.len() && number(exten) == Some(want));
    (in_sequence && extensions.len() > 1).then_some((first, last))
}

fn network(scenario: &Scenario) -> String {
    match scenario.sources {
        Sources::One(address) => format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }),
        Sources::Network { base, prefix_bits } => format!("{base}/{prefix_bits}"),
    }
}

/// Where the manager interface listens: the address we log in at, if it is one.
fn bind(address: &str) -> SocketAddr {
    address.parse().unwrap_or_else(|_| {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(5038)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load::parse;

    fn scenario(extensions: &str, lists: &str) -> Scenario {
        let text = format!(
            "name = \"t\"\ntarget = {{ address = \"127.0.0.1:5060\" }}\n\
             states = {{ by = \"ami://u:s@127.0.0.1\" }}\nsources = {{ address = \"127.0.0.0/8\" }}\n\
             population = {{ extensions = \"{extensions}\", tenants = 2 }}\nlists = {{ {lists} }}\n\
             phase = [{{ kind = \"ramp\" }}, {{ kind = \"drain\" }}]\n"
        );
        parse(&text, "test", &[]).expect("valid").scenario
    }

    #[test]
    fn a_mesh_of_numbers_is_two_ranges_for_lampfield() {
        let text = lampfield(&scenario("{1000..1099}", "name = \"blf-{exten}\""));
        let toml: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(toml["hint_range"][0]["range"].as_str(), Some("1000..=1099"));
        let list = &toml["list_range"][0];
        assert_eq!(list["name"].as_str(), Some("blf-{exten}"));
        assert_eq!(list["group_size"].as_integer(), Some(50));
        assert_eq!(toml["endpoint"][0]["match"][0].as_str(), Some("127.0.0.0/8"));
        assert_eq!(toml["ami"]["bind"].as_str(), Some("127.0.0.1:5038"));
        assert!(!toml.contains_key("hint") && !toml.contains_key("list"));
    }

    #[test]
    fn other_lists_are_written_one_by_one() {
        let scenario = scenario("lamp{0..7}", "name = \"blf-{exten}\", members = 3, nested = 2");
        let text = lampfield(&scenario);
        let toml: toml::Table = toml::from_str(&text).expect("TOML");
        assert_eq!(toml["hint"].as_array().map(Vec::len), Some(8));
        let lists = toml["list"].as_array().expect("lists");
        let named = |name: &str| {
            let list = lists.iter().find(|list| list["name"].as_str() == Some(name));
            list.expect(name)["items"].to_string()
        };
        assert_eq!(lists.len(), 8 * 3);
        assert_eq!(named("blf-lamp7"), "[\"blf-lamp7-0\", \"blf-lamp7-1\"]");
        assert_eq!(named("blf-lamp7-0"), "[\"lamp7\", \"lamp4\"]");
        assert_eq!(named("blf-lamp7-1"), "[\"lamp5\"]");
        let text = asterisk(&scenario);
        for want in [
            "\n[blf-lamp7]\ntype=resource_list\nevent=presence\nlist_item=blf-lamp7-0,blf-lamp7-1\n",
            "\nexten => lamp3,hint,Custom:lamp3\n",
            "\n[u]\nsecret=s\n",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }

    #[test]
    fn lists_in_requests_need_no_configuration() {
        let scenario = scenario("{10..19}", "name = \"rls\", in_request = true");
        let toml: toml::Table = toml::from_str(&lampfield(&scenario)).expect("TOML");
        assert!(!toml.contains_key("list") && !toml.contains_key("list_range"), "{toml}");
        assert!(!asterisk(&scenario).contains("resource_list"));
    }
}
