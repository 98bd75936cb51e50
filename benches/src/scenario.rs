//! The scenarios: one table for times (criterion), instructions (callgrind) and allocations.
//!
//! A scenario makes its stage and returns a step. Each step does the same work again and tells how
//! many units (messages, NOTIFYs, changes) that was; only the work itself runs on the meter.

use std::hint::black_box;
use std::time::Duration;

use lampfield_core::body::{Body, Format, Shown, View};
use lampfield_core::config::Dialect;
use lampfield_core::state::{DeviceAggregate, DeviceState, ExtensionState, Presence};
use lampfield_wire::ami::AmiReader;
use lampfield_wire::{Framing, Message, response_key};

use crate::crowd::{Crowd, Paths, Plan};
use crate::meter::Meter;
use crate::publishers::Publishers;

macro_rules! capture {
    ($name:literal) => {
        include_bytes!(concat!("../../engine/wire/tests/captures/asterisk-", $name, ".sip"))
    };
}

/// Does the work once more, on the meter; returns the number of units.
pub type Step = Box<dyn FnMut(&mut Meter) -> usize>;

/// Something whose cost is worth watching.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in every table: `group/what`.
    pub name: &'static str,
    /// What its cost is told per.
    pub unit: &'static str,
    /// Makes the stage.
    pub make: fn() -> Step,
}

/// Every scenario, from the smallest part to the whole.
pub const SCENARIOS: &[Scenario] = &[
    scenario("scan/subscribe", "message", || scan(capture!("subscribe-initial"))),
    scenario("scan/refresh", "message", || scan(capture!("subscribe-refresh"))),
    scenario("scan/list-subscribe", "message", || scan(capture!("subscribe-list"))),
    scenario("scan/200", "message", || scan(capture!("notify-200"))),
    scenario("scan/200-fast-path", "message", || key(capture!("notify-200"))),
    scenario("scan/list-200-fast-path", "message", || key(LIST_200)),
    scenario("ami/setvar", "action", setvar),
    scenario("state/aggregate-8", "aggregate", aggregate),
    scenario("body/patch-pidf", "patch", || patch(Format::Pidf)),
    scenario("body/patch-xpidf", "patch", || patch(Format::Xpidf)),
    scenario("body/patch-dialog-info", "patch", || patch(Format::DialogInfo)),
    scenario("body/render-dialog-info", "document", render),
    scenario("body/copy-dialog-info", "copy", copy),
    scenario("shard/idle-turn", "turn", idle),
    scenario("shard/change-unwatched", "change", change_unwatched),
    scenario("admit/subscribe", "SUBSCRIBE", || admit(Plan::default(), 100)),
    scenario("admit/refresh", "SUBSCRIBE", refresh),
    scenario("admit/list-subscribe-50", "SUBSCRIBE", || admit(list_plan(), 10)),
    scenario("publish/modify", "PUBLISH", modify),
    scenario("fanout/phones-10-notify", "NOTIFY", || notify(Paths::Phones(1), 10)),
    scenario("fanout/phones-1000-notify", "NOTIFY", || notify(Paths::Phones(1), 1000)),
    scenario("fanout/phones-1000-200", "200", || answer(Paths::Phones(1), 1000)),
    scenario("fanout/edge-1000-notify", "NOTIFY", || notify(Paths::Edge, 1000)),
    scenario("fanout/edge-1000-200", "200", || answer(Paths::Edge, 1000)),
    scenario("list/one-of-50-notify", "NOTIFY", list_notify),
    scenario("list/one-of-50-200", "200", list_answer),
    scenario("timer/retransmit", "NOTIFY", retransmit),
    scenario("timer/expire", "subscription", expire),
];

/// Watchers of the largest fan-out, which is timed only: making its stage takes seconds.
pub const LARGE: Scenario =
    scenario("fanout/phones-100000-notify", "NOTIFY", || notify(Paths::Phones(1), 100_000));

/// A large fan-out and its answers, for the count of allocations.
pub const TEN_THOUSAND: [Scenario; 2] = [
    scenario("fanout/phones-10000-notify", "NOTIFY", || now_and_then(true)),
    scenario("fanout/phones-10000-200", "200", || now_and_then(false)),
];

/// Small work is repeated within a step, so that the meter does not weigh.
const REPEATS: usize = 100;

