//! The command line: parsed by clap, checked against the limits, turned into a [`Scenario`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::answer::AnswerProfile;
use crate::lamp::{BodyFormat, DeviceState};
use crate::limits;
use crate::null_target::NullTargetArgs;
use crate::outcome::LoadError;
use crate::plan::Pick;
use crate::scenario::{ChangeBy, Scenario, Sources};
use crate::template::expand;
use crate::units::{parse_duration, parse_rate};

/// Open-loop SIP load for presence and busy-lamp servers.
#[derive(Debug, Parser)]
#[command(name = "lampload", version, about, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 a threshold was missed, 2 usage, \
3 the generator was the bottleneck (nothing is claimed), 4 the target was not reachable or the \
run could not be set up. See docs/LOADGEN.md.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Subscribe watchers, change states, time every NOTIFY and check every lamp.
    Fanout(Box<FanoutArgs>),
    /// Be a target that does the least possible, to find the generator's own ceiling.
    NullTarget(NullTargetArgs),
}

/// `lampload fanout`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("spread").args(["sockets", "edge"])))]
pub struct FanoutArgs {
    /// The server: host:port, SIP over UDP.
    #[arg(long)]
    target: String,
    /// Extensions: lamp{0..99}, 1000..1099, or a comma list.
    #[arg(long)]
    extensions: String,
    /// Watchers; watcher i watches extension i modulo their count.
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Local sockets, each a next hop of its own for the target [default: 64].
    #[arg(long)]
    sockets: Option<usize>,
    /// One source address for all watchers, as an edge proxy has (one socket per core).
    #[arg(long)]
    edge: bool,
    /// Local address, or a network to spread sockets over (127.0.0.0/8) [default: as routed].
    #[arg(long, value_name = "ADDRESS[/BITS]")]
    source_base: Option<String>,
    /// Domain in SIP addresses [default: the target's address and port].
    #[arg(long)]
    domain: Option<String>,
    /// Event package.
    #[arg(long, default_value = "presence", value_parser = ["presence", "dialog"])]
    event: String,
    /// Accept header [default: application/pidf+xml or application/dialog-info+xml].
    #[arg(long)]
    accept: Option<String>,
    /// Subscription length in seconds; refreshed before it is over.
    #[arg(long, default_value_t = 3600)]
    expires: u32,
    /// SUBSCRIBEs a second.
    #[arg(long, default_value = "1000/s", value_parser = parse_rate)]
    subscribe_rate: f64,
    /// State changes a second, all extensions together.
    #[arg(long, default_value = "10/s", value_parser = parse_rate)]
    changes_rate: f64,
    /// Length of the change phase.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    duration: Duration,
    /// Pause before the first change.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Longest wait for outstanding NOTIFYs after the last change.
    #[arg(long, default_value = "35s", value_parser = parse_duration)]
    settle: Duration,
    /// ami://user:secret@host:port, ami+plain://..., exec:COMMAND, publish, or udp://host:port.
    #[arg(long)]
    change_by: String,
    /// Device of an extension.
    #[arg(long, default_value = "Custom:{exten}")]
    device_template: String,
    /// The cycle of device states.
    #[arg(long, default_value = "NOT_INUSE,INUSE", value_delimiter = ',')]
    states: Vec<String>,
    /// Order in which extensions change.
    #[arg(long, value_enum, default_value_t)]
    pick: Pick,
    /// Do not set the first state of every extension before subscribing.
    #[arg(long)]
    no_prime: bool,
    /// Leave the subscriptions to expire.
    #[arg(long)]
    no_unsubscribe: bool,
    /// Generator threads.
    #[arg(long, default_value_t = 1)]
    cores: usize,
    /// Pin generator threads to cores from this one on.
    #[arg(long)]
    pin: Option<usize>,
    /// How NOTIFYs are answered: ok, lose:SHARE, delay:TIME, reject:CODE:SHARE, joined by commas.
    #[arg(long, default_value = "ok", value_parser = AnswerProfile::parse)]
    answer: AnswerProfile,
    /// Read every n-th message with a second parser too; 0 never.
    #[arg(long, default_value_t = 1000)]
    second_reader_every: u32,
    /// p99 of the generator's own lateness above which nothing is claimed (exit code 3).
    #[arg(long, default_value = "5ms", value_parser = parse_duration)]
    max_own_lateness: Duration,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON (`-`: to standard output, instead of the summary).
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the latency distribution from intended times in HdrHistogram's text form.
    #[arg(long)]
    hgrm: Option<PathBuf>,
    /// Limits that decide the exit code.
    #[command(flatten)]
    thresholds: ThresholdArgs,
}

