//! From the tables of a file to a [`Scenario`]: every value against its limits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use super::file::{BehaviourTable, ListsTable, ScenarioFile};
use super::{ChangeBy, Loaded, Scenario, Sources, phases};
use crate::answer::{AnswerProfile, Behaviour};
use crate::lamp::{BodyFormat, DeviceState};
use crate::limits;
use crate::population::{Lists, Owner, Population};
use crate::template::expand;

/// What is wrong with the values, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// A value is impossible.
    At {
        /// Key of the value, with points.
        key: String,
        /// What was expected.
        why: String,
    },
    /// The environment's fault.
    Setup(String),
}

impl Problem {
    pub(super) fn at(key: impl Into<String>, why: impl Into<String>) -> Problem {
        Problem::At { key: key.into(), why: why.into() }
    }
}

/// Checks everything.
///
/// # Errors
///
/// The first [`Problem`].
pub fn check(file: &ScenarioFile) -> Result<Loaded, Problem> {
    let target = resolve("target.address", &file.target.address)?;
    let extensions =
        expand(&file.population.extensions).map_err(|why| at("population.extensions", why))?;
    let population = population(file, &extensions)?;
    let watcher_count = population.watcher_count();
    let event = match file.watchers.event.as_str() {
        "presence" => "presence",
        "dialog" => "dialog",
        other => {
            return Err(at("watchers.event", format!("{other:?}: expected presence or dialog")));
        }
    };
    let default = ["application/pidf+xml", "application/dialog-info+xml"];
    let default = default[usize::from(event == "dialog")];
    let accept = file.watchers.accept.clone().unwrap_or_else(|| default.to_owned());
    let format = format_of(&accept)?;
    let cores = file.generator.cores;
    let sockets = file.sources.sockets.unwrap_or(64).min(watcher_count.max(1)).max(cores);
    let states = phases::states(file, parse_states(&file.states.cycle)?);
    let steps = phases::steps(file, &population, watcher_count)?;
    let scenario = Scenario {
        name: file.name.clone(),
        target,
        domain: file.target.domain.clone().unwrap_or_else(|| target.to_string()),
        numbers: extensions.iter().cloned().zip(0..).collect(),
        extensions,
        population,
        watcher_count,
        socket_count: if file.sources.edge { cores } else { sockets },
        trains: file.sources.trains,
        sources: sources(file.sources.address.as_deref(), target)?,
        event,
        accept,
        format,
        expires_s: file.watchers.expires_s,
        change_by: parse_change_by(&file.states.by)?,
        device_template: file.states.device.clone(),
        states,
        steps,
        core_count: cores,
        pin_from_core: file.generator.pin,
        behaviours: behaviours(&file.behaviour)?,
        second_reader_every: file.generator.second_reader_every,
        own_lateness_max: file.generator.max_own_lateness.0,
        seed: file.generator.seed,
    };
    check_limits(&scenario)?;
    Ok(Loaded { scenario, thresholds: file.thresholds.clone() })
}

fn check_limits(scenario: &Scenario) -> Result<(), Problem> {
    let range = |key: &str, value: usize, max: usize| {
        let fits = (1..=max).contains(&value);
        fits.then_some(()).ok_or_else(|| at(key, format!("{value} is not 1 to {max}")))
    };
    range("watchers.single", scenario.watcher_count, limits::WATCHER_COUNT_MAX)?;
    range("lists.members", scenario.population.edge_count(), limits::EDGE_COUNT_MAX)?;
    range("sources.sockets", scenario.socket_count, limits::SOCKET_COUNT_MAX)?;
    range("generator.cores", scenario.core_count, limits::CORE_COUNT_MAX)?;
    if scenario.core_count > scenario.watcher_count {
        return Err(at("generator.cores", "more than watchers"));
    }
    if scenario.numbers.len() < scenario.extensions.len() {
        return Err(at("population.extensions", "an extension is named twice"));
    }
    let (low, high) = limits::EXPIRES_S_RANGE;
    if !(low..=high).contains(&scenario.expires_s) {
        let why = format!("{} is not {low} to {high}", scenario.expires_s);
        return Err(at("watchers.expires_s", why));
    }
    Ok(())
}

