//! One host and how far it has come, and what can be said of all of them together.
//!
//! What is not known is no failure: a host that could not be asked may have switched, or may yet.

use cutover_core::DeploymentId;
use serde_json::{Value, json};

use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Controller;
use crate::cli::printer::Printer;

/// One host and how far it has come.
pub(super) struct Member<'a> {
    pub(super) controller: &'a Controller,
    pub(super) name: String,
    pub(super) printer: Printer,
    pub(super) deployment: Option<DeploymentId>,
    pub(super) stand: Stand,
}

/// How far a host has come.
#[derive(Debug)]
pub(super) enum Stand {
    /// Asked for nothing yet.
    Untouched,
    /// The identical release was live there before.
    WasLive,
    /// Its deployment is open and not validated yet.
    Open,
    /// Validated; it waits for its promotion.
    Held,
    /// Traffic was switched by this command, or by the one it follows.
    Live,
    /// The same, and why the end of its bake is not told.
    Baking(Failure),
    /// Nobody knows how it stands there: the line was lost, or somebody looked away.
    Unknown(Failure),
    /// It did not come that far, and why.
    Failed(Failure),
    /// Its deployment was taken back.
    TakenBack(String),
}

/// Whether one is known not to come as far as the others.
pub(super) fn any_failed(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| matches!(member.stand, Stand::Failed(_)))
}

