//! Planted bugs: they falsify what a healthy shard sends, so that tests can show the checks see.

use std::collections::HashMap;
use std::net::SocketAddr;

use lampfield_core::mesh::ShardMessage;

use crate::model::Model;
use crate::sip::{self, Sip};

/// A bug to plant.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Sabotage {
    /// None.
    #[default]
    None,
    /// A state that changed while a NOTIFY was in flight is never sent.
    DropConflation,
    /// A NOTIFY carries the CSeq of the one before it.
    ReuseCseq,
    /// A dialog-info document carries the version of the one before it.
    ReuseVersion,
    /// A second NOTIFY leaves before the first is answered.
    TwoInFlight,
    /// A NOTIFY follows the terminated one.
    NotifyAfterEnd,
    /// A retransmission says something else.
    ChangeRetransmission,
    /// Answers to SUBSCRIBEs get lost inside.
    SwallowAnswers,
    /// Documents show an idle extension as closed.
    LieAboutIdle,
    /// A stranger gets copies of everything.
    LeakToStranger,
    /// What a list's NOTIFY had no room for is never sent: its bits were lost.
    LoseRest,
    /// A list takes over an older document of a member after a newer one.
    LatePart,
    /// An extension does not tell the lists of another shard.
    LosePart,
    /// A list that is gone stays attached to its members.
    KeepParts,
    /// A list's version goes on after a restart where the last run began.
    RepeatListVersion,
    /// A member is called otherwise each time.
    RenameInstance,
    /// Changes leave at once, whatever the list says.
    IgnoreBatches,
    /// A list's NOTIFY is as long as it takes.
    IgnoreBounds,
}

impl Sabotage {
    /// What the node is not told, so that it breaks it.
    pub(crate) fn hide_from(self, model: &mut Model) {
        model.hides_batches = self == Self::IgnoreBatches;
        model.hides_bounds = self == Self::IgnoreBounds;
    }
}

/// What becomes of one outgoing message.
#[derive(Debug, Default)]
pub(crate) struct Falsified {
    /// Messages to send instead.
    pub(crate) send: Vec<(SocketAddr, Vec<u8>)>,
    /// An answer to feed back into the node, which believes it has sent.
    pub(crate) feed_back: Option<Vec<u8>>,
}

/// The saboteur's memory.
#[derive(Debug, Default)]
pub(crate) struct Saboteur {
    kind: Sabotage,
    /// Branches of first transmissions, and what was sent.
    seen: HashMap<String, Vec<u8>>,
    /// Messages to lists that were held back.
    held: Vec<ShardMessage>,
    /// NOTIFYs that were not sent, by Call-ID.
    lost: HashMap<String, u32>,
}

impl Saboteur {
    pub(crate) fn new(kind: Sabotage) -> Self {
        Self { kind, ..Self::default() }
    }

