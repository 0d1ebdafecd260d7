//! What can go wrong between the controller and the outside, by chance or on demand.

use std::collections::BTreeMap;

use crate::random::Random;

/// What is asked of the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    Preflight,
    Provision,
    Stop,
    ObserveInstances,
    Prioritise,
    Apply,
    ObserveRoutes,
    InFlight,
    Check,
    Prepare,
    Gate,
    Append,
}

/// How the asking goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It is not done, and says so.
    FailBefore,
    /// It is done, and says that it was not.
    FailAfter,
    /// It is done and answered much later. A start goes on although nobody waits for it any more, unless the
    /// controller dies: an executor may do it on a thread.
    Late,
    /// It is done at once and answered much later.
    AnswerLate,
    /// It is never done and never answered.
    Hang,
    /// It is done, and the answer is lost.
    LoseAnswer,
    /// It is done twice, some time apart.
    Twice,
    /// It arrives much later, when the one who asked may have given up long ago.
    Stray,
    /// The controller is killed before it is recorded.
    CrashBefore,
    /// The controller is killed when it has been recorded.
    CrashAfter,
}

const ANY: &[Fault] = &[
    Fault::FailBefore,
    Fault::FailAfter,
    Fault::Late,
    Fault::AnswerLate,
    Fault::Hang,
    Fault::LoseAnswer,
    Fault::Twice,
];

impl Port {
    /// What can go wrong here. A start of the controller has no deadline of its own, so what it asks for is
    /// answered, if badly. A message to the router can outlive the connection it was written to.
    fn faults(self) -> &'static [Fault] {
        match self {
            Self::ObserveInstances | Self::ObserveRoutes => &[Fault::FailBefore, Fault::Late],
            Self::Preflight | Self::Prepare => &[Fault::FailBefore, Fault::Late, Fault::Hang],
            Self::InFlight | Self::Check => &[Fault::FailBefore, Fault::Late, Fault::Hang],
            Self::Apply => &[
                Fault::FailBefore,
                Fault::FailAfter,
                Fault::Late,
                Fault::AnswerLate,
                Fault::Hang,
                Fault::LoseAnswer,
                Fault::Twice,
                Fault::Stray,
                Fault::Stray,
            ],
            Self::Provision | Self::Stop | Self::Prioritise => ANY,
            Self::Gate => {
                &[Fault::FailBefore, Fault::Late, Fault::AnswerLate, Fault::Hang, Fault::LoseAnswer]
            }
            Self::Append => &[Fault::FailBefore, Fault::FailAfter],
        }
    }
}

/// What goes wrong in one run.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Of a thousand calls to a port, this many go wrong.
    pub(crate) ports: u64,
    /// Of a thousand appends, this many fail.
    pub(crate) appends: u64,
    /// Of a thousand appends, this many end the controller.
    pub(crate) crashes: u64,
    /// What goes wrong the next times that port is asked, whatever chance says.
    pub(crate) next: BTreeMap<Port, Vec<Fault>>,
    /// Appends so far, and the one that ends the controller.
    pub(crate) appended: usize,
    pub(crate) crash_at: Option<(usize, Fault)>,
    /// How many milliseconds late whatever is late is; by chance if it is not said.
    pub(crate) late_by: Option<u64>,
    /// How often each has happened.
    pub(crate) happened: BTreeMap<Fault, usize>,
}

impl Faults {
    /// From now on nothing goes wrong.
    pub(crate) fn heal(&mut self) {
        (self.ports, self.appends, self.crashes, self.crash_at) = (0, 0, 0, None);
        self.next.clear();
    }

    /// Has that port go wrong the next time.
    pub(crate) fn force(&mut self, port: Port, fault: Fault) {
        self.next.entry(port).or_default().push(fault);
    }

    pub(crate) fn draw(&mut self, port: Port, random: &mut Random) -> Option<Fault> {
        let fault = self.decide(port, random)?;
        *self.happened.entry(fault).or_default() += 1;
        Some(fault)
    }

    fn decide(&mut self, port: Port, random: &mut Random) -> Option<Fault> {
        if port == Port::Append {
            self.appended += 1;
            if let Some((at, fault)) = self.crash_at
                && at == self.appended
            {
                return Some(fault);
            }
        }
        if let Some(forced) = self.next.get_mut(&port).filter(|forced| !forced.is_empty()) {
            return Some(forced.remove(0));
        }
        if port == Port::Append && random.in_thousand(self.crashes) {
            return Some(random.pick(&[Fault::CrashBefore, Fault::CrashAfter]));
        }
        // Checks are asked so often that their share would drown the others.
        let share = match port {
            Port::Append => self.appends,
            Port::Check => self.ports / 10,
            _ => self.ports,
        };
        random.in_thousand(share).then(|| random.pick(port.faults()))
    }
}