/// Whether one has failed, or nobody knows whether it has.
pub(super) fn any_trouble(members: &[Member<'_>]) -> bool {
    members.iter().any(|member| matches!(member.stand, Stand::Failed(_) | Stand::Unknown(_)))
}

/// The hosts that stand like that.
pub(super) fn names(members: &[Member<'_>], like: impl Fn(&Stand) -> bool) -> String {
    let names: Vec<_> =
        members.iter().filter(|member| like(&member.stand)).map(|member| member.name.as_str()).collect();
    names.join(", ")
}

/// One status for all: that of the host that a person has to know of first.
pub(super) fn status(members: &[Member<'_>]) -> &'static str {
    let gravest = members.iter().max_by_key(|member| member.stand.gravity());
    gravest.map_or("unknown", |member| member.stand.status())
}

/// What became of a deployment that not every host could be brought to be ready for.
pub(super) fn how_it_stands(members: &[Member<'_>]) -> String {
    let on = |what: &str, like: fn(&Stand) -> bool| {
        let names = names(members, like);
        (!names.is_empty()).then(|| format!("{what} {names}"))
    };
    let live = on("live on", Stand::is_live);
    let unknown = on("not known on", |stand| matches!(stand, Stand::Unknown(_)));
    let headline = match (&live, &unknown) {
        (None, None) => "failed before any host was switched",
        _ => "failed, because not every host was ready",
    };
    let stuck =
        on("stuck on", |stand| matches!(stand, Stand::Failed(failure) if failure.exit == Exit::Stuck));
    let rest = [on("taken back on", |stand| matches!(stand, Stand::TakenBack(_))), live, stuck, unknown];
    let rest: Vec<_> = rest.into_iter().flatten().collect();
    let tells = if names(members, |stand| matches!(stand, Stand::Unknown(_))).is_empty() {
        ""
    } else {
        ": `cutover status` tells"
    };
    match rest.is_empty() {
        true => headline.to_owned(),
        false => format!("{headline}: {}{tells}", rest.join("; ")),
    }
}

impl<'a> Member<'a> {
    pub(super) fn new(controller: &'a Controller, printer: &Printer) -> Self {
        let name = controller.host.to_string();
        let printer = printer.for_host(&name);
        Self { controller, name, printer, deployment: None, stand: Stand::Untouched }
    }

    pub(super) fn complain(&self, failure: &Failure) {
        self.printer.talk(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.printer.talk(&format!("  hint: {hint}"));
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match &self.stand {
            Stand::WasLive | Stand::Live => Exit::Done,
            Stand::Untouched | Stand::Open | Stand::Held => Exit::Unfinished,
            Stand::Baking(failure) | Stand::Unknown(failure) | Stand::Failed(failure) => failure.exit,
            Stand::TakenBack(_) => Exit::TakenBack,
        }
    }

    pub(super) fn object(&self) -> Value {
        json!({
            "host": self.name, "stand": self.stand.label(), "deployment": self.deployment,
            "message": self.stand.text(), "exit": self.exit().code(),
        })
    }
}

impl Stand {
    /// What a failure says of a host: that it did not come as far, or only that it cannot be seen how far it came.
    pub(super) fn after(failure: Failure) -> Self {
        match failure.exit {
            Exit::Unreachable | Exit::Unfinished => Self::Unknown(failure),
            _ => Self::Failed(failure),
        }
    }

    /// Whether this command, or the one it follows, has switched its traffic.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live | Self::Baking(_))
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::WasLive => "already_live",
            Self::Open => "open",
            Self::Held => "held",
            Self::Live | Self::Baking(_) => "live",
            Self::Unknown(_) => "unknown",
            Self::Failed(_) => "failed",
            Self::TakenBack(_) => "taken_back",
        }
    }

    /// The nearest of a deployment's statuses.
    fn status(&self) -> &'static str {
        match self {
            Self::WasLive | Self::Live | Self::Baking(_) => "live",
            Self::Open | Self::Held => "validating",
            Self::Untouched => "not_started",
            Self::TakenBack(_) => "rolled_back",
            Self::Unknown(_) => "unknown",
            Self::Failed(failure) if failure.exit == Exit::Stuck => "stuck",
            Self::Failed(_) => "failed",
        }
    }

    fn gravity(&self) -> u8 {
        match self.status() {
            "live" => 0,
            "validating" => 1,
            "not_started" => 2,
            "rolled_back" => 3,
            "failed" => 4,
            "unknown" => 5,
            _ => 6,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Untouched => "nothing was done".to_owned(),
            Self::WasLive => "was live already".to_owned(),
            Self::Open => "not validated yet".to_owned(),
            Self::Held => "validated, waits".to_owned(),
            Self::Live => "live".to_owned(),
            Self::Unknown(failure) => format!("not known: {}", failure.message),
            Self::Baking(failure) | Self::Failed(failure) => failure.message.clone(),
            Self::TakenBack(why) => why.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::place::Host;
    use crate::cli::printer::Printer;

    fn controller(host: &str) -> Controller {
        let host = Host::There(host.parse().unwrap());
        Controller { client: host.client(), host }
    }

    fn failed(exit: Exit) -> Stand {
        Stand::after(Failure::new(exit, "so it went"))
    }

    #[test]
    fn what_cannot_be_seen_is_no_failure_and_what_is_said_is_so() {
        let controllers = [controller("alpha"), controller("beta")];
        let printer = Printer::new(true);
        let check = |stands: [Stand; 2], failed, exit: Exit, in_short: &str, expected: &str| {
            let members: Vec<_> = controllers
                .iter()
                .zip(stands)
                .map(|(controller, stand)| Member { stand, ..Member::new(controller, &printer) })
                .collect();
            assert_eq!(how_it_stands(&members), expected);
            assert_eq!((any_failed(&members), status(&members)), (failed, in_short), "{expected}");
            assert_eq!(members.iter().map(Member::exit).fold(Exit::Done, Exit::worse), exit, "{expected}");
        };
        let back = || Stand::TakenBack("x".to_owned());
        check(
            [back(), failed(Exit::TakenBack)],
            true,
            Exit::TakenBack,
            "failed",
            "failed before any host was switched: taken back on alpha",
        );
        check(
            [Stand::Live, failed(Exit::TakenBack)],
            true,
            Exit::TakenBack,
            "failed",
            "failed, because not every host was ready: live on alpha",
        );
        for exit in [Exit::Unfinished, Exit::Unreachable] {
            check(
                [back(), failed(exit)],
                false,
                if exit == Exit::Unfinished { Exit::TakenBack } else { exit },
                "unknown",
                "failed, because not every host was ready: taken back on alpha; not known on beta: `cutover status` \
                 tells",
            );
        }
        check(
            [failed(Exit::Stuck), failed(Exit::Refused)],
            true,
            Exit::Stuck,
            "stuck",
            "failed before any host was switched: stuck on alpha",
        );
    }
}
