//! A control plane on its own thread, with model shards beside it, and clients that block.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lampfield::channel::{FromShard, ToShard};
use lampfield::config::{AmiConfig, AmiUser, NodeConfig};
use lampfield::control::{Control, ControlSetup, Shutdown};
use lampfield_core::ShardSetup;
use lampfield_core::command::Command;
use lampfield_core::config::{Config, Network, Tenant};
use lampfield_core::dialplan::{Dialplan, Globals, Hint, Template};
use lampfield_core::placement::{Placement, TenantId};
use lampfield_core::state::{DeviceState, parse_presence_write};

use crate::model::{self, Model, SharedModel};
use crate::real;

/// A message: its headers in order.
pub(crate) type Message = Vec<(String, String)>;

/// All classes.
pub(crate) const ALL: u64 = u64::MAX >> 1;
pub(crate) const CALL: u64 = 2;

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What answers the control plane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Shards {
    /// [`model::Model`]: what the test wants it to know, and checks of where things arrive.
    Model,
    /// Two shards of the engine.
    Real,
}

/// A running control plane.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) model: SharedModel,
    /// To tell events as a shard would.
    pub(crate) to_control: async_channel::Sender<FromShard>,
    shards: Vec<async_channel::Sender<ToShard>>,
    pub(crate) kind: Shards,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    pub(crate) fn start(ami: AmiConfig) -> Self {
        Self::start_at(ami, fresh_socket(), Shards::Model).unwrap()
    }

    /// Starts with real shards.
    pub(crate) fn start_real(ami: AmiConfig) -> Self {
        Self::start_at(ami, fresh_socket(), Shards::Real).unwrap()
    }

    /// Starts with a console socket of that name, or says why it cannot be.
    pub(crate) fn start_at(ami: AmiConfig, socket: PathBuf, kind: Shards) -> Result<Self, String> {
        let core = Arc::new(core_config());
        let placement = Placement::new(2);
        let model = Arc::new(Mutex::new(Model::new(Arc::clone(&core), placement.clone())));
        let (to_control, from_shards) = async_channel::bounded(1024);
        let mut threads = Vec::new();
        let (shards, inboxes): (Vec<_>, Vec<_>) =
            placement.shards().map(|_| async_channel::bounded(4096)).unzip();
        for (id, inbox) in placement.shards().zip(inboxes) {
            let (model, to_control) = (Arc::clone(&model), to_control.clone());
            let peers = shards.clone();
            let setup = ShardSetup {
                id,
                placement: placement.clone(),
                config: Arc::clone(&core),
                seed: 1,
                unix_at_zero_ms: 0,
                durable: false,
            };
            threads.push(std::thread::spawn(move || match kind {
                Shards::Model => model::run_shard(id, &model, &inbox, &to_control),
                Shards::Real => real::run_shard(setup, &inbox, &peers, &to_control),
            }));
        }
        let config = NodeConfig {
            core,
            listen: Vec::new(),
            shard_count: Some(2),
            ami: Some(ami),
            console_socket: socket.clone(),
            state_dir: None,
        };
        let shutdown = Shutdown::default();
        let again = config.clone();
        let setup = ControlSetup {
            config,
            placement,
            shards: shards.clone(),
            from_shards,
            reload: Arc::new(move || Ok(again.clone())),
            shutdown: shutdown.clone(),
        };
        let (tell, told) = mpsc::channel();
        threads.push(std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                match Control::bind(setup).await {
                    Ok(control) => {
                        tell.send(Ok(control.ami_address().unwrap())).unwrap();
                        control.run().await.unwrap();
                    }
                    Err(error) => tell.send(Err(format!("{error:#}"))).unwrap(),
                }
            });
        }));
        let address = told.recv().unwrap()?;
        Ok(Self { address, socket, model, to_control, shards, kind, shutdown, threads })
    }

    /// Sets a device state, before anybody listens.
    pub(crate) fn set_device(&self, device: &str, state: DeviceState) {
        let (tenant, device): (_, Arc<str>) = (TenantId(0), device.into());
        self.command(&device, Command::SetDevice { tenant, device: Arc::clone(&device), state });
    }

    /// Sets a presence, before anybody listens.
    pub(crate) fn set_presence(&self, presentity: &str, value: &str) {
        let presence = parse_presence_write(value).unwrap().presence;
        let (tenant, name): (_, Arc<str>) = (TenantId(0), presentity.into());
        let presentity = Arc::clone(&name);
        let written = value.into();
        self.command(&name, Command::SetPresence { tenant, presentity, presence, written });
    }

    /// Makes the model have an extension of a pattern. Real shards have one only while somebody
    /// watches it.
    pub(crate) fn touch(&self, exten: &str) {
        if self.kind == Shards::Model {
            self.model.lock().unwrap().touch("hints", exten);
        }
    }

    /// Waits until what was set has reached every extension.
    pub(crate) fn settle(&self) {
        let mut client = Client::login(self, "lab", "off");
        // The first list comes when the owners have told the others, the second when they know.
        for _ in 0..2 {
            client.send(b"Action: DeviceStateList\r\n\r\n");
            client.until(|message| {
                matches!(value(message, "EventList"), "Complete")
                    || value(message, "Response") == "Error"
            });
        }
    }

    fn command(&self, source: &str, command: Command) {
        let owner = self.placement().shard_of_source(TenantId(0), source);
        self.shards[usize::from(owner.0)].send_blocking(ToShard::Command(command)).unwrap();
    }

    fn placement(&self) -> Placement {
        Placement::new(self.shards.len() as u8)
    }

    /// Ends the shards, and only them.
    pub(crate) fn stop_shards(&self) {
        for shard in &self.shards {
            shard.send_blocking(ToShard::Stop).unwrap();
            while !shard.is_closed() {
                std::thread::yield_now();
            }
        }
    }

    /// Ends everything; a panic in any of its threads fails the test.
    pub(crate) fn stop(mut self) {
        self.shutdown.request();
        for shard in &self.shards {
            // It may have ended before.
            let _ = shard.send_blocking(ToShard::Stop);
        }
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        assert!(!self.socket.exists(), "the console socket is left behind");
        let _ = std::fs::remove_dir(self.socket.parent().unwrap());
    }
}