fn population(file: &ScenarioFile, extensions: &[String]) -> Result<Population, Problem> {
    let tenants = file.population.tenants;
    if tenants == 0 || !extensions.len().is_multiple_of(tenants) {
        let why = format!("{} extensions are not {tenants} equal parts", extensions.len());
        return Err(at("population.tenants", why));
    }
    let tenant_size = extensions.len() / tenants;
    let mut population = Population {
        extension_count: extensions.len(),
        tenant_size,
        lists: None,
        single_count: file.watchers.single,
    };
    if let Some(table) = &file.lists {
        population.lists = Some(lists(table, tenant_size)?);
        let name = population.name(crate::population::Watched::List(0), extensions);
        expand(&name).map_err(|why| at("lists.name", why))?;
    }
    Ok(population)
}

fn lists(table: &ListsTable, tenant_size: usize) -> Result<Lists, Problem> {
    let exten = table.name.contains("{exten}");
    let tenant = table.name.contains("{tenant}") || table.name.contains("{first}");
    if !exten && !tenant && !table.in_request {
        return Err(at("lists.name", "expected {exten}, {tenant} or {first} in it"));
    }
    let member_count = table.members.unwrap_or(tenant_size);
    if !(1..=tenant_size).contains(&member_count) {
        let why = format!("{member_count} is not 1 to {tenant_size}, the size of a tenant");
        return Err(at("lists.members", why));
    }
    if table.nested.is_some_and(|size| size == 0 || size > member_count) {
        return Err(at("lists.nested", "expected 1 to as many as the list has members"));
    }
    if table.nested.is_some() && table.in_request {
        return Err(at("lists.nested", "lists in a request are flat (RFC 5367 section 4)"));
    }
    if !(1..=limits::WATCHER_COUNT_MAX).contains(&table.watchers_each) {
        return Err(at("lists.watchers_each", "expected at least 1"));
    }
    Ok(Lists {
        name: table.name.clone(),
        owner: if tenant && !exten { Owner::Tenant } else { Owner::Extension },
        member_count,
        watchers_each: table.watchers_each,
        nested: table.nested,
        in_request: table.in_request,
        batch_ms: table.batch_ms,
    })
}

/// The behaviours, and before them the share of watchers that simply answer.
fn behaviours(tables: &[BehaviourTable]) -> Result<Vec<Behaviour>, Problem> {
    if tables.len() >= limits::BEHAVIOUR_COUNT_MAX {
        let max = limits::BEHAVIOUR_COUNT_MAX - 1;
        return Err(at("behaviour", format!("{} of them, at most {max}", tables.len())));
    }
    let mut list = vec![Behaviour::well(1.0)];
    for (index, table) in tables.iter().enumerate() {
        let share = |key: &str, value: f64| {
            let fits = (0.0..=1.0).contains(&value);
            let key = format!("behaviour.{index}.{key}");
            fits.then_some(value).ok_or_else(|| at(key, format!("{value} is not 0 to 1")))
        };
        let reject = match table.reject {
            Some(code) if !(300..700).contains(&code) => {
                return Err(at(format!("behaviour.{index}.reject"), "no code from 300 to 699"));
            }
            Some(code) => Some((code, share("reject_share", table.reject_share)?)),
            None => None,
        };
        if table.delay.0 > limits::WAIT_MAX {
            return Err(at(format!("behaviour.{index}.delay"), "more than an hour"));
        }
        let profile = AnswerProfile {
            lose: share("lose", table.lose)?,
            receive_loss: share("receive_loss", table.receive_loss)?,
            duplicate: share("duplicate", table.duplicate)?,
            delay: table.delay.0,
            reject,
            dead: table.dead,
        };
        list[0].share -= share("share", table.share)?;
        if list[0].share < -1e-9 {
            return Err(at(format!("behaviour.{index}.share"), "all shares are more than 1"));
        }
        list.push(Behaviour { name: table.name.clone(), share: table.share, profile });
    }
    list[0].share = list[0].share.max(0.0);
    Ok(list)
}

