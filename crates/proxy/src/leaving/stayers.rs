//! Those that last, on one worker, and the asking of each in its turn.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use cutover_core::InstanceId;
use cutover_core::routing::{InstanceState, Lasting};
use slab::Slab;

use crate::leaving::drains::Drain;
use crate::worker::Worker;

/// Between two rounds, give or take half of it: so that no two rounds of two workers beat in step.
const ROUND: Duration = Duration::from_millis(50);

/// The same while nobody has to leave anything.
const REST: Duration = Duration::from_millis(200);

/// What one that lasts is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    No,
    /// To leave as soon as nothing is torn by it.
    Leave,
    /// To go now.
    Cut,
}

/// All of a worker.
#[derive(Debug, Default)]
pub(crate) struct Stayers {
    list: RefCell<Slab<Stayer>>,
    /// Draws who is next, and the length of rounds.
    draws: Cell<u64>,
}

#[derive(Debug)]
struct Stayer {
    instance: Arc<InstanceState>,
    kind: Lasting,
    asked: Cell<Asked>,
    waker: RefCell<Option<Waker>>,
}

/// The place of one in the list, for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Stay {
    stayers: Rc<Stayers>,
    key: usize,
}

impl Stayers {
    /// One more that lasts.
    pub(crate) fn stay(self: &Rc<Self>, instance: &Arc<InstanceState>, kind: Lasting) -> Stay {
        instance.lasting().begin(kind);
        let stayer = Stayer {
            instance: Arc::clone(instance),
            kind,
            asked: Cell::new(Asked::No),
            waker: RefCell::new(None),
        };
        let key = self.list.borrow_mut().insert(stayer);
        Stay { stayers: Rc::clone(self), key }
    }

    /// A number below `below` that nobody can foresee; by xorshift, which is good enough to spread clients.
    fn draw(&self, below: u64) -> u64 {
        let mut state = self.draws.get() | 1;
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.draws.set(state);
        state % below.max(1)
    }

    /// Asks those whose turn it is.
    fn ask(&self, drains: &HashMap<InstanceId, Arc<Drain>>) {
        let list = self.list.borrow();
        let mut waiting: Vec<(&Stayer, &Arc<Drain>)> = Vec::new();
        for (_, stayer) in list.iter() {
            let Some(drain) = drains.get(stayer.instance.id()) else {
                // Its instance has traffic again: whoever was asked and has not left stays.
                stayer.asked.set(Asked::No);
                continue;
            };
            let is_over = match stayer.kind {
                Lasting::Grpc => drain.is_over_for_calls(),
                _ => drain.is_over(),
            };
            if is_over {
                stayer.set(Asked::Cut);
            } else if stayer.asked.get() == Asked::No && stayer.may_be_asked(drain) {
                waiting.push((stayer, drain));
            }
        }
        // Whoever is first in the list is not first to go.
        while !waiting.is_empty() {
            let drain = Arc::clone(waiting[0].1);
            let (of_it, others): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|(_, other)| Arc::ptr_eq(other, &drain));
            waiting = others;
            let mut of_it: Vec<&Stayer> = of_it.into_iter().map(|(stayer, _)| stayer).collect();
            for _ in 0..drain.take(of_it.len() as u64) {
                let drawn = usize::try_from(self.draw(of_it.len() as u64)).unwrap_or_default();
                of_it.swap_remove(drawn).set(Asked::Leave);
            }
        }
    }
}

impl Stayer {
    fn set(&self, asked: Asked) {
        if self.asked.replace(asked) != asked
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// What nobody understands cannot be asked; calls end by themselves for a while.
    fn may_be_asked(&self, drain: &Drain) -> bool {
        match self.kind {
            Lasting::WebSocket | Lasting::EventStream => true,
            Lasting::Grpc => drain.calls_have_had_their_time(),
            Lasting::Tunnel => false,
        }
    }
}

impl Stay {
    /// What it is asked.
    pub(crate) fn asked(&self) -> Asked {
        self.stayers.list.borrow()[self.key].asked.get()
    }

    /// Whether its time is over, whatever it waits for; whoever polls is woken when that comes.
    pub(crate) fn is_cut(&self, cx: &mut Context<'_>) -> bool {
        self.register(cx);
        self.asked() == Asked::Cut
    }

    /// Wakes whoever polls when it is asked something.
    pub(crate) fn register(&self, cx: &mut Context<'_>) {
        let list = self.stayers.list.borrow();
        let mut waker = list[self.key].waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let stayer = self.stayers.list.borrow_mut().remove(self.key);
        stayer.instance.lasting().end(stayer.kind);
    }
}

impl Worker {
    /// Goes round for as long as it is polled.
    pub(crate) async fn ask_those_who_last(self: Rc<Self>, seed: u64) {
        self.stayers.draws.set(seed);
        let mut were_some = false;
        loop {
            let half = u64::try_from(ROUND.as_millis()).unwrap_or_default() / 2;
            let pause = if were_some { ROUND / 2 } else { REST };
            tokio::time::sleep(pause + Duration::from_millis(self.stayers.draw(2 * half))).await;
            let drains = self.drains.all();
            if let Some(drains) = &drains {
                let addresses = drains.values().flat_map(|drain| drain.addresses.iter().copied());
                let addresses: std::collections::HashSet<_> = addresses.collect();
                // What lies idle is not needed there any more; a request that is sent back there opens a connection.
                self.pool.close_to(&addresses);
                self.h2_pool.spend(&addresses);
            }
            if let Some(drains) = drains.as_ref().or(were_some.then(HashMap::new).as_ref()) {
                self.stayers.ask(drains);
            }
            were_some = drains.is_some();
        }
    }
}
