//! From the words of a release to a program that can be started: which file, as whom, with which environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};

use super::record::InstanceRecord;
use super::{live, state_id};

/// Why a program cannot be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("the command is empty")]
    NoCommand,
    #[error("the working directory `{}` does not exist in the release", .0.display())]
    NoWorkdir(PathBuf),
    #[error("the command `{}` does not exist", .0.display())]
    NoSuchFile(PathBuf),
    #[error("the command `{word}` is in none of the directories of PATH ({path})")]
    NotInPath { word: String, path: String },
    #[error("the command `{}` is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("the command `{}` is not executable; `chmod +x` it before it is deployed", .0.display())]
    NotExecutable(PathBuf),
    #[error("there is no user `{0}` on this host")]
    NoSuchUser(String),
    #[error("cannot run as user `{user}`: cutover runs as `{own}` and only root can switch")]
    CannotSwitch { user: String, own: String },
    #[error("cannot read the secret `{name}` from `{}`: {cause}", .file.display())]
    Secret { name: String, file: PathBuf, cause: io::Error },
    #[error("cannot run `{}`: {}", .program.display(), explain(.cause))]
    Refused { program: PathBuf, cause: io::Error },
    #[error("cannot prepare the program's output: {0}")]
    Output(io::Error),
}

/// What exec(2) means by its error once the file is known to be there and executable.
fn explain(cause: &io::Error) -> String {
    match cause.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) => {
            "its interpreter (first line, or dynamic loader) does not exist on this host".to_owned()
        }
        Some(rustix::io::Errno::NOEXEC) => {
            "it is neither a program for this machine nor a script with a `#!` line".to_owned()
        }
        Some(rustix::io::Errno::ACCESS) => {
            "permission denied; the user it runs as cannot reach it or its working directory".to_owned()
        }
        _ => cause.to_string(),
    }
}

/// The user a program runs as, if it has to be switched to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Looks a user up and says whether a switch is needed and possible.
pub(super) fn identity(user: Option<&str>) -> Result<Option<Identity>, StartError> {
    let Some(name) = user else { return Ok(None) };
    let found = User::from_name(name).ok().flatten();
    let found = found.ok_or_else(|| StartError::NoSuchUser(name.to_owned()))?;
    let own = geteuid();
    if found.uid == own {
        return Ok(None);
    }
    if !own.is_root() {
        let own = User::from_uid(own).ok().flatten().map_or_else(|| own.to_string(), |user| user.name);
        return Err(StartError::CannotSwitch { user: name.to_owned(), own });
    }
    Ok(Some(Identity { uid: found.uid.as_raw(), gid: found.gid.as_raw() }))
}

/// The home directory of a user, or of this process's own one.
pub(super) fn home(user: Option<&str>) -> PathBuf {
    let found = match user {
        Some(name) => User::from_name(name),
        None => User::from_uid(geteuid()),
    };
    found.ok().flatten().map_or_else(|| PathBuf::from("/"), |user| user.dir)
}

/// Finds the file that a command means: a word with a slash is relative to the working directory, a bare word
/// is looked up in PATH, as a shell does.
pub(super) fn resolve(command: &[String], workdir: &Path, path: &str) -> Result<PathBuf, StartError> {
    let word = command.first().filter(|word| !word.is_empty()).ok_or(StartError::NoCommand)?;
    if !workdir.is_dir() {
        return Err(StartError::NoWorkdir(workdir.to_owned()));
    }
    if word.contains('/') {
        // Not `./x` but `x` in messages.
        let file = workdir.join(word.strip_prefix("./").unwrap_or(word));
        check_executable(&file)?;
        return Ok(file);
    }
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(word))
        .find(|file| check_executable(file).is_ok())
        .ok_or_else(|| StartError::NotInPath { word: word.clone(), path: path.to_owned() })
}

fn check_executable(file: &Path) -> Result<(), StartError> {
    match fs::metadata(file) {
        Err(_) => Err(StartError::NoSuchFile(file.to_owned())),
        Ok(metadata) if !metadata.is_file() => Err(StartError::NotAFile(file.to_owned())),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Err(StartError::NotExecutable(file.to_owned()))
        }
        Ok(_) => Ok(()),
    }
}

