//! A scripted manager interface: the states of the captured Asterisk, or those a test sets, told
//! as it tells them, over connections that a test may spoil.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// The captured conversation with a real Asterisk.
const CAPTURE: &str = include_str!("../captures/ami-presence.txt");

/// The events of the capture, from its sets of device states on, as they came.
pub(crate) fn captured_events() -> Vec<String> {
    let text = CAPTURE.split_once("##### DEVICE_STATE / events").expect("the capture").1;
    let text = text.split_once("##### login failure").expect("the capture").0;
    let event = |part: &str| {
        let lines: Vec<&str> = part.lines().take_while(|line| !line.is_empty()).collect();
        format!("Event: {}\r\n\r\n", lines.join("\r\n"))
    };
    text.split("Event: ").skip(1).map(event).collect()
}

/// How one connection goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Closed after so many bytes, wherever that is.
    CutAfter(usize),
    /// What it says is not AMI.
    Garbage,
    /// One byte at a time.
    Slow,
    /// It takes everything and says nothing after the login.
    Mute,
    /// A line of 100,000 bytes among the devices.
    LongLine,
}

/// A PBX that listens until it is dropped.
pub(crate) struct Pbx {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    secret: String,
    devices: Vec<(String, String)>,
    /// Known, but not listed.
    unlisted: Vec<(String, String)>,
    /// Name, and the lines of its state.
    presences: Vec<(String, String)>,
    troubles: VecDeque<Trouble>,
    /// Those that are logged in.
    connections: Vec<Connection>,
    connection_count: usize,
    is_deaf: bool,
    is_over: bool,
}

#[derive(Clone)]
struct Connection {
    stream: Arc<TcpStream>,
    trouble: Option<Trouble>,
    /// Bytes it may still write.
    left: Arc<Mutex<usize>>,
}

