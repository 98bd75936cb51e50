//! With `sync = "always"` nothing that was answered is lost, whenever the process is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kills, each at once after an answer.
const ROUND_COUNT: usize = 100;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Program {
    child: Child,
    sip: String,
    ami: BufReader<TcpStream>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGKILL.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(dir: &Path, sip: &str) -> Self {
        let ready = dir.join("ready");
        let _ = std::fs::remove_file(&ready);
        let mut child = Command::new(env!("CARGO_BIN_EXE_lampfield"))
            .args(["run", "--config"])
            .arg(dir.join("lampfield.toml"))
            .args(["--listen", &format!("udp:{sip}"), "--ready-file"])
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let begun = Instant::now();
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                break text;
            }
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
            std::thread::park_timeout(Duration::from_millis(5));
        };
        let address = |kind: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(kind));
            line.unwrap_or_else(|| panic!("no {kind} in {text}")).to_owned()
        };
        let stream = TcpStream::connect(address("ami ")).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        let mut program = Self { child, sip: address("udp "), ami: BufReader::new(stream) };
        program.ami.read_line(&mut String::new()).expect("a banner");
        program.ask("Login\r\nUsername: u\r\nSecret: s\r\nEvents: off");
        program
    }

    fn ask(&mut self, action: &str) -> String {
        let text = format!("Action: {action}\r\n\r\n");
        self.ami.get_mut().write_all(text.as_bytes()).expect("written");
        let mut said = String::new();
        while !said.ends_with("\r\n\r\n") {
            assert!(self.ami.read_line(&mut said).expect("a reply") > 0, "closed after {said:?}");
        }
        said
    }

    /// What an extension shows.
    fn shown(&mut self, exten: &str) -> String {
        let said = self.ask(&format!("ExtensionState\r\nContext: hints\r\nExten: {exten}"));
        let line = said.lines().find_map(|line| line.strip_prefix("StatusText: "));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    }
}

#[test]
fn what_was_answered_outlives_a_kill_at_once_after_the_answer() {
    let name = format!("lampfield-durable-{}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    let dir = scratch.0.as_path();
    std::fs::create_dir_all(dir).expect("a directory");
    let config = format!(
        "[node]\nshards = 2\nsync = \"always\"\nstate_dir = \"{0}/state\"\n\
         console_socket = \"{0}/console.sock\"\n\
         [[endpoint]]\nname = \"phones\"\ncontext = \"hints\"\nmatch = [\"127.0.0.0/8\"]\n\
         [[hint_range]]\ncontext = \"hints\"\nrange = \"1000..=1099\"\nhint = \"Custom:lamp{{exten}}\"\n\
         [ami]\nbind = \"127.0.0.1:0\"\n\
         [[ami.user]]\nname = \"u\"\nsecret = \"s\"\nread = [\"all\"]\nwrite = [\"all\"]\n",
        dir.display()
    );
    std::fs::write(dir.join("lampfield.toml"), config).expect("written");
    let phone = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    phone.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    let mut sip = "127.0.0.1:0".to_owned();
    let mut cseqs = Vec::new();
    for round in 0..ROUND_COUNT {
        let mut program = Program::start(dir, &sip);
        sip.clone_from(&program.sip);
        // Everything of the rounds before is there.
        for (before, exten) in (0..round).zip(1000..) {
            let want = if before % 2 == 0 { "InUse" } else { "Ringing" };
            assert_eq!(program.shown(&exten.to_string()), want, "round {round}, {exten}");
        }
        if round == 0 {
            phone.send_to(subscribe(&phone, &sip).as_bytes(), &sip).expect("sent");
            let (answer, notify) = (receive(&phone), receive(&phone));
            let (answer, notify) =
                if answer.starts_with("SIP/2.0") { (answer, notify) } else { (notify, answer) };
            assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
            cseqs.push(cseq(&notify));
        } else {
            // The dialog goes on, with a number that was never used.
            let notify = receive(&phone);
            let number = cseq(&notify);
            assert!(cseqs.iter().all(|used| *used < number), "{number} after {cseqs:?}");
            cseqs.push(number);
            phone.send_to(ok(&notify).as_bytes(), &sip).expect("sent");
        }
        let (exten, state) = (1000 + round, if round % 2 == 0 { "INUSE" } else { "RINGING" });
        let set = format!("Setvar\r\nVariable: DEVICE_STATE(Custom:lamp{exten})\r\nValue: {state}");
        let said = program.ask(&set);
        assert!(said.contains("Variable Set"), "{said}");
        drop(program);
    }
}

fn subscribe(phone: &UdpSocket, sip: &str) -> String {
    let address = phone.local_addr().expect("bound");
    format!(
        "SUBSCRIBE sip:1099@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-d;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:w@{address}>;tag=d\r\nTo: <sip:1099@{sip}>\r\nCall-ID: d\r\n\
         CSeq: 1 SUBSCRIBE\r\nContact: <sip:w@{address}>\r\nEvent: presence\r\nExpires: 3600\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn receive(phone: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let length = phone.recv(&mut buffer).expect("a datagram");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {message}"))
}

fn cseq(notify: &str) -> u32 {
    let number = header(notify, "CSeq").split(' ').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("{notify}"))
}

fn ok(notify: &str) -> String {
    let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
        .map(|name| format!("{name}: {}\r\n", header(notify, name)));
    format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", copied.concat())
}