/// The whole environment of the program. What cutover says itself comes last, so that nothing hides it.
pub(super) fn environment(plan: &InstanceRecord) -> Result<BTreeMap<OsString, OsString>, StartError> {
    let mut environment: BTreeMap<OsString, OsString> =
        plan.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    for name in &plan.secrets {
        let file = plan.secrets_directory.join(name);
        match fs::read(&file) {
            Ok(value) => environment.insert(name.into(), OsString::from_vec(value)),
            Err(cause) => {
                return Err(StartError::Secret { name: name.clone(), file, cause });
            }
        };
    }
    let said = [
        ("CUTOVER_SERVICE", plan.service.to_string()),
        ("CUTOVER_ENVIRONMENT", plan.environment.to_string()),
        ("CUTOVER_VERSION", plan.version.to_string()),
        ("CUTOVER_INSTANCE", plan.id.to_string()),
    ];
    environment.extend(said.map(|(name, value)| (name.into(), value.into())));
    match &plan.worker {
        Some(worker) => environment.insert("CUTOVER_WORKER".into(), worker.as_str().into()),
        None => environment.insert("PORT".into(), plan.port.to_string().into()),
    };
    if let Some(live) = &plan.live {
        let told = live::Told::of(live, &plan.service, plan.environment);
        environment.insert("CUTOVER_LIVE_FILE".into(), told.file.into());
        environment.extend(told.url.map(|url| ("CUTOVER_LIVE_URL".into(), url.into())));
    }
    // What an older executor planned is told by its records alone; a configured value must not pretend otherwise.
    environment.remove(&OsString::from(state_id::VARIABLE));
    if let Some(home) = &plan.home {
        environment.insert(state_id::VARIABLE.into(), home.id.as_str().into());
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_word_with_a_slash_is_found_in_the_working_directory_and_a_bare_one_in_path() {
        let workdir = tempfile::tempdir().unwrap();
        let shop = workdir.path().join("shop");
        fs::write(&shop, "#!/bin/sh\n").unwrap();
        let error = |command| resolve(&words(command), workdir.path(), "/bin").unwrap_err().to_string();
        assert!(error("./shop").ends_with("is not executable; `chmod +x` it before it is deployed"));
        fs::set_permissions(&shop, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(resolve(&words("./shop -v"), workdir.path(), "/bin").unwrap(), shop);
        assert_eq!(resolve(&words("sh"), workdir.path(), "/bin").unwrap(), Path::new("/bin/sh"));
        assert_eq!(error("shop"), "the command `shop` is in none of the directories of PATH (/bin)");
        let missing = workdir.path().join("missing");
        assert_eq!(error("./missing"), format!("the command `{}` does not exist", missing.display()));
    }

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let error = identity(Some("no-such-user")).unwrap_err().to_string();
        assert_eq!(error, "there is no user `no-such-user` on this host");
    }

    #[test]
    fn a_worker_has_a_name_and_no_port_and_knows_where_it_is_told_what_is_live() {
        let live = tempfile::tempdir().unwrap();
        fs::write(live.path().join(live::ADDRESS), "127.0.0.1:7").unwrap();
        let worker = Some("mail".parse().unwrap());
        let plan = InstanceRecord {
            worker,
            live: Some(live.path().to_owned()),
            ..crate::process::tests::instance_record()
        };
        let environment = environment(&plan).unwrap();
        let value = |name: &str| environment.get(&OsString::from(name)).map(|value| value.to_str().unwrap());
        assert_eq!((value("CUTOVER_WORKER"), value("PORT")), (Some("mail"), None));
        assert_eq!(value("CUTOVER_LIVE_FILE"), live.path().join("shop/blue").to_str());
        assert_eq!(value("CUTOVER_LIVE_URL"), Some("http://127.0.0.1:7/shop/blue"));
    }

    #[test]
    fn a_configured_port_does_not_hide_the_one_that_was_chosen() {
        let mut plan = crate::process::tests::instance_record();
        plan.env.insert("PORT".to_owned(), "1".to_owned());
        let environment = environment(&plan).unwrap();
        assert_eq!(environment.get(&OsString::from("PORT")), Some(&plan.port.to_string().into()));
    }
}
