//! Planted bugs: they falsify what a healthy shard sends, so that tests can show the checks see.

use std::collections::HashMap;
use std::net::SocketAddr;

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
}

impl Saboteur {
    pub(crate) fn new(kind: Sabotage) -> Self {
        Self { kind, seen: HashMap::new() }
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
