//! A node of its own in this process or as a program: it answers, it sleeps, it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use lampfield::config::{Listen, NodeConfig};
use lampfield::run::Node;
use lampfield_core::config::{Config, Tenant};
use lampfield_core::flow::Transport;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lampfield-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a scratch directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(scratch: &Scratch, shard_count: u8, binds: &[(Transport, &str)]) -> NodeConfig {
    let core = Config { tenants: vec![Tenant::default()], ..Config::default() };
    NodeConfig {
        core: Arc::new(core),
        listen: binds
            .iter()
            .map(|(transport, bind)| Listen::plain(*transport, bind.parse().expect(bind)))
            .collect(),
        shard_count: Some(shard_count),
        ami: None,
        mirrors: Vec::new(),
        console_socket: scratch.0.join("console.sock"),
        state_dir: Some(scratch.0.join("state")),
        syncs_always: false,
        user: None,
        core_dumps: false,
    }
}

fn start(config: NodeConfig) -> Node {
    Node::start(config, Arc::new(|_| anyhow::bail!("no files"))).expect("the node starts")
}

/// CPU time of all threads whose name starts with `shard-`, from `/proc`.
fn shard_cpu() -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("/proc").flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((name, fields)) = stat.rsplit_once(')') else { continue };
        if name.contains("(shard-") {
            let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
            ticks += fields[11..13].iter().filter_map(|f| f.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Duration::from_millis(ticks * 10)
}

#[test]
fn shards_share_a_port_sleep_when_idle_and_end_cleanly() {
    for shard_count in [1, 2] {
        let scratch = Scratch::new(&format!("idle-{shard_count}"));
        let binds = [(Transport::Udp, "127.0.0.1:0"), (Transport::Udp, "[::1]:0")];
        let node = start(config(&scratch, shard_count, &binds));
        let bound: Vec<SocketAddr> = node.bound().iter().map(|bound| bound.address).collect();
        assert_eq!(bound.len(), 2);
        assert!(bound.iter().all(|address| address.port() != 0));
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.send_to(b"not SIP\r\n", bound[0]).expect("sent");

        let (cpu, wall) = (shard_cpu(), Instant::now());
        std::thread::park_timeout(Duration::from_secs(2));
        let (cpu, wall) = (shard_cpu() - cpu, wall.elapsed());
        assert!(cpu * 100 < wall, "{shard_count} idle shards used {cpu:?} in {wall:?}");

        let ending = Instant::now();
        node.stop().expect("a clean end");
        assert!(ending.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn streams_are_served_by_every_shard_and_closed_when_they_speak_something_else() {
    for shard_count in [1, 2] {
        let scratch = Scratch::new(&format!("streams-{shard_count}"));
        let node = start(config(&scratch, shard_count, &[(Transport::Tcp, "127.0.0.1:0")]));
        let address = node.bound()[0].address;
        let mut clients: Vec<_> = (0..16)
            .map(|_| {
                let client = TcpStream::connect(address).expect("connected");
                client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
                client
            })
            .collect();
        for client in &mut clients {
            client.write_all(b"\r\n\r\n").expect("written");
            let mut pong = [0; 2];
            client.read_exact(&mut pong).expect("a pong");
            assert_eq!(&pong, b"\r\n");
        }
        for client in &mut clients {
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
            assert!(matches!(client.read(&mut [0; 64]), Ok(0) | Err(_)), "answered HTTP");
        }
        node.stop().expect("a clean end");
        assert!(TcpStream::connect(address).is_err(), "still listening");
    }
}

/// An OPTIONS as a phone sends it to keep its way open. Long enough: a stranger never gets more
/// bytes than it sent.
fn options(transport: &str, from: SocketAddr, number: usize) -> String {
    format!(
        "OPTIONS sip:127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {from};branch=z9hG4bKping{number};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:phone@127.0.0.1>;tag=f{number}\r\n\
         To: <sip:127.0.0.1>\r\n\
         Call-ID: ping-{number}\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:phone@{from}>\r\n\
         User-Agent: A phone of some make and model, version 1.2.3\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn options_are_answered_over_udp_and_tcp_by_one_and_by_two_shards() {
    for shard_count in [1, 2] {
        let scratch = Scratch::new(&format!("options-{shard_count}"));
        let binds = [(Transport::Udp, "127.0.0.1:0"), (Transport::Tcp, "127.0.0.1:0")];
        let node = start(config(&scratch, shard_count, &binds));
        let (udp, tcp) = (node.bound()[0].address, node.bound()[1].address);
        // Many peers, so that every shard gets some.
        for number in 0..32 {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
            let request = options("UDP", client.local_addr().expect("bound"), number);
            client.send_to(request.as_bytes(), udp).expect("sent");
            let mut buffer = [0; 2048];
            let (length, peer) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!(peer, udp);
            answers(&buffer[..length], number);

            let mut client = TcpStream::connect(tcp).expect("connected");
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
            let request = options("TCP", client.local_addr().expect("bound"), number);
            client.write_all(request.as_bytes()).expect("sent");
            let length = client.read(&mut buffer).expect("an answer");
            answers(&buffer[..length], number);
        }
        node.stop().expect("a clean end");
    }
}

fn answers(bytes: &[u8], number: usize) {
    let text = String::from_utf8_lossy(bytes);
    assert!(text.starts_with("SIP/2.0 "), "{text}");
    assert!(text.contains(&format!("Call-ID: ping-{number}\r\n")), "{text}");
    assert!(text.contains(&format!("branch=z9hG4bKping{number}")), "{text}");
}

#[test]
fn a_taken_port_and_a_taken_store_are_refused_in_words() {
    let scratch = Scratch::new("taken");
    let node = start(config(&scratch, 1, &[(Transport::Udp, "127.0.0.1:0")]));
    let address = node.bound()[0].address.to_string();
    let other = Scratch::new("taken-other");
    let refused = |config| {
        let result = Node::start(config, Arc::new(|_| anyhow::bail!("no files")));
        format!("{:#}", result.map(drop).expect_err("the second node is refused"))
    };
    let text = refused(config(&other, 1, &[(Transport::Udp, &address)]));
    assert!(text.contains(&address) && text.contains("in use"), "{text}");
    let text = refused(config(&scratch, 1, &[(Transport::Udp, "127.0.0.1:0")]));
    assert!(text.contains("lampfield.redb is in use by another process"), "{text}");
    node.stop().expect("a clean end");
}

/// The program, running, with what it said on stderr so far.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    fn start(scratch: &Scratch, shard_count: u8) -> Self {
        let file = |name: &str| scratch.0.join(name).display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_lampfield"))
            .args(["run", "--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0"])
            .args(["--shards", &shard_count.to_string(), "--state-dir", &file("state")])
            .args(["--console", &file("console.sock"), "--ready-file", &file("ready")])
            .env("LAMPFIELD_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line with `text`.
    fn says(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
                panic!("never said {text:?}, but:\n{}", self.seen.join("\n"));
            });
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn signal(&self, signal: libc::c_int) {
        let sent = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end; fails if it takes longer than two seconds.
    fn ends(mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(2), "did not end in time");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_says_where_it_listens_reloads_on_hangup_and_ends_on_a_signal() {
    for (shard_count, signal) in [(1, libc::SIGTERM), (2, libc::SIGINT)] {
        let scratch = Scratch::new(&format!("program-{shard_count}"));
        let mut program = Program::start(&scratch, shard_count);
        let udp = program.says("listening udp 127.0.0.1:");
        program.says("listening tcp 127.0.0.1:");
        program.says("ready");
        let ready = std::fs::read_to_string(scratch.0.join("ready")).expect("a ready file");
        let address = ready.lines().find_map(|line| line.strip_prefix("udp ")).expect("a UDP line");
        assert!(udp.ends_with(address), "{udp} {address}");
        program.signal(libc::SIGHUP);
        program.says("SIGHUP: configuration");
        program.signal(signal);
        program.says("ended");
        assert_eq!(program.ends(), Some(0));
    }
}
