//! `application/simple-message-summary`: how many messages wait in a mailbox.
//!
//! ```text
//! Messages-Waiting: yes
//! Message-Account: sip:2000@example.com
//! Voice-Message: 2/8 (0/2)
//! ```
//!
//! Only voice messages are counted here. Lines of other kinds of messages, and the headers of single
//! messages after an empty line, are passed over.
//! Source: RFC 3842 section 5.2.

use crate::facts::FactsError;

/// What a summary says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MessageSummary {
    /// Whether there are new messages of any kind.
    pub is_waiting: bool,
    /// URI of the account, if it names one.
    pub account: Option<String>,
    /// Its voice messages, if it counts them.
    pub voice: Option<MessageCounts>,
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MessageCounts {
    /// Not heard yet.
    pub new: u32,
    /// Heard.
    pub old: u32,
    /// Of the new ones, urgent.
    pub urgent_new: u32,
    /// Of the old ones, urgent.
    pub urgent_old: u32,
}

impl MessageSummary {
    /// Reads a summary. Names in any letter case; lines may end with LF alone.
    ///
    /// # Errors
    ///
    /// [`FactsError`]: no text, no readable `Messages-Waiting` in the first line, counts that are no
    /// numbers, or a line that comes twice.
    pub fn parse(body: &[u8]) -> Result<Self, FactsError> {
        let missing = |what| FactsError::Missing { what };
        let text = std::str::from_utf8(body).map_err(|_| missing("text in UTF-8"))?;
        let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let first = lines.next().and_then(|line| value_of(line, "Messages-Waiting"));
        let is_waiting = match first {
            Some(value) if value.eq_ignore_ascii_case("yes") => true,
            Some(value) if value.eq_ignore_ascii_case("no") => false,
            _ => return Err(missing("Messages-Waiting")),
        };
        let mut summary = Self { is_waiting, ..Self::default() };
        for line in lines.take_while(|line| !line.is_empty()) {
            if let Some(account) = value_of(line, "Message-Account") {
                if summary.account.replace(account.to_owned()).is_some() {
                    return Err(FactsError::Twice { what: "Message-Account" });
                }
            } else if let Some(counts) = value_of(line, "Voice-Message") {
                let counts = MessageCounts::parse(counts).ok_or(missing("Voice-Message count"))?;
                if summary.voice.replace(counts).is_some() {
                    return Err(FactsError::Twice { what: "Voice-Message" });
                }
            }
        }
        Ok(summary)
    }
}

impl MessageCounts {
    /// Reads `new/old` or `new/old (urgent/urgent)`.
    fn parse(text: &str) -> Option<Self> {
        let (all, urgent) = match text.split_once('(') {
            Some((all, urgent)) => (all, Some(urgent.trim_end().strip_suffix(')')?)),
            None => (text, None),
        };
        let pair = |text: &str| {
            let (new, old) = text.split_once('/')?;
            Some((number(new.trim())?, number(old.trim())?))
        };
        let (new, old) = pair(all)?;
        let (urgent_new, urgent_old) = urgent.map_or(Some((0, 0)), pair)?;
        Some(Self { new, old, urgent_new, urgent_old })
    }
}

/// Digits alone: `str::parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn value_of<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    let (found, value) = line.split_once(':')?;
    found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_or_refused_with_what_is_wrong() {
        let counts = |new, old, urgent_new, urgent_old| {
            Some(MessageCounts { new, old, urgent_new, urgent_old })
        };
        let read = |is_waiting, account: Option<&str>, voice| {
            Ok(MessageSummary { is_waiting, account: account.map(str::to_owned), voice })
        };
        let rows: [(&str, Result<MessageSummary, &str>); 15] = [
            ("Messages-Waiting: yes\r\n", read(true, None, None)),
            ("Messages-Waiting: no", read(false, None, None)),
            ("messages-waiting:YES\nVOICE-message : 2/8\n", read(true, None, counts(2, 8, 0, 0))),
            (
                "Messages-Waiting: yes\r\nMessage-Account: sip:a@h\r\nVoice-Message: 2/8 (0/2)\r\n",
                read(true, Some("sip:a@h"), counts(2, 8, 0, 2)),
            ),
            (
                "Messages-Waiting: yes\r\nFax-Message: 1/1\r\nVoice-Message: 4 / 5 ( 1 / 2 ) \r\n",
                read(true, None, counts(4, 5, 1, 2)),
            ),
            (
                "Messages-Waiting: yes\r\n\r\nVoice-Message: no header of the summary\r\n",
                read(true, None, None),
            ),
            ("", Err("Messages-Waiting is missing or unreadable")),
            ("Messages-Waiting: perhaps\r\n", Err("Messages-Waiting is missing or unreadable")),
            ("Voice-Message: 1/0\r\n", Err("Messages-Waiting is missing or unreadable")),
            ("Messages-Waiting: no\nVoice-Message: 1", Err("Voice-Message count")),
            ("Messages-Waiting: no\nVoice-Message: -1/0", Err("Voice-Message count")),
            ("Messages-Waiting: no\nVoice-Message: 1/", Err("Voice-Message count")),
            ("Messages-Waiting: no\nVoice-Message: 1/4294967296", Err("Voice-Message count")),
            ("Messages-Waiting: no\nVoice-Message: 1/0 (1", Err("Voice-Message count")),
            (
                "Messages-Waiting: no\nVoice-Message: 1/0\nVoice-Message: 1/0",
                Err("Voice-Message appears twice"),
            ),
        ];
        for (text, want) in rows {
            match (MessageSummary::parse(text.as_bytes()), want) {
                (Err(error), Err(want)) => assert!(error.to_string().starts_with(want), "{text}"),
                (got, want) => assert_eq!(got.ok(), want.ok(), "{text}"),
            }
        }
        assert!(MessageSummary::parse(b"Messages-Waiting: \xff").is_err());
    }
}
