//! `cutover generate` (hidden): manual pages and shell completions, made from the description of the command line.
//!
//! `setup` installs the same files, and the release script packs them.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::command;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::setup::Extras;

/// Write manual pages and shell completions
#[derive(Args)]
pub(crate) struct Generate {
    /// Where to: `share/man` and the directories of completions are made in it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Generate {
    pub(crate) fn run(&self, printer: &Printer) -> Result<Exit, Failure> {
        let Extras { manual, completions } = extras()?;
        let count = manual.len() + completions.len();
        for (path, text) in manual.into_iter().chain(completions) {
            let path = self.directory.join(path);
            let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            written.and_then(|()| std::fs::write(&path, text)).map_err(|error| {
                Failure::usage(format!("`{}` cannot be written: {error}", path.display()))
            })?;
        }
        printer.talk(&format!("wrote {count} files below {}", self.directory.display()));
        Ok(Exit::Done)
    }
}

/// All of them, below `/usr/local` or wherever they belong.
pub(crate) fn extras() -> Result<Extras, Failure> {
    let mut extras = Extras::default();
    let mut whole = command();
    whole.build();
    pages(&whole, "cutover", &mut extras.manual)?;
    // Nobody types it, but it stands in files of people: beside a key in `authorized_keys`.
    if let Some(entry) = whole.find_subcommand("ssh-entry") {
        pages(entry, "cutover-ssh-entry", &mut extras.manual)?;
    }
    let places = [
        (Shell::Bash, "share/bash-completion/completions/cutover"),
        (Shell::Zsh, "share/zsh/site-functions/_cutover"),
        (Shell::Fish, "share/fish/vendor_completions.d/cutover.fish"),
    ];
    for (shell, place) in places {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut shown(&command()), "cutover", &mut text);
        extras.completions.push((place.into(), text));
    }
    Ok(extras)
}

/// The command line without what cutover says to itself. Nothing can be taken out of a command, so it is made anew.
fn shown(whole: &Command) -> Command {
    let verbs = whole.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    Command::new("cutover").args(whole.get_arguments().cloned()).subcommands(verbs)
}

/// A page for the verb and one for each below it, named as `git-commit(1)` is.
fn pages(verb: &Command, name: &str, pages: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<(), Failure> {
    // Its own name is `cutover-config-check` there; `cutover config check` is what one types.
    let described = verb.clone().display_name(name.to_owned()).help_template(PLAIN);
    let mut text = Vec::new();
    let page = Man::new(described)
        .title(name.to_uppercase())
        .manual("cutover")
        .source(concat!("cutover ", env!("CARGO_PKG_VERSION")))
        .date("");
    page.render(&mut text)
        .map_err(|error| Failure::bug(format!("the page `{name}` cannot be made: {error}")))?;
    pages.push((Path::new("share/man/man1").join(format!("{name}.1")), text));
    let below = verb.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    for verb in below {
        self::pages(verb, &format!("{name}-{}", verb.get_name()), pages)?;
    }
    Ok(())
}

/// The page has an order of its own.
const PLAIN: &str = "{about}";
