//! Making a host ready: binary, user, directories, units of systemd, manual pages, completions.
//!
//! Everything is a file or a command of a [`plan::Plan`] that is told before it is done, and that knows what is there
//! already. User and directories are declared to systemd (`sysusers.d`, `tmpfiles.d`), so that the same files make a
//! host ready and an image. Nothing here prints.
//!
//! Reading order: `layout` says where everything lies, `units` what systemd is told, `plan` compares that with what
//! is there, `perform` does it, `removal` is the way back.

mod content;
mod host;
mod layout;
mod perform;
mod plan;
mod removal;
mod units;

pub(crate) use content::Extras;
pub(crate) use layout::{CONTROLLER_UNIT, Layout, Listeners, SetupError};
pub(crate) use perform::perform;
pub(crate) use plan::{Deed, Need, Plan, Step};
