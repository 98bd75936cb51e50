//! Steering: the kernel puts a datagram into the socket of the shard that waits for it.
//!
//! Shards share an address (`SO_REUSEPORT`). Left alone the kernel picks a socket by a hash over
//! the addresses, and with two shards every second answer has to be handed on. A classic BPF
//! program on the group of sockets (`SO_ATTACH_REUSEPORT_CBPF`) reads the partition out of what we
//! wrote ourselves and names the socket:
//!
//! ```text
//! SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK PPP …
//! SUBSCRIBE sip:lf PPP …
//! ```
//!
//! `PPP` are three hexadecimal digits; the shard is the partition modulo the number of shards, and
//! its socket the one bound in its turn. (The other end of this agreement: `engine/core/src/tag.rs`
//! and `placement.rs`.)
//!
//! Classic BPF has no loops. The ends of the status line and of our address are looked for at a
//! bounded number of places, one after the other. Whatever looks different gives an index that no
//! socket has, and the kernel takes its hash. Steering only saves a way: a shard that is given
//! another's datagram hands it on as before.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, RawFd};

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE,
    BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MOD,
    BPF_OR, BPF_RET, BPF_ST, BPF_TAX, BPF_TXA, BPF_W, BPF_X, sock_filter, sock_fprog, socklen_t,
};

use super::check;

/// No socket has this index: the kernel's hash decides.
const UNSTEERED: u32 = u32::MAX;

/// Partitions are numbered below this.
const PARTITION_COUNT: u32 = 1024;

/// Where the reason phrase begins, after `SIP/2.0 200 `.
const REASON_START: u32 = 12;

/// Longest reason phrase looked at: `Call/Transaction Does Not Exist`.
const REASON_BYTES_MAX: u32 = 31;

/// `SIP/2.0/UDP `, the bytes of a Via before our address.
const PROTOCOL_BYTES: u32 = 12;

/// What stands between our address and the cookie of the branch: at least `;branch=`, as we write
/// it `;rport;branch=`, and at most `;rport=65535;branch=`.
const PARAMETERS_BYTES: (u32, u32, u32) = (8, 14, 20);

/// Attaches steering over `socket_count` sockets to the group `fd` belongs to. `shown_as` is the
/// address of ours that Via names; a wildcard stands for any address.
pub(super) fn attach(fd: &impl AsRawFd, shown_as: SocketAddr, socket_count: u8) -> io::Result<()> {
    attach_program(fd.as_raw_fd(), &program(shown_as, socket_count))
}

fn attach_program(fd: RawFd, code: &[sock_filter]) -> io::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: code.as_ptr().cast_mut(),
    };
    // SAFETY: `program` and the instructions it points to live through the call, its length is
    // theirs, and the kernel only reads them. It checks the program itself.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<sock_fprog>() as socklen_t,
        )
    })
    .map(|_| ())
}

/// Bytes that an address of ours takes in a Via.
fn sent_by_bytes(shown_as: SocketAddr) -> RangeInclusive<u32> {
    let port_bytes = shown_as.port().to_string().len() as u32;
    match shown_as.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => 7 + 1 + port_bytes..=15 + 1 + port_bytes,
        IpAddr::V6(ip) if ip.is_unspecified() => 4 + 1 + port_bytes..=41 + 1 + port_bytes,
        _ => {
            let bytes = shown_as.to_string().len() as u32;
            bytes..=bytes
        }
    }
}

/// Offsets of the branch's cookie from the start of the Via's value, likely ones first.
fn cookie_offsets(shown_as: SocketAddr) -> Vec<u32> {
    let (least, usual, most) = PARAMETERS_BYTES;
    let sent_by = sent_by_bytes(shown_as);
    let at =
        |sent_by_bytes: u32, parameters_bytes| PROTOCOL_BYTES + sent_by_bytes + parameters_bytes;
    let likely = at(*sent_by.start(), usual)..=at(*sent_by.end(), usual);
    let all = at(*sent_by.start(), least)..=at(*sent_by.end(), most);
    likely.clone().chain(all.filter(|offset| !likely.contains(offset))).collect()
}

