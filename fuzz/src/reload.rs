//! Names of revisions, as they come in URLs and on the command line; files of the history.

use evergate_reload::{RevisionId, history::is_readable};

pub(crate) fn revision(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(id) = text.parse::<RevisionId>() else { return };
    assert_eq!(id.to_string().parse::<RevisionId>().as_ref(), Ok(&id), "{text} is shown as {id}");
}

/// The checksum of a mutated file is set right, so that what is behind it is reached.
pub(crate) fn history(data: &[u8]) {
    if let Ok(lines) = std::str::from_utf8(data) {
        let _ = is_readable(lines);
    }
}
