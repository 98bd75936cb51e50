//! A table on loopback, driven by hand, with plain blocking peers.

mod secure;
mod web;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::{Layers, StreamLimits, StreamMessage, StreamOptions, StreamTable, StreamTarget};
use crate::sys::Poller;

const MESSAGE: &[u8] = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";

/// A table that listens, the time it is told, and what it has read.
struct Host {
    table: StreamTable,
    poller: Poller,
    address: SocketAddr,
    layers: Layers,
    now: Duration,
    got: Vec<(u32, Vec<u8>)>,
    fullness: Vec<(u32, bool)>,
}

impl Host {
    fn new(limits: StreamLimits) -> Self {
        Self::with(limits, StreamOptions::default())
    }

    fn with(limits: StreamLimits, options: StreamOptions) -> Self {
        let mut table = StreamTable::new(limits);
        let any = "127.0.0.1:0".parse().expect("an address");
        let address = table.listen(any, options.clone()).expect("a socket");
        let poller = Poller::new().expect("epoll");
        table.watch(&poller).expect("watched");
        let (got, fullness) = (Vec::new(), Vec::new());
        let (now, layers) = (Duration::ZERO, options.layers());
        Self { table, poller, address, layers, now, got, fullness }
    }

    /// One turn of a shard's loop; waits for something to be ready.
    fn turn(&mut self, wait: Duration) {
        let mut ready = Vec::new();
        self.poller.wait(wait, &mut ready).expect("epoll");
        for ready in ready {
            let got = &mut self.got;
            self.table.on_ready(&self.poller, ready, self.now, |message: StreamMessage<'_>| {
                got.push((message.serial, message.bytes.to_vec()));
            });
        }
        self.table.flush(&self.poller, self.now);
        self.table.sweep(&self.poller, self.now);
        let changed = self.table.take_fullness().into_iter();
        self.fullness.extend(changed.map(|change| (change.serial, change.is_full)));
    }

    /// Turns until `done`, and fails if that takes too long.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if done(self) {
                return;
            }
            self.turn(Duration::from_millis(5));
        }
        panic!("never came: {what}; {:?}", self.table.counts());
    }

    fn send(&mut self, serial: u32, peer: SocketAddr, message: &[u8]) {
        let target = StreamTarget { serial, peer, local: self.address, layers: self.layers };
        self.table.send(&self.poller, target, message, self.now);
        self.table.flush(&self.poller, self.now);
    }

    /// A peer whose connection is known here under the serial returned.
    fn greeted(&mut self) -> (TcpStream, u32) {
        let mut client = self.client();
        client.write_all(MESSAGE).expect("written");
        let before = self.got.len();
        self.until("its first message", |host| host.got.len() > before);
        (client, self.got[before].0)
    }

    /// What a shard does in a turn with one NOTIFY for each of `peers`, unless theirs is full.
    fn tell(&mut self, peers: &[(u32, SocketAddr)], number: u32) -> Vec<bool> {
        let told = peers.iter().map(|(serial, peer)| {
            let last = self.fullness.iter().rev().find(|(of, _)| of == serial);
            let is_told = !last.is_some_and(|(_, is_full)| *is_full);
            if is_told {
                let target = StreamTarget {
                    serial: *serial,
                    peer: *peer,
                    local: self.address,
                    layers: self.layers,
                };
                self.table.send(&self.poller, target, &notify(number), self.now);
            }
            is_told
        });
        let told = told.collect();
        self.turn(Duration::ZERO);
        told
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("connected");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        client
    }
}

/// As long as a NOTIFY, and tells its number.
fn notify(number: u32) -> Vec<u8> {
    format!("{number:01000}").into_bytes()
}

/// The numbers of the NOTIFYs in `bytes`, which must be whole.
fn numbers(bytes: &[u8]) -> Vec<u32> {
    assert_eq!(bytes.len() % 1000, 0, "a NOTIFY is missing a part");
    let number = |bytes| str::from_utf8(bytes).expect("text").parse().expect("a number");
    bytes.chunks(1000).map(number).collect()
}

fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("as many bytes as promised");
    bytes
}