fn program(shown_as: SocketAddr, socket_count: u8) -> Vec<sock_filter> {
    let cookie_offsets = cookie_offsets(shown_as);
    let mut program = Assembler::default();
    // A load past the end would end the program with index 0. All loads lie before this.
    let line_end_max = REASON_START + REASON_BYTES_MAX + 2;
    let cookie_max = cookie_offsets.iter().copied().max().unwrap_or(0);
    program.op(BPF_LD | BPF_W | BPF_LEN, 0);
    program.expect(BPF_JGE, line_end_max + "via: ".len() as u32 + cookie_max + 10);

    program.op(BPF_LD | BPF_W | BPF_ABS, 0);
    let request = program.request();
    // Over the request's instructions to the answer's.
    program.jump_if(BPF_JEQ, word(*b"SIP/"), request.len() as u8 + 1, 0);
    program.code.extend(request);
    let request_end = program.leave();
    program.answer(&cookie_offsets);
    program.land(request_end);
    program.partition();
    program.op(BPF_ALU | BPF_MOD | BPF_K, socket_count.max(1).into());
    program.op(BPF_RET | BPF_A, 0);
    program.code
}

/// Return the accumulator; missing in `libc`.
const BPF_A: u32 = 0x10;

const fn word(text: [u8; 4]) -> u32 {
    u32::from_be_bytes(text)
}

const fn half(text: [u8; 2]) -> u32 {
    u16::from_be_bytes(text) as u32
}

/// Instructions in the making. Register X is where the program has got to in the datagram.
#[derive(Default)]
struct Assembler {
    code: Vec<sock_filter>,
}

impl Assembler {
    fn op(&mut self, code: u32, k: u32) {
        self.code.push(sock_filter { code: code as u16, jt: 0, jf: 0, k });
    }

    /// Compares the accumulator, and skips so many instructions.
    fn jump_if(&mut self, how: u32, k: u32, skip_if_true: u8, skip_if_false: u8) {
        let code = (BPF_JMP | how | BPF_K) as u16;
        self.code.push(sock_filter { code, jt: skip_if_true, jf: skip_if_false, k });
    }

    /// Gives up unless the accumulator compares well.
    fn expect(&mut self, how: u32, k: u32) {
        self.jump_if(how, k, 1, 0);
        self.give_up();
    }

    fn give_up(&mut self) {
        self.op(BPF_RET | BPF_K, UNSTEERED);
    }

    /// A jump to where [`Assembler::land`] will be called.
    fn leave(&mut self) -> usize {
        self.op(BPF_JMP | BPF_JA, 0);
        self.code.len() - 1
    }

    fn land(&mut self, from: usize) {
        self.code[from].k = (self.code.len() - from - 1) as u32;
    }

    /// X goes on by the accumulator.
    fn advance(&mut self) {
        self.op(BPF_ALU | BPF_ADD | BPF_X, 0);
        self.op(BPF_MISC | BPF_TAX, 0);
    }

    /// Looks for `text` at X and each of `offsets` and goes to just behind it. X must be loaded.
    fn find(&mut self, load: u32, text: u32, text_bytes: u32, offsets: impl Iterator<Item = u32>) {
        let mut found = Vec::new();
        for offset in offsets {
            self.op(BPF_LD | load | BPF_IND, offset);
            self.jump_if(BPF_JEQ, text, 0, 2);
            self.op(BPF_LD | BPF_IMM, offset + text_bytes);
            found.push(self.leave());
        }
        self.give_up();
        found.into_iter().for_each(|from| self.land(from));
        self.advance();
    }

    /// An answer: X is left behind the first half of the cookie.
    fn answer(&mut self, cookie_offsets: &[u32]) {
        self.op(BPF_LD | BPF_W | BPF_ABS, 4);
        self.expect(BPF_JEQ, word(*b"2.0 "));
        self.op(BPF_LDX | BPF_IMM, 0);
        // `OK` first. Without a reason phrase its blank may be missing, too.
        let others = (REASON_START - 1..=REASON_START + REASON_BYTES_MAX)
            .filter(|&offset| offset != REASON_START + 2);
        let line_ends = std::iter::once(REASON_START + 2).chain(others);
        self.find(BPF_H, half(*b"\r\n"), 2, line_ends);
        self.via_name();
        self.op(BPF_LD | BPF_W | BPF_IND, 0);
        self.expect(BPF_JEQ, word(*b"SIP/"));
        self.op(BPF_LD | BPF_W | BPF_IND, 8);
        self.expect(BPF_JEQ, word(*b"UDP "));
        self.find(BPF_W, word(*b"z9hG"), 4, cookie_offsets.iter().copied());
        self.op(BPF_LD | BPF_H | BPF_IND, 0);
        self.expect(BPF_JEQ, half(*b"4b"));
    }

