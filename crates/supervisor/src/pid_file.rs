//! A file that says which process to send signals to.

use std::{fs, io, path::PathBuf};

/// The file; it goes when this does.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    text: String,
}

impl PidFile {
    /// Writes it, whole or not at all; one that is there is replaced.
    pub(crate) fn write(path: PathBuf, process: u32) -> io::Result<PidFile> {
        let text = format!("{process}\n");
        let draft = path.with_extension("new");
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write the PID file {}: {error}", path.display()))
        };
        fs::write(&draft, &text).and_then(|()| fs::rename(&draft, &path)).map_err(named)?;
        Ok(PidFile { path, text })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another one may have put its own there since.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_owner_unless_it_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evergate.pid");
        let file = PidFile::write(path.clone(), 42).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "42\n");
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(path.clone(), 42).unwrap();
        fs::write(&path, "43\n").unwrap();
        drop(file);
        assert!(path.exists());
        let nowhere = PidFile::write(dir.path().join("no/such/folder"), 1).unwrap_err();
        assert!(nowhere.to_string().contains("no/such/folder"));
    }
}