fn fresh_socket() -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let name = format!("lampfield-ami-{}-{serial}", std::process::id());
    std::env::temp_dir().join(name).join("console.sock")
}

/// Users of the tests, all with their name as secret: `lab` may everything, `calls` hears calls
/// only, `writer` hears nothing, `single` may be logged in once, `far` may not come from here.
pub(crate) fn ami_config() -> AmiConfig {
    let user = |name: &str, read, write| AmiUser {
        name: name.to_owned(),
        secret: name.to_owned(),
        read,
        write,
        allow_multiple_login: true,
        write_timeout_ms: 100,
        ..AmiUser::default()
    };
    let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
    AmiConfig {
        bind: Some(([127, 0, 0, 1], 0).into()),
        auth_timeout_s: 30,
        auth_limit: 50,
        timestamp_events: true,
        users: vec![
            user("lab", ALL, ALL),
            user("calls", CALL, CALL),
            user("writer", 0, CALL),
            user("powerless", ALL, 0),
            AmiUser { allow_multiple_login: false, ..user("single", ALL, ALL) },
            AmiUser {
                access: vec![(false, network("0.0.0.0", 0)), (true, network("10.0.0.0", 8))],
                ..user("far", ALL, ALL)
            },
            AmiUser {
                access: vec![(false, network("0.0.0.0", 0)), (true, network("127.0.0.0", 8))],
                ..user("near", ALL, ALL)
            },
        ],
        ..AmiConfig::default()
    }
}