    /// `Via:` or `v:` in any case and one blank or none.
    fn via_name(&mut self) {
        self.op(BPF_LD | BPF_W | BPF_IND, 0);
        self.op(BPF_ALU | BPF_OR | BPF_K, 0x2020_2000);
        self.jump_if(BPF_JEQ, word(*b"via:"), 0, 2);
        self.op(BPF_LD | BPF_IMM, 4);
        let long = self.leave();
        self.op(BPF_LD | BPF_H | BPF_IND, 0);
        self.op(BPF_ALU | BPF_OR | BPF_K, 0x2000);
        self.expect(BPF_JEQ, half(*b"v:"));
        self.op(BPF_LD | BPF_IMM, 2);
        self.land(long);
        self.advance();
        self.op(BPF_LD | BPF_B | BPF_IND, 0);
        self.jump_if(BPF_JEQ, b' '.into(), 0, 3);
        self.op(BPF_MISC | BPF_TXA, 0);
        self.op(BPF_ALU | BPF_ADD | BPF_K, 1);
        self.op(BPF_MISC | BPF_TAX, 0);
    }

    /// A request to a Contact of ours; the accumulator has the first word. X is left so that the
    /// digits are where [`Assembler::partition`] reads them.
    fn request(&self) -> Vec<sock_filter> {
        let mut request = Self::default();
        request.expect(BPF_JEQ, word(*b"SUBS"));
        for (offset, text) in [(4, *b"CRIB"), (8, *b"E si"), (12, *b"p:lf")] {
            request.op(BPF_LD | BPF_W | BPF_ABS, offset);
            request.expect(BPF_JEQ, word(text));
        }
        request.op(BPF_LDX | BPF_IMM, 13);
        request.code
    }

