//! Every bound of a run, with its reason.
//!
//! A load generator pointed at the wrong host, or with one digit too many, must not become an
//! attack: each number a user can ask for has a ceiling, and a run that asks for more is refused
//! before the first packet leaves.

use std::time::Duration;

/// Watchers in one process. Two million records and dialogs are about 500 MB.
pub const WATCHER_COUNT_MAX: usize = 2_000_000;
/// Pairs of watcher and member: 16 bytes each.
pub const EDGE_COUNT_MAX: usize = 20_000_000;
/// Behaviours told apart in the report.
pub const BEHAVIOUR_COUNT_MAX: usize = 8;
/// Steps of a run; each has histograms of its own.
pub const STEP_COUNT_MAX: usize = 64;
/// Extensions in one process; each costs a timeline per generator thread.
pub const EXTENSION_COUNT_MAX: usize = 1_000_000;
/// Local sockets: fewer than the ports of one address, and than usual descriptor limits allow.
pub const SOCKET_COUNT_MAX: usize = 60_000;
/// Generator threads.
pub const CORE_COUNT_MAX: usize = 64;
/// SUBSCRIBEs a second; one core cannot send more over plain UDP (about 4 us a datagram).
pub const SUBSCRIBE_RATE_MAX: f64 = 250_000.0;
/// State changes a second, all extensions together.
pub const CHANGE_RATE_MAX: f64 = 100_000.0;
/// State changes of one run: bounds the plan and the timelines.
pub const CHANGE_COUNT_MAX: u64 = 10_000_000;
/// NOTIFYs one second of the plan may ask of the target; beyond it one machine cannot answer.
pub const NOTIFY_RATE_MAX: f64 = 5_000_000.0;
/// Longest change phase.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest warm-up, settling and delay of an answer.
pub const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Shortest and longest subscription asked for, in seconds.
pub const EXPIRES_S_RANGE: (u32, u32) = (10, 86_400);
/// States in one change cycle.
pub const STATE_COUNT_MAX: usize = 64;
/// Bytes of one extension name: it is repeated in every request.
pub const EXTENSION_BYTES_MAX: usize = 80;
/// Versions of one extension kept for attribution; older ones can no longer be told apart.
pub const TIMELINE_VERSION_MAX: usize = 512;
/// Different error texts kept for the report.
pub const ERROR_TEXT_MAX: usize = 8;
/// Shell commands running at once for `exec:` changes.
pub const EXEC_RUNNING_MAX: usize = 32;
/// States waiting behind one unanswered PUBLISH of an extension.
pub const PUBLISH_WAITING_MAX: usize = 64;
/// Answers waiting because of a `delay` profile, per thread.
pub const DELAYED_ANSWER_MAX: usize = 1_000_000;
/// Bodies of NOTIFYs that are answered and not read yet, per thread: some 30 ms of reading.
pub const BACKLOG_BYTES_MAX: usize = 32 << 20;
/// Watchers of a `null-target`.
pub const NULL_WATCHER_COUNT_MAX: usize = 1_000_000;

const _: () = assert!(SOCKET_COUNT_MAX < 65_536 - 1024, "one address must have the ports");
const _: () = assert!(EXPIRES_S_RANGE.0 < EXPIRES_S_RANGE.1, "the range must not be empty");
const _: () = assert!(TIMELINE_VERSION_MAX >= 16, "conflated changes must stay attributable");
