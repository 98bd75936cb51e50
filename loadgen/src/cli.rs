//! The command line: parsed by clap; `fanout`'s options fill the tables of a scenario file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::answer::AnswerProfile;
use crate::null_target::NullTargetArgs;
use crate::outcome::LoadError;
use crate::scenario::Loaded;
use crate::scenario::check::{Problem, check};
use crate::scenario::file::{
    BehaviourTable, GeneratorTable, PhaseTable, Pick, PopulationTable, Rate, ScenarioFile,
    SourcesTable, Spacing, Span, StatesTable, TargetTable, Thresholds, WatchersTable,
};
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
    /// Run a scenario file: lists and single extensions, phases, faults.
    Run(RunArgs),
    /// Subscribe watchers, change states, time every NOTIFY and check every lamp.
    Fanout(Box<FanoutArgs>),
    /// Be a target that does the least possible, to find the generator's own ceiling.
    NullTarget(NullTargetArgs),
}

/// `lampload run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The scenario, as docs/LOADGEN.md describes it.
    pub scenario: PathBuf,
    /// Change a value of the scenario: target.address=10.0.0.1:5060, phase.1.rate=500/s.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Print the configuration that this server needs for the scenario, and end.
    #[arg(long, value_enum, value_name = "SERVER")]
    pub print_config: Option<ServerKind>,
    /// Where results go.
    #[command(flatten)]
    pub outputs: Outputs,
}

/// Servers whose configuration can be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ServerKind {
    /// Lampfield's lampfield.toml.
    Lampfield,
    /// What Asterisk's pjsip.conf, extensions.conf and manager.conf need.
    Asterisk,
}

/// Where results go.
#[derive(Args, Clone, Debug, Default)]
pub struct Outputs {
    /// Write the report as JSON (`-`: to standard output, instead of the summary).
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the latency distribution from intended times in HdrHistogram's text form.
    #[arg(long)]
    pub hgrm: Option<PathBuf>,
    /// Write a report with plots, one HTML file that needs nothing else.
    #[arg(long)]
    pub report: Option<PathBuf>,
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
    /// Take and send datagrams in trains where the kernel can (UDP_GRO, UDP_SEGMENT).
    #[arg(long)]
    trains: bool,
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
    /// Where results go.
    #[command(flatten)]
    outputs: Outputs,
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

/// Which option of `fanout` stands for which key of a scenario file.
const OPTIONS: [(&str, &str); 18] = [
    ("target.address", "--target"),
    ("states.by", "--change-by"),
    ("states.cycle", "--states"),
    ("population.extensions", "--extensions"),
    ("watchers.single", "--watchers"),
    ("lists.members", "--watchers"),
    ("watchers.event", "--event"),
    ("watchers.accept", "--accept"),
    ("watchers.expires_s", "--expires"),
    ("sources.address", "--source-base"),
    ("sources.sockets", "--sockets"),
    ("generator.cores", "--cores"),
    ("phase.0.rate", "--subscribe-rate"),
    ("phase.0.pause", "--warmup"),
    ("phase.1.rate", "--changes-rate"),
    ("phase.1.duration", "--duration"),
    ("phase.1.settle", "--settle"),
    ("behaviour.0.delay", "--answer"),
];

impl FanoutArgs {
    /// The scenario these options stand for, checked, and where its results go.
    ///
    /// # Errors
    ///
    /// [`LoadError::Usage`] names the option and what was expected; [`LoadError::Setup`] when a
    /// name has no address.
    pub fn load(self) -> Result<(Loaded, Outputs), LoadError> {
        let outputs = self.outputs.clone();
        let loaded = check(&self.into_file()).map_err(|problem| match problem {
            Problem::Setup(why) => LoadError::Setup(why),
            Problem::At { key, why } => {
                let known = OPTIONS.iter().find(|(name, _)| *name == key);
                LoadError::Usage(format!("{}: {why}", known.map_or(key.as_str(), |(_, it)| it)))
            }
        })?;
        Ok((loaded, outputs))
    }