    /// Reads three hexadecimal digits, three bytes behind X.
    fn partition(&mut self) {
        for (place, shift) in [(0, 8), (1, 4), (2, 0)] {
            self.op(BPF_LD | BPF_B | BPF_IND, 3 + place);
            // Letters have this bit, and their low bits count from 1.
            self.jump_if(BPF_JSET, 0x40, 0, 1);
            self.op(BPF_ALU | BPF_ADD | BPF_K, 9);
            self.op(BPF_ALU | BPF_AND | BPF_K, 15);
            self.op(BPF_ALU | BPF_LSH | BPF_K, shift);
            self.op(BPF_ST, place);
        }
        self.op(BPF_LD | BPF_MEM, 0);
        for place in [1, 2] {
            self.op(BPF_LDX | BPF_MEM, place);
            self.op(BPF_ALU | BPF_ADD | BPF_X, 0);
        }
        // Not written by us.
        self.jump_if(BPF_JGE, PARTITION_COUNT, 0, 1);
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::sys::{BatchSocket, ReceiveBatch, SocketOptions, wait_readable};

    /// A group of sockets with steering, and a peer of it.
    struct Group {
        sockets: Vec<BatchSocket>,
        address: SocketAddr,
        peer: UdpSocket,
        batch: ReceiveBatch,
    }

    impl Group {
        fn new(bind: &str, to: &str, socket_count: u8) -> Self {
            let options = SocketOptions { reuse_port: true, gro: true, ..Default::default() };
            let mut bound: SocketAddr = bind.parse().expect(bind);
            let sockets: Vec<_> = (0..socket_count)
                .map(|_| {
                    let socket = BatchSocket::bind(bound, &options).expect("a socket");
                    bound = socket.local_addr();
                    socket
                })
                .collect();
            sockets[0].steer(bound, socket_count).expect("the kernel takes the program");
            let address = SocketAddr::new(to.parse().expect(to), bound.port());
            let own = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let peer = UdpSocket::bind(own).expect("a peer");
            Self { sockets, address, peer, batch: ReceiveBatch::new(8, 65_536) }
        }

        /// The socket that a datagram from `peer` comes to.
        fn socket_of(&mut self, peer: Option<&UdpSocket>, text: &str) -> usize {
            let peer = peer.unwrap_or(&self.peer);
            peer.send_to(text.as_bytes(), self.address).expect("sent");
            for _ in 0..1_000 {
                for (at, socket) in self.sockets.iter().enumerate() {
                    if socket.receive(&mut self.batch).expect("read") > 0 {
                        let got: Vec<_> = self.batch.datagrams().map(|got| got.bytes).collect();
                        assert_eq!(got, [text.as_bytes()]);
                        return at;
                    }
                }
                let _ = wait_readable(self.sockets[0].as_fd(), Duration::from_millis(1));
            }
            panic!("no socket got it: {text}");
        }
    }

    const GROUPS: [(&str, &str, u8); 6] = [
        ("127.0.0.1:0", "127.0.0.1", 2),
        ("127.0.0.1:0", "127.0.0.1", 3),
        ("0.0.0.0:0", "127.100.100.100", 3),
        ("[::1]:0", "::1", 2),
        ("[::]:0", "::1", 3),
        ("127.0.0.1:0", "127.0.0.1", 64),
    ];

    /// What follows the partition in every datagram, long enough for real.
    const REST: &str = "00000005deadbeef00000001;x\r\nFrom: <sip:1000@192.0.2.1>;tag=lf0\r\n\
                        To: <sip:phone@192.0.2.2>;tag=1\r\nCall-ID: 1\r\nCSeq: 1 NOTIFY\r\n\r\n";

    fn answer(shape: &str, sent_by: &str, partition: &str) -> String {
        shape.replace('@', sent_by).replace('#', partition) + REST
    }

    #[test]
    fn what_we_wrote_comes_back_to_the_socket_of_its_shard() {
        let shapes = [
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4bK#",
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP @;rport=61234;branch=z9hG4bK#",
            "SIP/2.0 200 OK\r\nv: SIP/2.0/UDP @;branch=z9hG4bK#",
            "SIP/2.0 200 OK\r\nVIA:SIP/2.0/UDP @;Branch=z9hG4bK#",
            "SIP/2.0 200 \r\nVia: SIP/2.0/UDP @;rport=5;branch=z9hG4bK#",
            "SIP/2.0 200\r\nvia: SIP/2.0/UDP @;rport;branch=z9hG4bK#",
            "SIP/2.0 481 Call/Transaction Does Not Exist\r\nV:SIP/2.0/UDP @;rport=65535;branch=z9hG4bK#",
            "SIP/2.0 408 Request Timeout\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4bK#",
            "SUBSCRIBE sip:lf#",
        ];
        for (bind, to, socket_count) in GROUPS {
            let mut group = Group::new(bind, to, socket_count);
            let sent_by = group.address.to_string();
            for shape in shapes {
                for partition in (0..1024_usize).step_by(41).chain([0x0f9, 0x3ff]) {
                    let text = answer(shape, &sent_by, &format!("{partition:03x}"));
                    let want = partition % usize::from(socket_count);
                    assert_eq!(group.socket_of(None, &text), want, "{bind} {text}");
                }
            }
        }
    }

    #[test]
    fn everything_else_is_left_to_the_hash() {
        let long =
            format!("SIP/2.0 200 {}\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4bK#", "x".repeat(32));
        let shapes = [
            &*long,
            "SIP/2.0 200 OK\r\nTo: x\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4bK#",
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP @;rport;branch=z9hG4bK#",
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4BK#",
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4bKf#",
            "SIP/3.0 200 OK\r\nVia: SIP/2.0/UDP @;rport;branch=z9hG4bK#",
            "SUBSCRIBE sip:1000@h SIP/2.0\r\n#",
            "SUBSCRIBE sips:lf#",
            "OPTIONS sip:lf#",
        ];
        for (bind, to, socket_count) in GROUPS {
            let mut group = Group::new(bind, to, socket_count);
            let sent_by = group.address.to_string();
            for shape in shapes {
                // One peer has one hash, whatever the partition.
                let mut of =
                    |partition: &str| group.socket_of(None, &answer(shape, &sent_by, partition));
                let first = of("000");
                assert!((1..24).all(|n| of(&format!("{n:03x}")) == first), "{bind} {shape}");
            }
            let short = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP";
            let peers: Vec<_> = (0..48)
                .map(|_| {
                    UdpSocket::bind(group.peer.local_addr().map(|a| (a.ip(), 0)).expect("bound"))
                })
                .collect();
            let sockets: std::collections::BTreeSet<_> =
                peers.iter().map(|peer| group.socket_of(peer.as_ref().ok(), short)).collect();
            assert!(sockets.len() > 1, "{bind}: short datagrams all came to {sockets:?}");
        }
    }

    #[test]
    fn every_program_fits_an_older_kernel() {
        for shown_as in ["127.0.0.1:5060", "0.0.0.0:5060", "[::]:65535", "[2001:db8::1]:5060"] {
            // It gives a program 20 KiB, and makes up to six instructions of 8 bytes out of one.
            let length = program(shown_as.parse().expect(shown_as), 64).len();
            assert!((100..420).contains(&length), "{shown_as}: {length}");
        }
    }
}
