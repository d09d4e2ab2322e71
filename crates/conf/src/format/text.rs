//! Byte offsets to lines and columns.

use crate::node::{FileId, Place};

/// Where the lines of a text begin.
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Start of each line, and whether it has ASCII only, so that columns need no counting.
    starts: Vec<(usize, bool)>,
    file: FileId,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str, file: FileId) -> Lines<'a> {
        let bytes = text.as_bytes();
        let ends = memchr::memchr_iter(b'\n', bytes).map(|i| i + 1).chain([bytes.len()]);
        let mut start = 0;
        let mut starts = Vec::new();
        for end in ends {
            starts.push((start, bytes.get(start..end).is_none_or(<[u8]>::is_ascii)));
            start = end;
        }
        Lines { text, starts, file }
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        // Beyond this the column does not fit anyway, and counting would cost the square of the line.
        const FAR: usize = 4 * u16::MAX as usize;
        let index = self.starts.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        let (start, ascii) = self.starts.get(index).copied().unwrap_or_default();
        let bytes = offset.saturating_sub(start);
        let before = if ascii || bytes > FAR {
            bytes
        } else {
            self.text.get(start..offset).map_or(bytes, |line| line.chars().count())
        };
        Place {
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: u16::try_from(before + 1).unwrap_or(u16::MAX),
            file: self.file,
        }
    }
}
