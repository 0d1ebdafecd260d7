//! Who we are at an authority: one account for each directory, contact and key that it is bound to, in a file each.

use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cutover_controller::ports::PrepareError;
use cutover_core::tls::{Acme, ExternalAccount};
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, Key, NewAccount};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::acme::client::Connection;
use crate::acme::trouble::Trouble;
use crate::{bounded_file, durable_file, secret_source};

/// The accounts in a directory.
#[derive(Debug)]
pub(super) struct Accounts {
    directory: PathBuf,
}

/// The content of a file. What is beside the credentials is for whoever looks into it.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    key_id: Option<String>,
    credentials: AccountCredentials,
}

impl Accounts {
    pub(super) fn in_directory(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The account that is kept, or a new one.
    pub(super) async fn account(&self, acme: &Acme, connection: &Connection) -> Result<Account, Trouble> {
        let path = self.path(acme);
        let kept = match bounded_file::content(&path) {
            Ok(bytes) => serde_json::from_slice::<Kept>(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.register(acme, connection).await;
            }
            Err(error) => return Err(unusable(&path, &error)),
        };
        match kept {
            Ok(kept) => {
                let builder = Account::builder_with_http(Box::new(connection.clone()));
                Ok(builder.from_credentials(kept.credentials).await?)
            }
            Err(_) => {
                tracing::warn!(path = %path.display(), "this is no account; a new one is made");
                self.register(acme, connection).await
            }
        }
    }

    /// Makes a new account, which takes the place of the one that is kept. Agrees to the authority's terms of service.
    pub(super) async fn register(&self, acme: &Acme, connection: &Connection) -> Result<Account, Trouble> {
        let contact = acme.contact.as_deref().map(|contact| match contact.contains(':') {
            true => contact.to_owned(),
            false => format!("mailto:{contact}"),
        });
        let contact: Vec<&str> = contact.as_deref().into_iter().collect();
        let bound_to = match &acme.external_account {
            Some(external) => Some(external_key(external).await?),
            None => None,
        };
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(connection.clone()));
        let (account, credentials) = builder.create(&new, acme.directory.clone(), bound_to.as_ref()).await?;
        let kept = Kept {
            directory: acme.directory.clone(),
            contact: acme.contact.clone(),
            key_id: acme.external_account.as_ref().map(|external| external.key_id.clone()),
            credentials,
        };
        let path = self.path(acme);
        let written = serde_json::to_vec(&kept).map_err(io::Error::from).and_then(|bytes| {
            durable_file::create_directory_with_mode(&self.directory, 0o700)?;
            durable_file::write(&path, &bytes, 0o600)
        });
        written.map_err(|error| unusable(&path, &error))?;
        tracing::info!(
            directory = acme.directory,
            "registered with an authority, by whose terms certificates are had"
        );
        Ok(account)
    }

    fn path(&self, acme: &Acme) -> PathBuf {
        let mut hash = Sha256::new();
        let key_id = acme.external_account.as_ref().map(|external| external.key_id.as_str());
        for part in [Some(acme.directory.as_str()), acme.contact.as_deref(), key_id] {
            // A word that is not there is told from one that is empty.
            hash.update([u8::from(part.is_some())]);
            hash.update((part.map_or(0, str::len) as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        self.directory.join(format!("{}.json", &hex::encode(hash.finalize())[..32]))
    }
}

/// An account for what anybody may ask.
pub(super) async fn nobody(acme: &Acme, connection: &Connection) -> Result<Account, Error> {
    let (_, key) = Key::generate_pkcs8()?;
    let builder = Account::builder_with_http(Box::new(connection.clone()));
    builder.from_parts(String::new(), key, acme.directory.clone()).await
}

/// The key as the authority gave it to its customer: base64 for URLs, and forgiving about how that is written.
async fn external_key(external: &ExternalAccount) -> Result<ExternalAccountKey, Trouble> {
    let value =
        secret_source::value("external_account.key", &external.key).await.map_err(|error| match error {
            PrepareError::Wrong { reason, .. } => Trouble::Own(reason),
            error @ PrepareError::Host { .. } => Trouble::Own(error.to_string()),
        })?;
    let text =
        String::from_utf8_lossy(&value).trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let key = URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| {
        Trouble::Own(format!("the key of the external account `{}` is not in base64", external.key_id))
    })?;
    Ok(ExternalAccountKey::new(external.key_id.clone(), &key))
}

fn unusable(path: &std::path::Path, error: &io::Error) -> Trouble {
    Trouble::Own(format!("cannot use the account in `{}`: {error}", path.display()))
}