fn parse_states(tokens: &[String]) -> Result<Vec<DeviceState>, Problem> {
    let states: Option<Vec<DeviceState>> =
        tokens.iter().map(|token| DeviceState::from_token(token.trim())).collect();
    let states = states.ok_or_else(|| {
        let known = "NOT_INUSE, INUSE, BUSY, UNAVAILABLE, RINGING, RINGINUSE or ONHOLD";
        at("states.cycle", format!("{tokens:?}: expected {known}"))
    })?;
    if !(2..=limits::STATE_COUNT_MAX).contains(&states.len()) {
        let max = limits::STATE_COUNT_MAX;
        return Err(at("states.cycle", format!("{} states, expected 2 to {max}", states.len())));
    }
    Ok(states)
}

fn format_of(accept: &str) -> Result<BodyFormat, Problem> {
    if accept.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(at("watchers.accept", "no control characters"));
    }
    let formats = [
        ("application/pidf+xml", BodyFormat::Pidf),
        ("application/xpidf+xml", BodyFormat::Xpidf),
        ("application/cpim-pidf+xml", BodyFormat::Xpidf),
        ("application/dialog-info+xml", BodyFormat::DialogInfo),
    ];
    let first = accept.split([',', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = formats.iter().find(|(name, _)| *name == first);
    found.map(|(_, format)| *format).ok_or_else(|| {
        let why = format!("{first:?} first: expected pidf, xpidf, cpim-pidf or dialog-info");
        at("watchers.accept", why)
    })
}

fn parse_change_by(text: &str) -> Result<ChangeBy, Problem> {
    let expected = || {
        let forms = "ami://user:secret@host:port, exec:COMMAND, publish or udp://host:port";
        at("states.by", format!("{:?}: expected {forms}", text.split('@').next_back()))
    };
    if text == "publish" {
        return Ok(ChangeBy::Publish);
    }
    if let Some(command) = text.strip_prefix("exec:") {
        return Ok(ChangeBy::Exec(command.to_owned()));
    }
    if let Some(address) = text.strip_prefix("udp://") {
        return Ok(ChangeBy::Udp(resolve("states.by", address)?));
    }
    let (md5, rest) = match (text.strip_prefix("ami://"), text.strip_prefix("ami+plain://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(expected()),
    };
    let (login, address) = rest.rsplit_once('@').ok_or_else(expected)?;
    let (user, secret) = login.split_once(':').ok_or_else(expected)?;
    if login.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(expected());
    }
    let port_given = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if port_given { address.to_owned() } else { format!("{address}:5038") };
    let (user, secret) = (user.to_owned(), secret.to_owned());
    Ok(ChangeBy::Ami { address, user, secret, md5 })
}

fn sources(text: Option<&str>, target: SocketAddr) -> Result<Sources, Problem> {
    let key = "sources.address";
    let Some(text) = text else {
        return routed_source(target).map(Sources::One);
    };
    let expected = || at(key, format!("{text:?} is not ADDRESS or ADDRESS/BITS"));
    let (address, bits) = match text.split_once('/') {
        None => (text, None),
        Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| expected())?)),
    };
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    if address.is_ipv4() != target.is_ipv4() {
        return Err(at(key, "not of the target's address family"));
    }
    match (address, bits) {
        (address, None) => Ok(Sources::One(address)),
        (IpAddr::V4(base), Some(prefix_bits @ 1..=32)) => {
            let mask = u32::MAX << (32 - prefix_bits);
            let base = Ipv4Addr::from_bits(base.to_bits() & mask);
            Ok(Sources::Network { base, prefix_bits })
        }
        _ => Err(at(key, "networks are IPv4 with 1 to 32 bits")),
    }
}

fn resolve(key: &str, text: &str) -> Result<SocketAddr, Problem> {
    if text.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(at(key, format!("{text:?} is not host:port")));
    }
    let mut addresses =
        text.to_socket_addrs().map_err(|error| Problem::Setup(format!("{key} {text}: {error}")))?;
    addresses.next().ok_or_else(|| Problem::Setup(format!("{key} {text}: no address")))
}

/// The local address the kernel would use towards the target.
fn routed_source(target: SocketAddr) -> Result<IpAddr, Problem> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let probe = || {
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.local_addr()
    };
    let local = probe()
        .map_err(|error: std::io::Error| Problem::Setup(format!("no way to {target}: {error}")))?;
    Ok(local.ip())
}

fn at(key: impl Into<String>, why: impl Into<String>) -> Problem {
    Problem::at(key, why)
}
