//! How records are laid out: little-endian numbers, and texts with their length in front.
//!
//! Every value starts with its layout. The layout before this one is read too, so that an update
//! keeps every dialog and state; any other is left in the store for the version that wrote it.

use std::net::{IpAddr, SocketAddr};

use crate::body::Format;
use crate::config::Dialect;
use crate::extension::GroupView;
use crate::flow::{ConnectionId, Flow, Transport};
use crate::placement::TenantId;
use crate::subscription::{Lifecycle, Reason};

/// First byte of every value: raised when the layout changes.
pub(crate) const LAYOUT: u8 = 3;
/// The layout before: subscriptions end before `state`.
const LAYOUT_BEFORE: u8 = 2;

/// A subscription as the store has it. Times are Unix milliseconds.
#[derive(Debug)]
pub(crate) struct KeptSubscription<'a> {
    pub(crate) ends_ms: u64,
    pub(crate) written_ms: u64,
    /// Numbers that may be used up already.
    pub(crate) cseq: u32,
    pub(crate) version: u32,
    pub(crate) remote_cseq: u32,
    pub(crate) digium: bool,
    pub(crate) early_inuse_ringing: bool,
    pub(crate) single_dialog: bool,
    pub(crate) is_strict: bool,
    pub(crate) format: Format,
    pub(crate) dialect: Dialect,
    /// Where NOTIFYs go. A stream connection does not outlive the process.
    pub(crate) flow: Flow,
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: &'a str,
    pub(crate) context: &'a str,
    /// The extension, or the name of the list.
    pub(crate) exten: &'a str,
    /// What documents call the extension, or the URI the list was subscribed by.
    pub(crate) entity: &'a str,
    pub(crate) texts: [&'a [u8]; 7],
    pub(crate) state: Lifecycle,
    /// `None` in the layout before.
    pub(crate) granted_s: Option<u32>,
    /// Where it was subscribed from; in the layout before, where NOTIFYs go.
    pub(crate) source: IpAddr,
}

impl<'a> KeptSubscription<'a> {
    pub(crate) fn write(&self) -> Writer {
        let mut value = Writer::new(LAYOUT);
        value.u64(self.ends_ms);
        value.u64(self.written_ms);
        value.u32(self.cseq);
        value.u32(self.version);
        value.u32(self.remote_cseq);
        // One byte of two flags: the second was added later.
        let dialogs = u8::from(self.early_inuse_ringing) | u8::from(self.single_dialog) << 1;
        let flags = [u8::from(self.digium), dialogs, u8::from(self.is_strict)];
        value.bytes.extend_from_slice(&flags);
        value.bytes.push(self.format as u8);
        value.bytes.push(u8::from(self.dialect == Dialect::Asterisk));
        value.bytes.push(self.flow.transport.number());
        value.text(self.flow.local.to_string().as_bytes());
        value.text(self.flow.peer.to_string().as_bytes());
        value.u32(u32::from(self.tenant.0));
        for text in [self.endpoint, self.context, self.exten, self.entity] {
            value.text(text.as_bytes());
        }
        self.texts.iter().for_each(|text| value.text(text));
        value.bytes.push(state_number(self.state));
        value.u32(self.granted_s.unwrap_or_default());
        value.text(self.source.to_string().as_bytes());
        value
    }

    /// What its watcher sees, the presentity's URI aside.
    pub(crate) fn view(&self) -> GroupView {
        GroupView {
            format: self.format,
            dialect: self.dialect,
            digium: self.digium,
            early_inuse_ringing: self.early_inuse_ringing,
            single_dialog: self.single_dialog,
            entity: "".into(),
        }
    }

    /// Reads what follows the layout.
    pub(crate) fn read(layout: u8, value: &mut Reader<'a>) -> Option<Self> {
        let (ends_ms, written_ms) = (value.u64()?, value.u64()?);
        let [cseq, version, remote_cseq] = [value.u32()?, value.u32()?, value.u32()?];
        let digium = value.flag()?;
        let dialogs = value.u8().filter(|dialogs| *dialogs < 4)?;
        let (early_inuse_ringing, single_dialog) = (dialogs & 1 != 0, dialogs & 2 != 0);
        let is_strict = value.flag()?;
        let format = format_from(value.u8()?)?;
        let dialect = if value.flag()? { Dialect::Asterisk } else { Dialect::Rfc };
        let transport = Transport::from_number(value.u8()?)?;
        let [local, peer]: [SocketAddr; 2] =
            [value.str()?.parse().ok()?, value.str()?.parse().ok()?];
        let tenant = TenantId(value.u32()?.try_into().ok()?);
        let [endpoint, context, exten, entity] =
            [value.str()?, value.str()?, value.str()?, value.str()?];
        let mut texts = [&b""[..]; 7];
        for text in &mut texts {
            *text = value.text()?;
        }
        let (state, granted_s, source) = match layout {
            LAYOUT => (state_from(value.u8()?)?, Some(value.u32()?), value.str()?.parse().ok()?),
            _ => (Lifecycle::Active, None, peer.ip().to_canonical()),
        };
        let flow = Flow { transport, local, peer, connection: ConnectionId::default() };
        Some(Self {
            ends_ms,
            written_ms,
            cseq,
            version,
            remote_cseq,
            digium,
            early_inuse_ringing,
            single_dialog,
            is_strict,
            format,
            dialect,
            flow,
            tenant,
            endpoint,
            context,
            exten,
            entity,
            texts,
            state,
            granted_s,
            source,
        })
    }
}

/// The layout of a value and what follows it, if it is one that can be read.
pub(crate) fn open(value: &[u8]) -> Option<(u8, Reader<'_>)> {
    let mut value = Reader::new(value);
    let layout = value.u8()?;
    matches!(layout, LAYOUT | LAYOUT_BEFORE).then_some((layout, value))
}

const fn state_number(state: Lifecycle) -> u8 {
    match state {
        Lifecycle::Active => 0,
        Lifecycle::Ending(Reason::NoResource) => 1,
        Lifecycle::Ending(Reason::Rejected) => 2,
        Lifecycle::Ending(Reason::Timeout) => 3,
        Lifecycle::Ending(Reason::Deactivated) => 4,
    }
}

fn state_from(number: u8) -> Option<Lifecycle> {
    use Lifecycle::{Active, Ending};
    let reasons = [Reason::NoResource, Reason::Rejected, Reason::Timeout, Reason::Deactivated];
    let states = reasons.map(Ending);
    [Active].into_iter().chain(states).find(|state| state_number(*state) == number)
}

fn format_from(number: u8) -> Option<Format> {
    Format::ALL.into_iter().find(|format| *format as u8 == number)
}

/// Little-endian numbers, and texts with their length in front.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(first: u8) -> Self {
        Self { bytes: vec![first] }
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&text[..text.len().min(usize::from(u16::MAX))]);
    }
}

/// Reads what [`Writer`] wrote; `None` at anything else.
pub(crate) struct Reader<'a> {
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        self.u8().map(|byte| byte != 0)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let byte_count = usize::from(self.u16()?);
        let (text, rest) = self.bytes.split_at_checked(byte_count)?;
        self.bytes = rest;
        Some(text)
    }

    pub(crate) fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.text()?).ok()
    }
}
