//! Bytes nobody would send: captured requests, mutated. Whatever comes, the connection is either
//! served on or ended, and no task panics.

use std::time::{Duration, Instant};

use crate::harness::{Client, start, value};

const SEED: u64 = 0x6c61_6d70;
const CASE_COUNT: usize = 2_000;
/// Requests in one case.
const REQUEST_COUNT: usize = 4;

#[test]
fn mutated_requests_are_answered_or_refused() {
    let capture = include_str!("../captures/ami-presence.txt");
    let mut requests: Vec<Vec<u8>> = capture
        .split("----- AMI SEND\n")
        .skip(1)
        .map(|exchange| exchange.split("-----").next().unwrap().trim_end())
        .map(|request| format!("{}\r\n\r\n", request.replace('\n', "\r\n")).into_bytes())
        .filter(|request| !request.starts_with(b"Action: Login"))
        .collect();
    for command in include_str!("../captures/cli.txt").lines().filter_map(command) {
        requests.push(format!("Action: Command\r\nCommand: {command}\r\n\r\n").into_bytes());
    }
    let lab = start();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut survived_count = 0;
    let since = Instant::now();
    for case in 0..CASE_COUNT {
        let mut bytes = Vec::new();
        for _ in 0..REQUEST_COUNT {
            bytes.extend_from_slice(&requests[random.usize(..requests.len())]);
        }
        mutate(&mut bytes, &mut random);
        let mut client = Client::login(&lab, "lab", "off");
        let sent = client.try_send(&bytes)
            && client.try_send(b"\r\n\r\nAction: Ping\r\nActionID: last\r\n\r\n");
        assert!(sent, "seed {SEED:#x} case {case}");
        let mut goodbye = false;
        let answered = loop {
            match client.message() {
                Some(message) if value(&message, "ActionID") == "last" => break true,
                Some(message) => goodbye |= value(&message, "Response") == "Goodbye",
                None => break goodbye,
            }
        };
        assert!(answered, "seed {SEED:#x} case {case}: the connection broke off");
        survived_count += 1;
    }
    assert_eq!(survived_count, CASE_COUNT);
    assert!(since.elapsed() < Duration::from_secs(120));
    lab.stop();
}

/// The command of a line of the capture, if it is one.
fn command(line: &str) -> Option<&str> {
    line.strip_prefix("$ asterisk -rx \"")?.strip_suffix('"')
}

fn mutate(bytes: &mut Vec<u8>, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..6) {
        let place = random.usize(..bytes.len());
        match random.u8(..7) {
            0 => bytes[place] = random.u8(..),
            1 => bytes[place] ^= 1 << random.u8(..8),
            2 => drop(bytes.remove(place)),
            3 => bytes.insert(place, b"\r\n:,()\\\"@&/ \0\x80"[random.usize(..14)]),
            4 => {
                let end = (place + random.usize(..40)).min(bytes.len());
                let piece = bytes[place..end].to_vec();
                let target = random.usize(..bytes.len());
                bytes.splice(target..target, piece);
            }
            5 => {
                let end = (place + random.usize(..40)).min(bytes.len() - 1);
                bytes.drain(place.min(end)..end);
            }
            _ => {
                let piece = vec![bytes[place]; random.usize(..3000)];
                bytes.splice(place..place, piece);
            }
        }
    }
}