    /// What becomes of a message between shards.
    pub(crate) fn falsify_mesh(&mut self, message: ShardMessage) -> Vec<ShardMessage> {
        match (self.kind, &message) {
            (Sabotage::LatePart, ShardMessage::Part(_)) => {
                self.held.push(message.clone());
                match self.held.len() {
                    0..8 => vec![message],
                    _ => vec![message, self.held.remove(0)],
                }
            }
            (Sabotage::LosePart, ShardMessage::Part(_)) => {
                self.held.push(message.clone());
                if self.held.len().is_multiple_of(8) { Vec::new() } else { vec![message] }
            }
            (Sabotage::KeepParts, ShardMessage::DetachPart(_)) => Vec::new(),
            _ => vec![message],
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.kind == Sabotage::None
    }

    /// Falsifies one message; `after_answer`: the node sends it in reaction to an answer.
    pub(crate) fn falsify(
        &mut self,
        peer: SocketAddr,
        bytes: &[u8],
        after_answer: bool,
        stranger: SocketAddr,
    ) -> Falsified {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let keep =
            |text: String| Falsified { send: vec![(peer, text.into_bytes())], feed_back: None };
        let Ok(message) = Sip::parse(bytes) else { return keep(text.clone()) };
        if self.kind == Sabotage::SwallowAnswers && message.code() == Some(200) {
            return Falsified::default();
        }
        if message.method() != Some("NOTIFY") {
            return keep(text.clone());
        }
        let is_new = self.seen.insert(message.branch().to_owned(), bytes.to_vec()).is_none();
        let (cseq, _) = message.cseq();
        let next = |by: u32| {
            text.replace(&format!("CSeq: {cseq} "), &format!("CSeq: {} ", cseq + by))
                .replace("branch=z9hG4bK", "branch=z9hG4bKx")
        };
        let also = |extra: String| Falsified {
            send: vec![(peer, bytes.to_vec()), (peer, extra.into_bytes())],
            feed_back: None,
        };
        let ended = message.header("Subscription-State").starts_with("terminated");
        let call_id = message.header("Call-ID").to_owned();
        let is_partial = message.body.contains("fullState=\"false\"");
        match self.kind {
            Sabotage::DropConflation if is_new && after_answer => {
                Falsified { send: Vec::new(), feed_back: Some(sip::answer(&message, 200, "")) }
            }
            Sabotage::ReuseCseq if is_new => {
                keep(text.replace(&format!("CSeq: {cseq} "), &format!("CSeq: {} ", cseq & !1)))
            }
            Sabotage::ReuseVersion => self.keep_version(peer, &text),
            Sabotage::TwoInFlight if is_new && !ended => also(next(1)),
            Sabotage::NotifyAfterEnd if is_new && ended => also(next(1)),
            Sabotage::ChangeRetransmission if !is_new => {
                keep(text.replacen("Max-Forwards: 70", "Max-Forwards: 69", 1))
            }
            Sabotage::LieAboutIdle => keep(
                text.replace("open</basic>  ", "closed</basic>")
                    .replace("<state>terminated</state>", "<state>confirmed</state> "),
            ),
            Sabotage::LoseRest if is_new && is_partial && after_answer => {
                *self.lost.entry(call_id).or_default() += 1;
                Falsified { send: Vec::new(), feed_back: Some(sip::answer(&message, 200, "")) }
            }
            // One whose bits were lost counts as if there had been nothing to say.
            Sabotage::LoseRest => {
                let lost = self.lost.get(&call_id).copied().unwrap_or(0);
                keep(with_list_version(&text, |version| version - lost))
            }
            // Versions after a restart begin above a thousand.
            Sabotage::RepeatListVersion => {
                keep(with_list_version(&text, |version| version % 1000 % 100))
            }
            Sabotage::RenameInstance => keep(with_instances(&text, (b'g' + cseq as u8 % 8).into())),
            Sabotage::LeakToStranger if is_new => Falsified {
                send: vec![(peer, bytes.to_vec()), (stranger, bytes.to_vec())],
                feed_back: None,
            },
            _ => keep(text.clone()),
        }
    }

    /// The first `version="` of a dialog-info document is the XML declaration's.
    fn keep_version(&self, peer: SocketAddr, text: &str) -> Falsified {
        let falsified = text.split_once("<dialog-info").map(|(head, rest)| {
            let (start, after) = rest.split_once("version=\"").unwrap_or((rest, ""));
            let (digits, tail) = after.split_once('"').unwrap_or((after, ""));
            let blanks = " ".repeat(digits.len().saturating_sub(1));
            format!("{head}<dialog-info{start}version=\"7\"{blanks}{tail}")
        });
        let text = falsified.unwrap_or_else(|| text.to_owned());
        Falsified { send: vec![(peer, text.into_bytes())], feed_back: None }
    }
}

/// The text with another version of its outermost list, written as long.
fn with_list_version(text: &str, of: impl Fn(u32) -> u32) -> String {
    let Some((head, rest)) = text.split_once("<list xmlns=") else { return text.to_owned() };
    let Some((start, after)) = rest.split_once("version=\"") else { return text.to_owned() };
    let (digits, tail) = after.split_once('"').unwrap_or((after, ""));
    let width = digits.len();
    let version = of(digits.parse().unwrap_or(0));
    format!("{head}<list xmlns={start}version=\"{version:0>width$}\"{tail}")
}

/// The text with other names of instances: `letter` in front.
fn with_instances(text: &str, letter: char) -> String {
    let mut pieces = text.split("<instance id=\"");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out += "<instance id=\"";
        out.push(letter);
        out += piece.get(1..).unwrap_or_default();
    }
    out
}