/// Limits that decide between exit codes 0 and 1.
#[derive(Args, Clone, Debug)]
pub struct ThresholdArgs {
    /// p50 of NOTIFY latency from intended change.
    #[arg(long, value_parser = parse_duration)]
    pub max_p50: Option<Duration>,
    /// p99 of NOTIFY latency from intended change.
    #[arg(long, value_parser = parse_duration)]
    pub max_p99: Option<Duration>,
    /// p99.9 of NOTIFY latency from intended change.
    #[arg(long, value_parser = parse_duration)]
    pub max_p999: Option<Duration>,
    /// NOTIFYs a second in the change phase.
    #[arg(long)]
    pub min_notify_rate: Option<f64>,
    /// Wrong lamps at the end: stale, wrong or missing.
    #[arg(long, default_value_t = 0)]
    pub max_wrong: u64,
    /// NOTIFYs with a lamp that was never set.
    #[arg(long, default_value_t = 0)]
    pub max_untrue: u64,
    /// Required NOTIFYs that never came.
    #[arg(long, default_value_t = 0)]
    pub max_lost: u64,
    /// Required NOTIFYs that a newer state overtook.
    #[arg(long)]
    pub max_superseded: Option<u64>,
    /// NOTIFYs without news.
    #[arg(long)]
    pub max_duplicate: Option<u64>,
    /// NOTIFYs whose CSeq, version or state did not rise.
    #[arg(long, default_value_t = 0)]
    pub max_out_of_order: u64,
    /// Unreadable messages and bodies.
    #[arg(long, default_value_t = 0)]
    pub max_unparsable: u64,
    /// Subscriptions not established, ended by the target, or not ended when asked.
    #[arg(long, default_value_t = 0)]
    pub max_failed: u64,
    /// Changes refused or not answered.
    #[arg(long, default_value_t = 0)]
    pub max_change_errors: u64,
}

/// Where results go, and by what they are judged.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// JSON file; `-` for standard output.
    pub json: Option<PathBuf>,
    /// Distribution file.
    pub hgrm: Option<PathBuf>,
    /// Limits.
    pub thresholds: ThresholdArgs,
}

impl FanoutArgs {
    /// Checks everything against the limits.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] names the option and what was expected; [`LoadError::Setup`] when a
    /// name has no address.
    pub fn into_scenario(self) -> Result<(Scenario, Outputs), LoadError> {
        let target = resolve("--target", &self.target)?;
        let extensions = expand(&self.extensions).map_err(|why| usage("--extensions", why))?;
        let states = parse_states(&self.states)?;
        let event = if self.event == "dialog" { "dialog" } else { "presence" };
        let accept = self.accept.clone().unwrap_or_else(|| {
            let default = ["application/pidf+xml", "application/dialog-info+xml"];
            default[usize::from(event == "dialog")].to_owned()
        });
        let format = format_of(&accept)?;
        if accept.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(usage("--accept", "no control characters".into()));
        }
        let sources = self.sources(target)?;
        let socket_count = match (self.edge, self.sockets) {
            (true, _) => self.cores,
            (false, sockets) => sockets.unwrap_or(64).min(self.watchers.max(1)).max(self.cores),
        };
        let scenario = Scenario {
            target,
            domain: self.domain.clone().unwrap_or_else(|| target.to_string()),
            watcher_count: self.watchers,
            socket_count,
            sources,
            event,
            accept,
            format,
            expires_s: self.expires,
            subscribe_rate: self.subscribe_rate,
            changes_rate: self.changes_rate,
            duration: self.duration,
            warmup: self.warmup,
            settle_max: self.settle,
            change_by: parse_change_by(&self.change_by)?,
            device_template: self.device_template.clone(),
            states,
            pick: self.pick,
            prime: !self.no_prime,
            unsubscribe: !self.no_unsubscribe,
            core_count: self.cores,
            pin_from_core: self.pin,
            answers: self.answer,
            second_reader_every: self.second_reader_every,
            own_lateness_max: self.max_own_lateness,
            seed: self.seed,
            extensions,
        };
        check_limits(&scenario)?;
        Ok((scenario, Outputs { json: self.json, hgrm: self.hgrm, thresholds: self.thresholds }))
    }

    fn sources(&self, target: SocketAddr) -> Result<Sources, LoadError> {
        let Some(text) = &self.source_base else {
            return routed_source(target).map(Sources::One);
        };
        let expected =
            || usage("--source-base", format!("{text:?} is not ADDRESS or ADDRESS/BITS"));
        let (address, bits) = match text.split_once('/') {
            None => (text.as_str(), None),
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| expected())?)),
        };
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        if address.is_ipv4() != target.is_ipv4() {
            return Err(usage("--source-base", "not of the target's address family".into()));
        }
        match (address, bits) {
            (address, None) => Ok(Sources::One(address)),
            (IpAddr::V4(base), Some(prefix_bits @ 1..=32)) => {
                let mask = u32::MAX << (32 - prefix_bits);
                let base = Ipv4Addr::from_bits(base.to_bits() & mask);
                Ok(Sources::Network { base, prefix_bits })
            }
            _ => Err(usage("--source-base", "networks are IPv4 with 1 to 32 bits".into())),
        }
    }
}