/// Hints as in the configuration that the traces were made with.
fn core_config() -> Config {
    let mut dialplan = Dialplan::default();
    let tenant = TenantId(0);
    let mut add = |exten: &str, text: &str| {
        let hint = Hint::parse(text, "extensions.conf:1").unwrap();
        dialplan.add_hint(tenant, "hints", exten, hint).unwrap();
    };
    for n in 0..100 {
        let (phone, lamp) = (format!("20{n:02}"), format!("lamp{n}"));
        add(&phone, &format!("PJSIP/{phone},CustomPresence:{phone}"));
        add(&lamp, &format!("Custom:{lamp},CustomPresence:{lamp}"));
    }
    add("ponly", ",CustomPresence:ponly");
    add("donly", "Custom:donly");
    add("multi", "Custom:m1&Custom:m2,CustomPresence:multi");
    let text = "Custom:p${EXTEN},CustomPresence:p${EXTEN}";
    let template = Template::parse(text, &Globals::default(), "extensions.conf:2").unwrap();
    dialplan.add_pattern(tenant, "hints", "_77XX", template).unwrap();
    let tenants = vec![Tenant { name: "default".into(), domain: None }];
    Config { tenants, dialplan, ..Config::default() }
}

/// An AMI client.
pub(crate) struct Client {
    stream: TcpStream,
    text: Vec<u8>,
}

impl Client {
    /// Connects and reads the banner.
    pub(crate) fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(node.address).unwrap();
        let mut client = Self { stream, text: Vec::new() };
        assert_eq!(client.line().as_deref(), Some("Asterisk Call Manager/11.0.0"));
        client
    }

    /// Connects and logs in; events as `events` says.
    pub(crate) fn login(node: &Node, user: &str, events: &str) -> Self {
        let mut client = Self::connect(node);
        let request =
            format!("Action: Login\r\nUsername: {user}\r\nSecret: {user}\r\nEvents: {events}");
        assert_eq!(client.ask(&request)[1], header("Message", "Authentication accepted"));
        client
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends bytes to a server that may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a request and reads its reply, passing over events before it.
    pub(crate) fn ask(&mut self, request: &str) -> Message {
        self.send(format!("{}\r\n\r\n", request.trim_end()).as_bytes());
        loop {
            let message = self.message().expect("a reply");
            if message[0].0 == "Response" {
                return message;
            }
        }
    }

    /// The next message; `None` when the server closed the connection.
    pub(crate) fn message(&mut self) -> Option<Message> {
        let mut message = Message::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(message);
            }
            let (name, value) =
                line.split_once(": ").unwrap_or_else(|| panic!("no header: {line}"));
            message.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Messages until `done` says that it has enough.
    pub(crate) fn until(&mut self, mut done: impl FnMut(&Message) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message().expect("more messages"));
            if done(messages.last().unwrap()) {
                return messages;
            }
        }
    }

    /// Messages that come within `time`.
    pub(crate) fn quiet_for(&mut self, time: Duration) -> Vec<Message> {
        let end = Instant::now() + time;
        let mut messages = Vec::new();
        while self.fill(end) {
            while self.text.windows(4).any(|window| window == b"\r\n\r\n") {
                messages.push(self.message().unwrap());
            }
        }
        messages
    }

    fn line(&mut self) -> Option<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.text.windows(2).position(|window| window == b"\r\n") {
                let rest = self.text.split_off(place + 2);
                let line = std::mem::replace(&mut self.text, rest);
                return Some(String::from_utf8(line[..place].to_vec()).unwrap());
            }
            if !self.fill(end) {
                assert!(Instant::now() < end, "the server says nothing");
                return None;
            }
        }
    }

    /// Reads more; false at the end of the connection or of the time.
    fn fill(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.text.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }
}

pub(crate) fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The value of a header.
pub(crate) fn value<'m>(message: &'m Message, name: &str) -> &'m str {
    let found = message.iter().find(|(n, _)| n == name);
    found.map_or("", |(_, value)| value)
}
