//! The server is restarted under the watchers: by a shell command, or by hand.
//!
//! Whether it is there is asked with OPTIONS (RFC 3261 section 11): any answer will do.

use std::io::IsTerminal as _;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lampfield_wire::{Framing, Message};

use crate::outcome::LoadError;
use crate::scenario::Scenario;

/// How long one OPTIONS waits for its answer.
const ANSWER_WAIT: Duration = Duration::from_millis(250);
/// Unanswered OPTIONS in a row after which the server counts as gone.
const SILENCE_COUNT: u32 = 3;

/// Restarts the server and waits until it answers again.
///
/// # Errors
///
/// The command failed, or the server did not come back in time.
pub(crate) fn restart(
    scenario: &Scenario,
    command: Option<&str>,
    timeout: Duration,
) -> Result<(), LoadError> {
    let deadline = Instant::now() + timeout;
    match command {
        Some(command) => run(command, deadline)?,
        None => wait_for_hand(scenario, deadline)?,
    }
    while !answers(scenario)? {
        if Instant::now() > deadline {
            let target = scenario.target;
            return Err(LoadError::Setup(format!("restart: {target} does not answer OPTIONS")));
        }
    }
    Ok(())
}

fn run(command: &str, deadline: Instant) -> Result<(), LoadError> {
    let failed = |why: String| LoadError::Setup(format!("restart: {command}: {why}"));
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(status.to_string())),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("did not end in time".into()));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}

/// Waits until somebody has stopped the server.
fn wait_for_hand(scenario: &Scenario, deadline: Instant) -> Result<(), LoadError> {
    let bell = if std::io::stderr().is_terminal() { "\x07" } else { "" };
    eprintln!("{bell}restart the server at {} now", scenario.target);
    let mut silent_count = 0;
    while silent_count < SILENCE_COUNT {
        silent_count = if answers(scenario)? { 0 } else { silent_count + 1 };
        if Instant::now() > deadline {
            return Err(LoadError::Setup("restart: the server was not stopped".into()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether the server answers an OPTIONS now.
fn answers(scenario: &Scenario) -> Result<bool, LoadError> {
    let failed = |error: std::io::Error| LoadError::Setup(format!("restart: OPTIONS: {error}"));
    let socket =
        UdpSocket::bind(SocketAddr::new(scenario.sources.address(0), 0)).map_err(failed)?;
    socket.set_read_timeout(Some(ANSWER_WAIT)).map_err(failed)?;
    let local = socket.local_addr().map_err(failed)?;
    let (domain, number) = (&scenario.domain, local.port());
    let options = format!(
        "OPTIONS sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKo{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:lampload@{domain}>;tag=o{number}\r\nTo: <sip:{domain}>\r\n\
         Call-ID: o{number}@lampload\r\nCSeq: 1 OPTIONS\r\nContact: <sip:lampload@{local}>\r\n\
         Content-Length: 0\r\n\r\n"
    );
    let asked = Instant::now();
    let mut buffer = [0; 4096];
    // A closed port shows as an error of either call.
    let got = socket
        .send_to(options.as_bytes(), scenario.target)
        .and_then(|_| socket.recv(&mut buffer))
        .ok();
    let answered = got.is_some_and(|length| {
        let message = Message::scan(&buffer[..length], Framing::Datagram);
        message.is_ok_and(|message| message.status().is_some())
    });
    if !answered {
        std::thread::sleep(ANSWER_WAIT.saturating_sub(asked.elapsed()));
    }
    Ok(answered)
}