#[test]
fn messages_are_framed_however_they_are_cut_and_answers_come_back() {
    let mut host = Host::new(StreamLimits::default());
    let mut client = host.client();
    let (mut stream, mut want) = (Vec::new(), 0);
    for blank in [&b""[..], b"\r\n", b"\r\n\r\n"] {
        stream.extend_from_slice(blank);
        stream.extend_from_slice(MESSAGE);
        want += 1;
    }
    for piece in [1, 7, 100, 1000] {
        host.got.clear();
        for bytes in stream.chunks(piece) {
            client.write_all(bytes).expect("written");
            host.turn(Duration::from_millis(1));
        }
        host.until("the messages", |host| host.got.len() == want);
        assert!(host.got.iter().all(|(serial, bytes)| *serial == 1 && bytes == MESSAGE));
        // The ping between the messages was answered, and nothing else.
        assert_eq!(read(&mut client, 2), b"\r\n");
        host.send(1, client.local_addr().expect("bound"), b"answer");
        assert_eq!(read(&mut client, 6), b"answer");
    }
    let counts = host.table.counts();
    assert_eq!((counts.ping_count, counts.message_in_count, counts.message_out_count), (4, 12, 4));
    drop(client);
    host.until("the end", |host| host.table.connection_count() == 0);
    assert_eq!(host.table.take_closed(), [1]);
    assert_eq!(host.table.counts().closed_by_peer_count, 1);
}

#[test]
fn a_peer_without_a_connection_gets_one_and_the_next_message_uses_it() {
    let mut host = Host::new(StreamLimits::default());
    let peer = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = peer.local_addr().expect("bound");
    host.send(77, address, b"one ");
    host.send(0, address, b"two ");
    host.until("the connection", |host| host.table.counts().connected_count == 1);
    host.turn(Duration::ZERO);
    let (mut accepted, _) = peer.accept().expect("accepted");
    assert_eq!(read(&mut accepted, 8), b"one two ");
    host.send(0, address, b"three");
    assert_eq!(read(&mut accepted, 5), b"three");
    assert_eq!((host.table.connection_count(), host.table.counts().connected_count), (1, 1));
    // The answer comes over the same connection.
    accepted.write_all(MESSAGE).expect("written");
    host.until("the answer", |host| host.got.len() == 1);
    // A half-closed connection still carries what we have to say.
    accepted.write_all(MESSAGE).expect("written");
    accepted.shutdown(std::net::Shutdown::Write).expect("half closed");
    host.until("the last message", |host| host.got.len() == 2);
}

#[test]
fn a_peer_that_refuses_or_never_answers_a_connection_is_given_up() {
    let mut host = Host::new(StreamLimits::default());
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("bound");
    host.send(0, nobody, b"lost");
    host.until("the refusal", |host| host.table.counts().connect_failed_count == 1);
    assert_eq!(host.table.counts().message_dropped_count, 1);
    assert_eq!(host.table.connection_count(), 0);
}

#[test]
fn limits_hold_and_are_counted() {
    let limits = StreamLimits {
        connection_count_max: 3,
        per_source_max: 2,
        queue_bytes_max: 1 << 20,
        ..StreamLimits::default()
    };
    let mut host = Host::new(limits);
    let mut clients: Vec<_> = (0..3).map(|_| host.client()).collect();
    host.until("all are seen", |host| {
        host.table.counts().accepted_count + host.table.counts().refused_count == 3
    });
    assert_eq!(host.table.counts().refused_count, 1);
    assert_eq!(clients[2].read(&mut [0]).ok(), Some(0), "the third is closed at once");

    // One does not read: its queue fills, and only its own connection ends.
    let slow = clients[0].local_addr().expect("bound");
    let big = vec![b'x'; 60_000];
    for _ in 0..1000 {
        host.send(0, slow, &big);
        if host.table.counts().overrun_count > 0 {
            break;
        }
    }
    assert_eq!((host.table.counts().overrun_count, host.table.connection_count()), (1, 1));
    assert_eq!(host.table.waiting_bytes(), 0);

    // What is not SIP ends its connection.
    clients[1].write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
    host.until("the end", |host| host.table.connection_count() == 0);
    assert_eq!(host.table.counts().broken_count, 1);

    // Their places are free again.
    let _client = host.client();
    host.until("a new one", |host| host.table.connection_count() == 1);
}