/// The answer to a list's NOTIFY that came through a proxy.
const LIST_200: &[u8] = b"SIP/2.0 200 OK\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5060;rport=5060;received=192.0.2.1;branch=z9hG4bK0a1b2c3d4e5f60718293\r\n\
    Record-Route: <sip:192.0.2.9;lr>\r\nCall-ID: 41c64e6d9e3779b9-0000002a-7f4a7c15f0\r\n\
    From: <sip:list7@pbx.example.com>;tag=0a1b2c3d4e5f607182930\r\n\
    To: <sip:20000042@pbx.example.com>;tag=9e3779b97f\r\nCSeq: 1042 NOTIFY\r\n\
    Supported: eventlist, replaces\r\nUser-Agent: phone 1.2.3\r\nContent-Length: 0\r\n\r\n";

const fn scenario(name: &'static str, unit: &'static str, make: fn() -> Step) -> Scenario {
    Scenario { name, unit, make }
}

/// A step of [`REPEATS`] times the same.
fn repeat(mut work: impl FnMut() + 'static) -> Step {
    Box::new(move |meter| {
        meter.measure(|| (0..REPEATS).for_each(|_| work()));
        REPEATS
    })
}

/// Bytes at a place of their own: where a search in wide steps begins decides how many it takes.
struct Placed {
    buffer: Vec<u8>,
    start: usize,
}

impl Placed {
    fn new(bytes: &[u8]) -> Self {
        let mut buffer = Vec::<u8>::with_capacity(bytes.len() + 64);
        let start = buffer.as_ptr().align_offset(64);
        buffer.resize(start, 0);
        buffer.extend_from_slice(bytes);
        Self { buffer, start }
    }

