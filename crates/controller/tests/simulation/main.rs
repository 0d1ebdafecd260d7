//! The whole controller in a world that fails by chance: virtual time, fake ports, a crash at every append.
//!
//! `CUTOVER_SIMULATION_SEED=n` plays one story again, `CUTOVER_SIMULATION_SEEDS=n` plays that many, from
//! `CUTOVER_SIMULATION_FROM` on (about 22 ms each on one core; nextest ends a test after four minutes, so a wide
//! sweep is `CUTOVER_SIMULATION_SEEDS=100000 cargo test -p cutover-controller --test simulation whatever`). Reading order: `world` is what is outside, `fault` what goes wrong on the way
//! there, `lives` runs controllers over it, `story` plays by chance, the rest plays by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod behaviour;
mod crashing_journal;
mod deposed;
mod fault;
mod lives;
mod ports;
mod random;
mod story;
mod world;

mod crashes;
mod requests;
mod slow_ports;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fault::Fault;

const SEEDS: u64 = 200;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn replay(seed: u64, story: &str) -> String {
    let command = "cargo nextest run -p cutover-controller -E 'test(whatever_happens)'";
    format!("seed {seed} breaks a promise; again with\n  CUTOVER_SIMULATION_SEED={seed} {command}\n\n{story}")
}

#[test]
fn whatever_happens_the_promises_hold_and_everything_comes_to_rest() {
    if let Some(seed) = from_environment("CUTOVER_SIMULATION_SEED") {
        if let Err(story) = story::play(seed) {
            panic!("{}", replay(seed, &story));
        }
        return;
    }
    let from = from_environment("CUTOVER_SIMULATION_FROM").unwrap_or(1);
    let count = from_environment("CUTOVER_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(from);
    let told = Mutex::new((
        BTreeMap::<&str, usize>::new(),
        BTreeMap::<Fault, usize>::new(),
        BTreeMap::<&str, usize>::new(),
    ));
    let failed = Mutex::new(None::<(u64, String)>);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || failed.lock().unwrap().is_some() {
                        return;
                    }
                    match story::play(seed) {
                        Ok(story) => {
                            let mut told = told.lock().unwrap();
                            story.ends.iter().for_each(|(end, n)| *told.0.entry(end).or_default() += n);
                            story.granted.iter().for_each(|(what, n)| *told.2.entry(what).or_default() += n);
                            story
                                .faults
                                .iter()
                                .for_each(|(fault, n)| *told.1.entry(*fault).or_default() += n);
                        }
                        Err(story) => {
                            failed.lock().unwrap().get_or_insert((seed, story));
                        }
                    }
                }
            });
        }
    });
    if let Some((seed, story)) = failed.into_inner().unwrap() {
        panic!("{}", replay(seed, &story));
    }
    if count >= SEEDS {
        let (ends, faults, granted) = told.into_inner().unwrap();
        for what in story::MOVES {
            assert!(granted.contains_key(what), "nobody was granted a {what}: {granted:?}");
        }
        for end in ["live", "rolled_back", "failed", "stuck"] {
            assert!(ends.contains_key(end), "no deployment ended as {end}: {ends:?}");
        }
        assert_eq!(faults.len(), 10, "not everything went wrong: {faults:?}");
    }
}

#[test]
fn a_seed_tells_the_same_story_again() {
    for seed in 1..=5 {
        let (first, second) = (story::play(seed).unwrap(), story::play(seed).unwrap());
        let differs = first.trace.iter().zip(&second.trace).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
    }
}
