//! Records as lines of JSON: for people to look at, and for another version of the store to read.
//!
//! ```text
//! {"lampfield":"records","version":1}
//! {"kind":"device","name":"Custom:lamp1","tenant":0,"key":"RAAAQ3Vz…","value":"AwUA…"}
//! {"count":1}
//! ```
//!
//! Key and value (base64) are what is read back; kind, name and tenant are for the eye. The last
//! line tells whether all came.

use std::io::{self, BufRead, Write};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lampfield_core::record::Record;
use serde::{Deserialize, Serialize};

/// Of the lines.
const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
struct Head {
    lampfield: String,
    version: u32,
}

#[derive(Deserialize, Serialize)]
struct Foot {
    count: usize,
}

#[derive(Deserialize, Serialize)]
struct Line {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<u16>,
    key: String,
    value: String,
}

/// Writes all records.
pub(super) fn write(records: &[Record], out: &mut impl Write) -> io::Result<()> {
    let head = Head { lampfield: "records".to_owned(), version: VERSION };
    line(out, &head)?;
    let mut count = 0;
    for record in records {
        let Record { key, value: Some(value) } = record else { continue };
        let (tenant, name) = record.source().unzip();
        let spelled = Line {
            kind: record.kind().unwrap_or("other").to_owned(),
            name: name.map(str::to_owned),
            tenant: tenant.map(|tenant| tenant.0),
            key: BASE64.encode(key),
            value: BASE64.encode(value),
        };
        line(out, &spelled)?;
        count += 1;
    }
    line(out, &Foot { count })?;
    out.flush()
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads what [`write`] wrote.
///
/// # Errors
///
/// The first line that is wrong, by number; or that the end is missing.
pub(super) fn read(lines: impl BufRead) -> anyhow::Result<Vec<Record>> {
    let mut lines = lines.lines().enumerate();
    let (_, head) = lines.next().context("the file is empty")?;
    let head: Head = serde_json::from_str(&head?).context("line 1 is not the head of an export")?;
    anyhow::ensure!(head.lampfield == "records", "line 1 is the head of something else");
    let version = head.version;
    anyhow::ensure!(version == VERSION, "version {version} is not read here, but {VERSION}");
    let mut records = Vec::new();
    for (at, text) in lines {
        let number = at + 1;
        let text = text.with_context(|| format!("line {number}"))?;
        if let Ok(Foot { count }) = serde_json::from_str(&text) {
            let found = records.len();
            anyhow::ensure!(
                count == found,
                "line {number}: {count} records, but there are {found}"
            );
            return Ok(records);
        }
        let line: Line = serde_json::from_str(&text).with_context(|| format!("line {number}"))?;
        let bytes = |text: &str| BASE64.decode(text).with_context(|| format!("line {number}"));
        let (key, value) = (bytes(&line.key)?.into(), Some(bytes(&line.value)?.into()));
        records.push(Record { key, value });
    }
    anyhow::bail!("the last line, which counts the records, is missing: the file is not whole")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let record =
            |key: &[u8], value: &[u8]| Record { key: key.into(), value: Some(value.into()) };
        vec![
            record(b"D\x01\x00Custom:lamp1", b"\x03x"),
            record(b"S\xFF\x00", b""),
            record(b"", b"z"),
        ]
    }

    fn text() -> String {
        let mut text = Vec::new();
        write(&records(), &mut text).expect("memory");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn records_come_back_whole() {
        let text = text();
        assert!(text.contains("\"name\":\"Custom:lamp1\",\"tenant\":1,"), "{text}");
        assert_eq!(read(text.as_bytes()).expect("what was written"), records());
    }

    #[test]
    fn what_is_missing_or_broken_is_named() {
        let text = text();
        for (broken, want) in [
            (String::new(), "empty"),
            ("{}\n".to_owned(), "line 1 is not the head"),
            (text.replace("\"version\":1", "\"version\":9"), "version 9"),
            (text.lines().take(3).collect::<Vec<_>>().join("\n"), "not whole"),
            (text.replace("{\"count\":3}", "{\"count\":4}"), "line 5: 4 records, but there are 3"),
            (text.replacen("\"key\":\"", "\"key\":\"*", 1), "line 2"),
            (text.replacen("\"value\"", "\"valu\"", 1), "line 2"),
        ] {
            let error = format!("{:#}", read(broken.as_bytes()).expect_err("broken"));
            assert!(error.contains(want), "{want}: {error}");
        }
    }
}