    fn get(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

fn scan(bytes: &'static [u8]) -> Step {
    let bytes = Placed::new(bytes);
    repeat(move || {
        let message = Message::scan(black_box(bytes.get()), Framing::Datagram);
        black_box(message.expect("legal SIP"));
    })
}

fn key(bytes: &'static [u8]) -> Step {
    let bytes = Placed::new(bytes);
    repeat(move || {
        black_box(response_key(black_box(bytes.get())).expect("a response"));
    })
}

fn setvar() -> Step {
    let action = Placed::new(
        b"Action: Setvar\r\nActionID: 4711\r\n\
        Variable: DEVICE_STATE(Custom:lamp1)\r\nValue: INUSE\r\n\r\n",
    );
    let mut reader = AmiReader::for_server();
    repeat(move || {
        let mut input = black_box(action.get());
        let read = reader.read(&mut input).expect("a whole action").expect("a legal one");
        assert!(black_box(read).action().is_some());
    })
}

fn aggregate() -> Step {
    use DeviceState::{InUse, NotInUse, Ringing, Unavailable};
    let states = [NotInUse, InUse, NotInUse, Ringing, Unavailable, NotInUse, InUse, NotInUse];
    repeat(move || {
        let aggregate: DeviceAggregate = black_box(&states).iter().copied().collect();
        black_box(ExtensionState::from_devices(aggregate.state()));
    })
}

const WATCHER: &[u8] = b"sip:20000042@10.0.0.42:5060";

const fn view(format: Format) -> View<'static> {
    View {
        format,
        dialect: Dialect::Rfc,
        digium: false,
        early_inuse_ringing: false,
        single_dialog: false,
        exten: "1000",
        entity: "sip:1000@example.com",
    }
}

fn patch(format: Format) -> Step {
    let (view, presence) = (view(format), Presence::default());
    let mut body = Body::render(
        &view,
        &Shown { state: ExtensionState::Idle, presence: &presence, mailboxes: None, calls: &[] },
    );
    let mut is_idle = true;
    repeat(move || {
        is_idle = !is_idle;
        let state = if is_idle { ExtensionState::Idle } else { ExtensionState::InUse };
        let shown = Shown { state, presence: &presence, mailboxes: None, calls: &[] };
        assert!(body.update(&view, black_box(&shown)).changed());
    })
}

fn render() -> Step {
    let (view, presence) = (view(Format::DialogInfo), Presence::default());
    repeat(move || {
        let shown = Shown {
            state: ExtensionState::InUse,
            presence: &presence,
            mailboxes: None,
            calls: &[],
        };
        black_box(Body::render(black_box(&view), &shown));
    })
}

fn copy() -> Step {
    let presence = Presence::default();
    let shown =
        Shown { state: ExtensionState::InUse, presence: &presence, mailboxes: None, calls: &[] };
    let body = Body::render(&view(Format::DialogInfo), &shown);
    let mut out = Vec::new();
    repeat(move || {
        out.clear();
        body.write_for(black_box(7), WATCHER, &mut out);
        black_box(out.len());
    })
}

/// A crowd of so many, their first NOTIFYs answered.
fn crowd(plan: Plan, watcher_count: usize) -> Crowd {
    let mut crowd = Crowd::new(plan);
    crowd.subscribe(0, watcher_count, &mut Meter::off());
    crowd
}

/// Everybody watches the same list of 50.
fn list_plan() -> Plan {
    Plan { extension_count: 50, member_count: 50, list_count: 1, ..Plan::default() }
}

fn idle() -> Step {
    let mut crowd = crowd(Plan::default(), 1000);
    crowd.pass(Duration::from_secs(1), &mut Meter::off());
    Box::new(move |meter| {
        (0..REPEATS).for_each(|_| crowd.idle(meter));
        REPEATS
    })
}

fn change_unwatched() -> Step {
    let mut crowd = Crowd::new(Plan { device_count: 4, ..Plan::default() });
    Box::new(move |meter| {
        (0..REPEATS).for_each(|_| assert_eq!(crowd.change(0, meter), 0));
        REPEATS
    })
}

/// They come, with everything up to the first NOTIFY, and leave again before the next step.
fn admit(plan: Plan, watcher_count: usize) -> Step {
    let mut crowd = Crowd::new(plan);
    Box::new(move |meter| {
        crowd.subscribe(0, watcher_count, meter);
        let off = &mut Meter::off();
        crowd.unsubscribe(0, watcher_count, off);
        crowd.pass(Duration::from_secs(33), off);
        watcher_count
    })
}

fn refresh() -> Step {
    let mut crowd = crowd(Plan::default(), 100);
    Box::new(move |meter| {
        crowd.refresh(0, 100, meter);
        crowd.pass(Duration::from_secs(33), &mut Meter::off());
        100
    })
}

fn modify() -> Step {
    let mut publishers = Publishers::new(100);
    publishers.publish(0, 100, &mut Meter::off());
    Box::new(move |meter| {
        publishers.publish(0, 100, meter);
        publishers.pass(Duration::from_secs(33));
        100
    })
}

fn notify(paths: Paths, watcher_count: usize) -> Step {
    let mut crowd = crowd(Plan { paths, ..Plan::default() }, watcher_count);
    Box::new(move |meter| {
        let count = crowd.change(0, meter);
        assert_eq!(count, watcher_count);
        crowd.answer(&mut Meter::off());
        count
    })
}

fn answer(paths: Paths, watcher_count: usize) -> Step {
    let mut crowd = crowd(Plan { paths, ..Plan::default() }, watcher_count);
    Box::new(move |meter| {
        let count = crowd.change(0, &mut Meter::off());
        crowd.answer(meter);
        count
    })
}

/// A change, or its answers, every second: the timers of the one before have run out.
fn now_and_then(is_change: bool) -> Step {
    let mut crowd = crowd(Plan::default(), 10_000);
    Box::new(move |meter| {
        let mut off = Meter::off();
        let count = crowd.change(0, if is_change { &mut *meter } else { &mut off });
        crowd.answer(if is_change { &mut off } else { meter });
        crowd.pass(Duration::from_secs(1), &mut off);
        count
    })
}

fn list_notify() -> Step {
    let mut crowd = crowd(list_plan(), 100);
    Box::new(move |meter| {
        let count = crowd.change(7, meter);
        crowd.answer(&mut Meter::off());
        count
    })
}

fn list_answer() -> Step {
    let mut crowd = crowd(list_plan(), 100);
    Box::new(move |meter| {
        let count = crowd.change(7, &mut Meter::off());
        crowd.answer(meter);
        count
    })
}

/// NOTIFYs leave again after T1: a queue, the record, and the same bytes.
fn retransmit() -> Step {
    let mut crowd = crowd(Plan::default(), 1000);
    Box::new(move |meter| {
        crowd.change(0, &mut Meter::off());
        crowd.lose_answers();
        let count = crowd.pass(Duration::from_millis(500), meter);
        crowd.answer(&mut Meter::off());
        count
    })
}

/// All run out: the wheel, and a last NOTIFY each.
fn expire() -> Step {
    let mut crowd = Crowd::new(Plan::default());
    Box::new(move |meter| {
        crowd.subscribe(0, 1000, &mut Meter::off());
        let count = crowd.pass(Duration::from_secs(3601), meter);
        crowd.answer(&mut Meter::off());
        count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_does_as_much_as_the_one_before() {
        for Scenario { name, make, .. } in SCENARIOS {
            let mut step = make();
            let units: Vec<usize> = (0..3).map(|_| step(&mut Meter::off())).collect();
            assert!(units[0] > 0 && units.iter().all(|count| *count == units[0]), "{name}");
        }
    }
}
