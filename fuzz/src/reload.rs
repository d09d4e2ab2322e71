//! Names of revisions, as they come in URLs and on the command line.

use evergate_reload::RevisionId;

pub(crate) fn revision(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(id) = text.parse::<RevisionId>() else { return };
    assert_eq!(id.to_string().parse::<RevisionId>().as_ref(), Ok(&id), "{text} is shown as {id}");
}