    fn into_file(self) -> ScenarioFile {
        let phase = self.phases();
        ScenarioFile {
            name: "fanout".into(),
            target: TargetTable { address: self.target, domain: self.domain },
            states: StatesTable {
                by: self.change_by,
                device: self.device_template,
                cycle: self.states,
            },
            population: PopulationTable { extensions: self.extensions, tenants: 1 },
            lists: None,
            watchers: WatchersTable {
                single: self.watchers,
                event: self.event,
                accept: self.accept,
                expires_s: self.expires,
            },
            sources: SourcesTable {
                address: self.source_base,
                sockets: self.sockets,
                edge: self.edge,
                trains: self.trains,
            },
            generator: GeneratorTable {
                cores: self.cores,
                pin: self.pin,
                seed: self.seed,
                second_reader_every: self.second_reader_every,
                max_own_lateness: Span(self.max_own_lateness),
            },
            behaviour: behaviour_of(&self.answer),
            phase,
            thresholds: self.thresholds.into_table(),
        }
    }

    fn phases(&self) -> Vec<PhaseTable> {
        let rate = Some(Rate(self.subscribe_rate));
        let ramp = PhaseTable::Ramp {
            rate,
            window: None,
            prime: !self.no_prime,
            timeout: None,
            pause: Span(self.warmup),
            behave: true,
        };
        let steady = PhaseTable::Steady {
            name: String::new(),
            duration: Span(self.duration),
            rate: Some(Rate(self.changes_rate)),
            spacing: Spacing::Even,
            pick: self.pick,
            calls: None,
            hot: None,
            settle: Span(self.settle),
            behave: true,
        };
        let settle = Span(self.settle);
        let unsubscribe = !self.no_unsubscribe;
        let drain = PhaseTable::Drain { settle, unsubscribe, rate, timeout: None };
        vec![ramp, steady, drain]
    }
}

/// All watchers answer alike.
fn behaviour_of(profile: &AnswerProfile) -> Vec<BehaviourTable> {
    if *profile == AnswerProfile::default() {
        return Vec::new();
    }
    let (reject, reject_share) = profile.reject.unzip();
    vec![BehaviourTable {
        name: "answer".into(),
        share: 1.0,
        lose: profile.lose,
        receive_loss: profile.receive_loss,
        duplicate: profile.duplicate,
        delay: Span(profile.delay),
        reject,
        reject_share: reject_share.unwrap_or(0.0),
        dead: profile.dead,
    }]
}

impl ThresholdArgs {
    fn into_table(self) -> Thresholds {
        Thresholds {
            p50: self.max_p50.map(Span),
            p99: self.max_p99.map(Span),
            p999: self.max_p999.map(Span),
            notify_rate: self.min_notify_rate,
            superseded: self.max_superseded,
            duplicate: self.max_duplicate,
            wrong: self.max_wrong,
            untrue: self.max_untrue,
            lost: self.max_lost,
            out_of_order: self.max_out_of_order,
            unparsable: self.max_unparsable,
            failed: self.max_failed,
            change_errors: self.max_change_errors,
            ..Thresholds::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::lamp::BodyFormat;
    use crate::scenario::{ChangeBy, Scenario, Sources};

    fn parse(extra: &[&str]) -> Result<Scenario, String> {
        let base = ["lampload", "fanout", "--target", "127.0.0.1:5060", "--extensions", "1..10"];
        let by = ["--change-by", "publish"];
        let by: &[&str] = if extra.contains(&"--change-by") { &[] } else { &by };
        let words = base.iter().chain(by).chain(extra);
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Fanout(args) => {
                args.load().map(|(loaded, _)| loaded.scenario).map_err(|e| e.to_string())
            }
            _ => unreachable!("the words say fanout"),
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
            (&["--changes-rate", "1000/s", "--duration", "20h"], "--duration: 72000000 changes"),
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