fn check_limits(scenario: &Scenario) -> Result<(), LoadError> {
    let range = |option, value: usize, max: usize| {
        let fits = (1..=max).contains(&value);
        fits.then_some(()).ok_or_else(|| usage(option, format!("{value} is not 1 to {max}")))
    };
    range("--watchers", scenario.watcher_count, limits::WATCHER_COUNT_MAX)?;
    range("--sockets", scenario.socket_count, limits::SOCKET_COUNT_MAX)?;
    range("--cores", scenario.core_count, limits::CORE_COUNT_MAX)?;
    if scenario.core_count > scenario.watcher_count {
        return Err(usage("--cores", "more than watchers".into()));
    }
    let (low, high) = limits::EXPIRES_S_RANGE;
    if !(low..=high).contains(&scenario.expires_s) {
        return Err(usage("--expires", format!("{} is not {low} to {high}", scenario.expires_s)));
    }
    let below = |option, value: f64, max: f64| {
        (value <= max).then_some(()).ok_or_else(|| usage(option, format!("{value} is over {max}")))
    };
    below("--subscribe-rate", scenario.subscribe_rate, limits::SUBSCRIBE_RATE_MAX)?;
    below("--changes-rate", scenario.changes_rate, limits::CHANGE_RATE_MAX)?;
    let duration_s = scenario.duration.as_secs_f64();
    below("--duration in seconds", duration_s, limits::DURATION_MAX.as_secs_f64())?;
    let wait_s = limits::WAIT_MAX.as_secs_f64();
    below("--warmup in seconds", scenario.warmup.as_secs_f64(), wait_s)?;
    below("--settle in seconds", scenario.settle_max.as_secs_f64(), wait_s)?;
    let changes = scenario.changes_rate * duration_s;
    below("--changes-rate times --duration", changes, limits::CHANGE_COUNT_MAX as f64)?;
    let watchers_each = scenario.watcher_count as f64 / scenario.extensions.len() as f64;
    let notify_rate = scenario.changes_rate * watchers_each.max(1.0);
    below("NOTIFYs a second asked for", notify_rate, limits::NOTIFY_RATE_MAX)
}

fn parse_states(tokens: &[String]) -> Result<Vec<DeviceState>, LoadError> {
    let states: Option<Vec<DeviceState>> =
        tokens.iter().map(|token| DeviceState::from_token(token.trim())).collect();
    let states = states.ok_or_else(|| {
        let known = "NOT_INUSE, INUSE, BUSY, UNAVAILABLE, RINGING, RINGINUSE or ONHOLD";
        usage("--states", format!("{tokens:?}: expected {known}"))
    })?;
    if !(2..=limits::STATE_COUNT_MAX).contains(&states.len()) {
        let max = limits::STATE_COUNT_MAX;
        return Err(usage("--states", format!("{} states, expected 2 to {max}", states.len())));
    }
    Ok(states)
}