#[test]
fn silent_stuck_and_idle_connections_end_in_time() {
    let limits = StreamLimits::default();
    let mut host = Host::new(limits);
    let (_silent, mut stuck, mut idle) = (host.client(), host.client(), host.client());
    stuck.write_all(MESSAGE).expect("written");
    idle.write_all(MESSAGE).expect("written");
    host.until("two messages", |host| host.got.len() == 2);
    host.until("three connections", |host| host.table.connection_count() == 3);
    host.now = Duration::from_secs(20);
    stuck.write_all(&MESSAGE[..30]).expect("written");
    host.turn(Duration::from_secs(5));
    for (now_s, left, ended) in [
        (29, 3, "nobody yet"),
        (31, 2, "the silent one"),
        (49, 2, "nobody"),
        (51, 1, "the one that stopped half-way"),
        (3_899, 1, "nobody"),
        (3_901, 0, "the idle one"),
    ] {
        host.now = Duration::from_secs(now_s);
        host.turn(Duration::ZERO);
        assert_eq!(host.table.connection_count(), left, "at {now_s} s: {ended}");
    }
    assert_eq!(host.table.counts().idle_count, 3);
    assert_eq!(host.table.next_deadline(), None);
}

#[test]
fn a_message_in_single_bytes_ends_before_it_costs_much() {
    let limits = StreamLimits::default();
    let mut host = Host::new(limits);
    let mut client = host.client();
    let mut head = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 60000\r\n\r\n".to_vec();
    head.resize(60_000, b'x');
    client.write_all(&head[..1000]).expect("written");
    for byte in &head[1000..] {
        if host.table.counts().broken_count > 0 || client.write_all(&[*byte]).is_err() {
            break;
        }
        host.turn(Duration::from_millis(1));
    }
    assert_eq!(host.table.counts().broken_count, 1);
}

#[test]
fn ten_thousand_notifys_of_many_turns_are_few_writes() {
    let mut host = Host::new(StreamLimits::default());
    let (client, serial) = host.greeted();
    let peer = client.local_addr().expect("bound");
    let reader = std::thread::spawn(move || {
        let mut client = client;
        read(&mut client, 10_000 * 1000)
    });
    for number in 0..10_000 {
        let target = StreamTarget { serial, peer, local: host.address, layers: host.layers };
        host.table.send(&host.poller, target, &notify(number), host.now);
        if number % 64 == 63 {
            host.turn(Duration::ZERO);
        }
    }
    host.until("all is written", |host| host.table.waiting_bytes() == 0);
    let got = numbers(&reader.join().expect("read"));
    assert!(got.iter().copied().eq(0..10_000));
    let counts = host.table.counts();
    assert_eq!((counts.message_out_count, counts.overrun_count), (10_000, 0));
    // One for each 64, and some that the full send buffer cut.
    assert!(counts.write_count < 10_000 / 32, "{counts:?}");
    // One turn with all of them, as for an edge that was away: one write per 64 KiB.
    let (client, serial) = host.greeted();
    let peer = client.local_addr().expect("bound");
    for number in 0..1000 {
        let target = StreamTarget { serial, peer, local: host.address, layers: host.layers };
        host.table.send(&host.poller, target, &notify(number), host.now);
    }
    let written = host.table.counts().write_count - counts.write_count;
    assert!(written <= 16, "{written}");
}

