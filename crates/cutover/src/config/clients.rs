//! `cutover serve --clients FILE`: whom the proxy believes, and what a client may cost.
//!
//! The same keys as `[clients]` of a table file. They are the host's and not a service's: a client is held to them before
//! anybody knows which service it wants.

use std::path::{Path, PathBuf};

use cutover_core::routing::Clients;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientsError {
    #[error("cannot read `{path}`: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not understood: {reason}")]
    Malformed { path: PathBuf, reason: String },
}

/// Reads the file; paths in it are relative to its directory.
pub(crate) fn read(path: &Path) -> Result<Clients, ClientsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ClientsError::Read { path: path.to_owned(), source })?;
    let malformed = |reason: String| ClientsError::Malformed { path: path.to_owned(), reason };
    let mut clients: Clients =
        toml::from_str(&text).map_err(|error| malformed(error.to_string().trim_end().to_owned()))?;
    if let Some(problem) = clients.problem() {
        return Err(malformed(problem));
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    if clients.tls.directory.is_some() {
        return Err(malformed("`directory` of `[tls]` is the controller's own".to_owned()));
    }
    for file in clients.tls.files_mut() {
        *file = std::path::absolute(directory.join(&*file))
            .map_err(|source| ClientsError::Read { path: file.clone(), source })?;
    }
    if let Some(pages) = &mut clients.pages {
        let absolute = std::path::absolute(directory.join(&pages));
        *pages = absolute.map_err(|source| ClientsError::Read { path: pages.clone(), source })?;
        if !pages.is_dir() {
            return Err(malformed(format!("`pages` names `{}`, which is no directory", pages.display())));
        }
    }
    Ok(clients)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("pages")).unwrap();
        let path = directory.path().join("clients.toml");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn what_is_left_out_stays_as_it_is_and_paths_begin_at_the_file() {
        let (directory, path) = written(
            "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nproxy_protocol = true\npages = \"pages\"\n[limits]\nhead_time = \"3s\"",
        );
        let clients = read(&path).unwrap();
        assert_eq!(clients.pages, Some(directory.path().join("pages")));
        assert_eq!((clients.trusted_proxies.len(), clients.proxy_protocol), (2, true));
        assert_eq!((clients.limits.head_time, clients.limits.head_fields), (Duration::from_secs(3), 100));
    }

    #[test]
    fn files_of_tls_begin_at_the_file_too() {
        let (directory, path) = written(
            "[tls]\nmin_version = \"1.3\"\ncertificates = [{ certificate = \"a.pem\", key = \"/b.key\" }]\n\
             clients = { ca = \"ca.pem\" }\nlisteners.\"10.0.0.1:443\" = { ca = \"/x.pem\", crl = \"x.crl\" }",
        );
        let tls = read(&path).unwrap().tls;
        let at = |name: &str| directory.path().join(name);
        assert_eq!(tls.certificates[0].certificate, at("a.pem"));
        assert_eq!(tls.certificates[0].key, Path::new("/b.key"));
        assert_eq!(tls.clients.as_ref().unwrap().ca, at("ca.pem"));
        let partners = tls.clients_of("10.0.0.1:443".parse().unwrap()).unwrap();
        assert_eq!((partners.ca.as_path(), partners.crl.clone()), (Path::new("/x.pem"), Some(at("x.crl"))));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let check = |text: &str, expected: &str| {
            let (_directory, path) = written(text);
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        };
        check("trusted_proxies = [\"10.0.0.0/40\"]", "neither an address nor a network");
        check("[limits]\nhead_tiem = \"3s\"", "line 2");
        check("[limits]\nhead_fields = 1000", "`head_fields` is 1 to 200");
        check("pages = \"nowhere\"", "which is no directory");
        check("[tls]\ndirectory = \"served\"", "the controller's own");
        check("[tls]\nmin_version = \"1.1\"", "unknown variant `1.1`");
        assert!(read(Path::new("/nowhere")).unwrap_err().to_string().contains("cannot read"));
    }
}
