//! A message's body with the headers that say how to read it.

use std::borrow::Cow;

use crate::encoding::{EncodingError, decode_content};
use crate::header::{ContentDisposition, MediaType};

/// A body and its headers' raw values, each the first of its name.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Body<'a> {
    /// The bytes, still encoded.
    pub bytes: &'a [u8],
    /// Content-Type.
    pub content_type: Option<&'a [u8]>,
    /// Content-Encoding.
    pub encoding: Option<&'a [u8]>,
    /// Content-Disposition.
    pub disposition: Option<&'a [u8]>,
}

impl<'a> Body<'a> {
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether Content-Type is `media_type`, in any letter case, whatever its parameters.
    pub fn is(&self, media_type: &str) -> bool {
        self.content_type
            .and_then(|value| MediaType::parse(value).ok())
            .is_some_and(|found| found.is(media_type))
    }

    /// Whether Content-Disposition is `kind`, in any letter case.
    pub fn is_meant_as(&self, kind: &str) -> bool {
        self.disposition
            .and_then(|value| ContentDisposition::parse(value).ok())
            .is_some_and(|found| found.is(kind))
    }

    /// The bytes without their Content-Encoding.
    ///
    /// # Errors
    ///
    /// [`EncodingError`].
    pub fn decode(&self, bytes_max: usize) -> Result<Cow<'a, [u8]>, EncodingError> {
        decode_content(self.encoding, self.bytes, bytes_max)
    }
}
