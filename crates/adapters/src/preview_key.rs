//! The key of previews in its file: made by the controller, read by the proxy.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cutover_core::preview::PreviewKey;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::durable_file;
pub use crate::readers::Readers;

/// Reads the key from its file, which is made if it is not there, or if what is there is no key: then every link that was
/// given away has ended.
///
/// # Errors
/// If the file can be neither read nor made.
pub fn of_host(file: &Path, readers: Readers) -> io::Result<PreviewKey> {
    match fs::read(file) {
        Ok(bytes) => {
            if let Ok(key) = PreviewKey::try_from(bytes.as_slice()) {
                // An installation may have changed since, in either direction.
                fs::set_permissions(file, fs::Permissions::from_mode(readers.mode()))?;
                return Ok(key);
            }
            tracing::warn!(path = %file.display(), "this is no key of previews; with a new one, every link has ended");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0; PreviewKey::LENGTH];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    durable_file::write(file, &bytes, readers.mode())?;
    // The umask takes away from what a new file is given.
    fs::set_permissions(file, fs::Permissions::from_mode(readers.mode()))?;
    Ok(PreviewKey::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cutover_core::Timestamp;

    fn sign(key: &PreviewKey) -> String {
        key.sign(&"shop".parse().unwrap(), "v1", Timestamp::from_millis(1000))
    }

    #[test]
    fn the_key_stays_the_same_and_is_for_its_readers_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("preview.key");
        let made = of_host(&file, Readers::Owner).unwrap();
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!((fs::read(&file).unwrap().len(), mode()), (32, 0o600));
        let read = of_host(&file, Readers::Group).unwrap();
        assert_eq!((sign(&read), mode()), (sign(&made), 0o640));
        of_host(&file, Readers::Owner).unwrap();
        assert_eq!(mode(), 0o600);
        let other = of_host(&directory.path().join("other.key"), Readers::Group).unwrap();
        assert_ne!(sign(&other), sign(&made));
    }

    #[test]
    fn what_is_no_key_is_replaced_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("preview.key");
        fs::write(&file, "half of it").unwrap();
        let made = of_host(&file, Readers::Owner).unwrap();
        assert_eq!(sign(&of_host(&file, Readers::Owner).unwrap()), sign(&made));
        assert!(of_host(directory.path(), Readers::Owner).is_err());
    }
}