fn format_of(accept: &str) -> Result<BodyFormat, LoadError> {
    let formats = [
        ("application/pidf+xml", BodyFormat::Pidf),
        ("application/xpidf+xml", BodyFormat::Xpidf),
        ("application/cpim-pidf+xml", BodyFormat::Xpidf),
        ("application/dialog-info+xml", BodyFormat::DialogInfo),
    ];
    let first = accept.split([',', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = formats.iter().find(|(name, _)| *name == first);
    found.map(|(_, format)| *format).ok_or_else(|| {
        usage(
            "--accept",
            format!("{first:?} first: expected pidf, xpidf, cpim-pidf or dialog-info"),
        )
    })
}

fn parse_change_by(text: &str) -> Result<ChangeBy, LoadError> {
    let expected = || {
        let forms = "ami://user:secret@host:port, exec:COMMAND, publish or udp://host:port";
        usage("--change-by", format!("{:?}: expected {forms}", text.split('@').next_back()))
    };
    if text == "publish" {
        return Ok(ChangeBy::Publish);
    }
    if let Some(command) = text.strip_prefix("exec:") {
        return Ok(ChangeBy::Exec(command.to_owned()));
    }
    if let Some(address) = text.strip_prefix("udp://") {
        return Ok(ChangeBy::Udp(resolve("--change-by", address)?));
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

fn resolve(option: &str, text: &str) -> Result<SocketAddr, LoadError> {
    let with_port = if text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        text.to_owned()
    } else {
        return Err(usage(option, format!("{text:?} is not host:port")));
    };
    let mut addresses = with_port
        .to_socket_addrs()
        .map_err(|error| LoadError::Setup(format!("{option} {text}: {error}")))?;
    addresses.next().ok_or_else(|| LoadError::Setup(format!("{option} {text}: no address")))
}

/// The local address the kernel would use towards the target.
fn routed_source(target: SocketAddr) -> Result<IpAddr, LoadError> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let probe = || {
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.local_addr()
    };
    let local = probe().map_err(|error: std::io::Error| {
        LoadError::Setup(format!("no way to {target}: {error}"))
    })?;
    Ok(local.ip())
}

fn usage(option: &str, why: String) -> LoadError {
    LoadError::Usage(format!("{option}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &[&str]) -> Result<Scenario, String> {
        let base = ["lampload", "fanout", "--target", "127.0.0.1:5060", "--extensions", "1..10"];
        let by = ["--change-by", "publish"];
        let by: &[&str] = if extra.contains(&"--change-by") { &[] } else { &by };
        let words = base.iter().chain(by).chain(extra);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Fanout(args) => {
                args.into_scenario().map(|(scenario, _)| scenario).map_err(|e| e.to_string())
            }
            Command::NullTarget(_) => unreachable!("the words say fanout"),
        }
    }

    #[test]
    fn defaults_make_a_small_run() {
        let scenario = parse(&[]).expect("valid");
        assert_eq!(scenario.watcher_count, 1000);
        assert_eq!(scenario.socket_count, 64);
        assert_eq!(scenario.sources, Sources::One(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(scenario.accept, "application/pidf+xml");
        assert_eq!(parse(&["--edge", "--cores", "2"]).expect("valid").socket_count, 2);
        let dialog = parse(&["--event", "dialog"]).expect("valid");
        assert_eq!(dialog.format, BodyFormat::DialogInfo);
        let spread = parse(&["--source-base", "127.3.9.9/16"]).expect("valid");
        let base = Ipv4Addr::new(127, 3, 0, 0);
        assert_eq!(spread.sources, Sources::Network { base, prefix_bits: 16 });
    }

    #[test]
    fn change_by_is_read_in_all_forms() {
        let by = |text| parse(&["--change-by", text]).map(|scenario| scenario.change_by);
        let ami = |secret: &str, address: &str, md5| {
            let (user, secret) = ("u".to_owned(), secret.to_owned());
            Ok(ChangeBy::Ami { address: address.into(), user, secret, md5 })
        };
        assert_eq!(by("ami://u:s@h:1"), ami("s", "h:1", true));
        assert_eq!(by("ami+plain://u:s:@@h"), ami("s:@", "h:5038", false));
        assert_eq!(by("exec:true {exten}"), Ok(ChangeBy::Exec("true {exten}".into())));
        let address = "127.0.0.1:9".parse().expect("an address");
        assert_eq!(by("udp://127.0.0.1:9"), Ok(ChangeBy::Udp(address)));
        for bad in ["", "ami://h", "ami://u@h", "tcp://h:1", "udp://h", "ami://u:a\nb@h"] {
            let error = by(bad).expect_err(bad);
            assert!(error.contains("--change-by"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_asks_for_too_much_is_refused_by_name() {
        for (words, want) in [
            (&["--watchers", "0"][..], "--watchers: 0 is not 1 to"),
            (&["--watchers", "3000000"], "--watchers"),
            (&["--sockets", "70000", "--watchers", "100000"], "--sockets"),
            (&["--cores", "65"], "--cores"),
            (&["--cores", "2", "--watchers", "1"], "--cores"),
            (&["--expires", "5"], "--expires: 5 is not 10 to"),
            (&["--subscribe-rate", "300000/s"], "--subscribe-rate"),
            (&["--changes-rate", "200000/s"], "--changes-rate"),
            (&["--duration", "25h"], "--duration"),
            (&["--settle", "2h"], "--settle"),
            (&["--changes-rate", "1000/s", "--duration", "20h"], "times --duration"),
            (&["--changes-rate", "60000/s", "--watchers", "1000"], "NOTIFYs a second"),
            (&["--states", "INUSE"], "--states"),
            (&["--states", "INUSE,ONFIRE"], "--states"),
            (&["--accept", "text/plain"], "--accept"),
            (&["--source-base", "::1"], "--source-base"),
            (&["--source-base", "127.0.0.0/0"], "--source-base"),
            (&["--duration", "10"], "not a time"),
            (&["--answer", "lose:2"], "not a share"),
            (&["--sockets", "3", "--edge"], "cannot be used with"),
        ] {
            let error = parse(words).expect_err(want);
            assert!(error.contains(want), "{words:?}: {error}");
        }
    }
}