#[test]
fn a_peer_that_stops_reading_is_full_until_it_reads_and_delays_nobody() {
    let mut host = Host::new(StreamLimits::default());
    let ((mut stopped, one), (mut reading, two)) = (host.greeted(), host.greeted());
    let address = |client: &TcpStream| client.local_addr().expect("bound");
    let peers = [(one, address(&stopped)), (two, address(&reading))];
    let mut told = Vec::new();
    for number in 0..20_000 {
        let is_told = host.tell(&peers, number);
        assert!(is_told[1], "the other is never full");
        assert_eq!(numbers(&read(&mut reading, 1000)), [number]);
        told.extend(is_told[0].then_some(number));
    }
    // The kernel may find a little more room at first.
    assert!(host.fullness.ends_with(&[(one, true)]) && host.fullness.len() < 8);
    let limits = StreamLimits::default();
    let waiting_bytes = host.table.waiting_bytes();
    assert!(waiting_bytes <= limits.full_bytes + 1000, "{waiting_bytes}");
    assert!(told.len() < 20_000, "it was held back");

    // It reads again, and is told the newest then: nothing twice, nothing older after it.
    let mut seen = Vec::new();
    let mut number = 20_000;
    while told.last() != Some(&number) {
        seen.extend(read(&mut stopped, 1000));
        number += 1;
        if host.tell(&peers[..1], number)[0] {
            told.push(number);
        }
    }
    assert!(host.fullness.ends_with(&[(one, true), (one, false)]), "{:?}", host.fullness);
    host.until("all is written", |host| host.table.waiting_bytes() == 0);
    seen.extend(read(&mut stopped, told.len() * 1000 - seen.len()));
    assert_eq!(numbers(&seen), told);
    assert_eq!(host.table.connection_count(), 2);
}

#[test]
fn a_peer_that_reads_nothing_or_too_little_is_closed_whatever_it_sends() {
    // (longest time full, bytes read a second, closed not before, and not after this second)
    for (full_max_s, read_bytes, first_s, last_s) in [(1000, 0, 30, 75), (60, 40_000, 60, 62)] {
        let full_max = Duration::from_secs(full_max_s);
        let limits = StreamLimits { full_max, ..StreamLimits::default() };
        let mut host = Host::new(limits);
        let (mut peer, serial) = host.greeted();
        let peers = [(serial, peer.local_addr().expect("bound"))];
        while host.tell(&peers, 1)[0] {}
        // More than is read in the time: it stays full.
        host.send(serial, peers[0].1, &vec![b'0'; 4 << 20]);
        let mut now_s = 0;
        while host.table.connection_count() == 1 {
            assert!(now_s <= last_s, "{read_bytes} bytes read a second");
            // Pings prove that it lives, not that it reads.
            peer.write_all(b"\r\n\r\n").expect("written");
            read(&mut peer, read_bytes);
            host.turn(Duration::from_millis(20));
            now_s += 1;
            host.now = Duration::from_secs(now_s);
        }
        assert!(now_s > first_s, "{now_s} s, {read_bytes} bytes read a second");
        let counts = host.table.counts();
        assert_eq!((counts.slow_count, host.table.waiting_bytes()), (1, 0));
        assert_eq!(host.table.take_closed(), [serial]);
    }
}

#[test]
fn what_waits_for_all_peers_together_is_bounded() {
    let limits = StreamLimits { queue_bytes_total_max: 1 << 20, ..StreamLimits::default() };
    let mut host = Host::new(limits);
    let clients: Vec<_> = (0..10).map(|_| host.greeted()).collect();
    let big = vec![b'x'; 200_000];
    for (client, serial) in clients.iter().cycle().take(1000) {
        let peer = client.local_addr().expect("bound");
        host.send(*serial, peer, &big);
        assert!(host.table.waiting_bytes() <= (1 << 20) + big.len());
        if host.table.counts().crowded_count > 0 {
            break;
        }
    }
    let counts = host.table.counts();
    assert_eq!((counts.crowded_count, counts.overrun_count), (1, 0), "one makes room for all");
    // From half of the bound on a connection is full as soon as anything waits.
    host.turn(Duration::ZERO);
    let closed = host.table.take_closed();
    let open: Vec<u32> = clients.iter().map(|(_, serial)| *serial).collect();
    let open: Vec<u32> = open.into_iter().filter(|serial| !closed.contains(serial)).collect();
    assert_eq!((open.len(), closed.len()), (9, 1));
    let full = open.iter().filter(|serial| host.fullness.contains(&(**serial, true))).count();
    assert!(full >= 3, "{:?}", host.fullness);
}