impl Pbx {
    /// A PBX without states.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Mutex::new(Shared { secret: "lab".to_owned(), ..Shared::default() }));
        let pbx = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut guard = shared.lock().expect("no panic");
                if guard.is_over {
                    return;
                }
                if guard.is_deaf {
                    continue;
                }
                guard.connection_count += 1;
                let trouble = guard.troubles.pop_front();
                let left = match trouble {
                    Some(Trouble::CutAfter(bytes)) => bytes,
                    _ => usize::MAX,
                };
                let left = Arc::new(Mutex::new(left));
                let connection = Connection { stream: Arc::new(stream), trouble, left };
                let shared = Arc::clone(&shared);
                thread::spawn(move || connection.serve(&shared));
            }
        });
        pbx
    }

    /// A PBX with the states of the captured one.
    pub(crate) fn captured() -> Self {
        let pbx = Self::start();
        let rows = |action: &str, header: &'static str| {
            let text = CAPTURE.split_once(&format!("Action: {action}\n")).expect("an action").1;
            let text = text.split_once(&format!("Event: {action}Complete")).expect("an end").0;
            let events = text.split("Event: ").skip(1);
            let rows = events.map(|event| {
                let mut lines = event.lines().skip(2);
                let name = lines.next().and_then(|line| line.strip_prefix(header));
                let rest = lines.take_while(|line| !line.is_empty());
                (name.expect(header).to_owned(), rest.collect::<Vec<_>>().join("\r\n"))
            });
            rows.collect::<Vec<_>>()
        };
        let mut shared = pbx.lock();
        shared.devices = rows("DeviceStateList", "Device: ");
        for (_, state) in &mut shared.devices {
            *state = state.strip_prefix("State: ").expect("a state").to_owned();
        }
        shared.presences = rows("PresenceStateList", "Presentity: ");
        assert_eq!((shared.devices.len(), shared.presences.len()), (116, 5));
        drop(shared);
        pbx
    }

    /// Sets a device, and tells whoever is logged in.
    pub(crate) fn set(&self, device: &str, state: &str) {
        let mut shared = self.lock();
        shared.devices.retain(|(name, _)| name != device);
        shared.devices.push((device.to_owned(), state.to_owned()));
        shared.tell(&format!(
            "Event: DeviceStateChange\r\nPrivilege: call,all\r\nDevice: {device}\r\n\
             State: {state}\r\n\r\n"
        ));
    }

    /// Sets a device that is only known to whoever asks.
    pub(crate) fn set_unlisted(&self, device: &str, state: &str) {
        self.lock().unlisted.push((device.to_owned(), state.to_owned()));
    }

    /// Sets a presence, for the next list.
    pub(crate) fn set_presence(&self, presentity: &str, lines: &str) {
        let mut shared = self.lock();
        shared.presences.retain(|(name, _)| name != presentity);
        shared.presences.push((presentity.to_owned(), lines.to_owned()));
    }

    /// As if the PBX had forgotten a device.
    pub(crate) fn forget(&self, device: &str) {
        self.lock().devices.retain(|(name, _)| name != device);
    }

    /// Tells whoever is logged in.
    pub(crate) fn tell(&self, event: &str) {
        self.lock().tell(event);
    }

    /// What the next connections suffer, one each.
    pub(crate) fn spoil(&self, troubles: &[Trouble]) {
        self.lock().troubles.extend(troubles);
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        for connection in self.lock().connections.drain(..) {
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether new connections are closed at once.
    pub(crate) fn set_deaf(&self, is_deaf: bool) {
        self.lock().is_deaf = is_deaf;
    }

    pub(crate) fn set_secret(&self, secret: &str) {
        secret.clone_into(&mut self.lock().secret);
    }

    /// Connections so far.
    pub(crate) fn connection_count(&self) -> usize {
        self.lock().connection_count
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().expect("no panic")
    }
}

impl Drop for Pbx {
    fn drop(&mut self) {
        self.cut();
        self.lock().is_over = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn tell(&mut self, event: &str) {
        self.connections.retain(|connection| connection.write(event).is_some());
    }
}

impl Connection {
    /// Serves it to its end, good or bad.
    fn serve(self, shared: &Arc<Mutex<Shared>>) {
        if matches!(self.trouble, Some(Trouble::Garbage)) {
            let junk: String = (0..5000_u32).map(|n| char::from((n * 7 % 90 + 33) as u8)).collect();
            let _ = self.write(&format!("{junk}\r\n\r\n{junk}"));
            return;
        }
        let mut reader = BufReader::new(&*self.stream);
        let mut talk = || -> Option<()> {
            self.write("Asterisk Call Manager/11.0.0\r\n")?;
            loop {
                let request = read_request(&mut reader)?;
                // Held while answering: no event comes inside a list.
                let mut shared = shared.lock().expect("no panic");
                self.answer(&request, &mut shared)?;
            }
        };
        let _ = talk();
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn answer(&self, request: &[(String, String)], shared: &mut Shared) -> Option<()> {
        let header = |name: &str| {
            let found = request.iter().find(|(n, _)| n == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let id = header("ActionID");
        let success = format!("Response: Success\r\nActionID: {id}\r\n");
        match header("Action") {
            "Challenge" => self.write(&format!("{success}Challenge: 170921\r\n\r\n")),
            "Login" => {
                if header("Key") != key("170921", &shared.secret) {
                    let text = "Message: Authentication failed";
                    self.write(&format!("Response: Error\r\nActionID: {id}\r\n{text}\r\n\r\n"))?;
                    return None;
                }
                assert_eq!(header("Events"), "system,call");
                self.write(&format!("{success}Message: Authentication accepted\r\n\r\n"))?;
                shared.connections.push(self.clone());
                self.write(
                    "Event: FullyBooted\r\nPrivilege: system,all\r\nUptime: 295\r\n\
                     LastReload: 295\r\nStatus: Fully Booted\r\n\r\n",
                )
            }
            _ if matches!(self.trouble, Some(Trouble::Mute)) => Some(()),
            "DeviceStateList" => self.list(id, "DeviceState", &shared.device_rows(self.trouble)),
            "PresenceStateList" => {
                let row = |(name, rest): &(String, String)| format!("Presentity: {name}\r\n{rest}");
                let rows: Vec<String> = shared.presences.iter().map(row).collect();
                self.list(id, "PresenceState", &rows)
            }
            "Ping" => self.write(&format!("{success}Ping: Pong\r\nTimestamp: 1.000001\r\n\r\n")),
            "Getvar" => {
                let name = header("Variable").strip_prefix("DEVICE_STATE(")?.strip_suffix(')')?;
                let known = shared.devices.iter().chain(&shared.unlisted);
                let state = known.clone().find(|(device, _)| device == name);
                let state = state.map_or("INVALID", |(_, state)| state);
                self.write(&format!("{success}Variable: x\r\nValue: {state}\r\n\r\n"))
            }
            other => panic!("nobody asks an Asterisk for {other}"),
        }
    }

    fn list(&self, id: &str, name: &str, rows: &[String]) -> Option<()> {
        let mut text = format!(
            "Response: Success\r\nActionID: {id}\r\nEventList: start\r\n\
             Message: Changes will follow\r\n\r\n"
        );
        for row in rows {
            text += &format!("Event: {name}Change\r\nActionID: {id}\r\n{row}\r\n\r\n");
        }
        let count = rows.len();
        text += &format!(
            "Event: {name}ListComplete\r\nActionID: {id}\r\nEventList: Complete\r\n\
             ListItems: {count}\r\n\r\n"
        );
        self.write(&text)
    }

    /// Writes, as far as this connection lives; `None` at its end.
    fn write(&self, text: &str) -> Option<()> {
        let mut left = self.left.lock().expect("no panic");
        let bytes = &text.as_bytes()[..text.len().min(*left)];
        if *left != usize::MAX {
            *left -= bytes.len();
        }
        let mut stream = &*self.stream;
        if matches!(self.trouble, Some(Trouble::Slow)) {
            for byte in bytes {
                stream.write_all(&[*byte]).ok()?;
                thread::sleep(Duration::from_micros(50));
            }
        } else {
            stream.write_all(bytes).ok()?;
        }
        if *left == 0 {
            let _ = self.stream.shutdown(Shutdown::Both);
            return None;
        }
        Some(())
    }
}

impl Shared {
    fn device_rows(&self, trouble: Option<Trouble>) -> Vec<String> {
        let row = |(name, state): &(String, String)| format!("Device: {name}\r\nState: {state}");
        let mut rows: Vec<String> = self.devices.iter().map(row).collect();
        if matches!(trouble, Some(Trouble::LongLine)) {
            rows.insert(1, format!("Device: {}\r\nState: INUSE", "x".repeat(100_000)));
        }
        rows
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Vec<(String, String)>> {
    let mut request = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => request.push((name.to_owned(), value.to_owned())),
            None => return Some(request),
        }
    }
}

fn key(challenge: &str, secret: &str) -> String {
    use md5::Digest as _;
    let digest = md5::Md5::digest(format!("{challenge}{secret}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
