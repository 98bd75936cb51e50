//! SIP as the simulated peers read and write it.
//!
//! Independent of `lampfield-wire` on purpose: an error shared by writer and reader would be
//! invisible. Slow, strict, and only as much as the simulator needs.

/// A message, split into lines.
#[derive(Debug)]
pub(crate) struct Sip<'a> {
    pub(crate) start: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    pub(crate) body: &'a str,
}

impl<'a> Sip<'a> {
    /// Reads a whole message.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let text = str::from_utf8(bytes).map_err(|_| "a message is not UTF-8".to_owned())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("a head has no end")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().ok_or("a head has no start line")?;
        let mut headers = Vec::with_capacity(16);
        for line in lines {
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("not a header line: {line:?}"))?;
            if name.is_empty() || name.contains(char::is_whitespace) || line.contains('\n') {
                return Err(format!("not a header line: {line:?}"));
            }
            headers.push((name, value.trim()));
        }
        let sip = Self { start, headers, body };
        match sip.header("Content-Length").parse::<usize>() {
            Ok(length) if length == body.len() => Ok(sip),
            _ => Err(format!(
                "Content-Length {:?} of a body of {} bytes",
                sip.header("Content-Length"),
                body.len()
            )),
        }
    }

    /// The first header of this name; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &'a str {
        self.all(name).next().unwrap_or("")
    }

    /// Every header of this name.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> Option<&'a str> {
        let (method, rest) = self.start.split_once(' ')?;
        rest.ends_with(" SIP/2.0").then_some(method)
    }

    /// The code of a response.
    pub(crate) fn code(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Number and method of CSeq.
    pub(crate) fn cseq(&self) -> (u32, &'a str) {
        let (number, method) = self.header("CSeq").split_once(' ').unwrap_or(("", ""));
        (number.parse().unwrap_or(0), method.trim())
    }

    /// The branch of the topmost Via.
    pub(crate) fn branch(&self) -> &'a str {
        param(self.header("Via"), "branch").unwrap_or("")
    }

    /// The tag of From or To.
    pub(crate) fn tag(&self, header: &str) -> &'a str {
        let value = self.header(header);
        param(value.rsplit_once('>').map_or(value, |(_, params)| params), "tag").unwrap_or("")
    }
}

/// A parameter of a header value.
pub(crate) fn param<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|param| {
        let (key, value) = param.split_once('=').unwrap_or((param, ""));
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// The URI between angle brackets.
pub(crate) fn uri(value: &str) -> &str {
    value.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(uri, _)| uri)
}

/// An answer to `request`, as an obedient UAS writes it.
pub(crate) fn answer(request: &Sip<'_>, code: u16, extra: &str) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {code} Answer\r\n");
    for via in request.all("Via") {
        out += &format!("Via: {via}\r\n");
    }
    for name in ["From", "To", "Call-ID", "CSeq"] {
        out += &format!("{name}: {}\r\n", request.header(name));
    }
    out += extra;
    out += "Content-Length: 0\r\n\r\n";
    out.into_bytes()
}
