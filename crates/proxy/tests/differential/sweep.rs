//! Seeded mutations of inputs, and the loop that feeds a property with them.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bytes at which readers part.
const DELICATE: &[u8] = b"\r\n\0 \t:;,\"\\/?#%@[]+-0159afAFxX_=*\x0b\x0c\x7f\x80\xff";

/// Checks all inputs as they are, and `cases` mutations of them.
pub(crate) fn sweep(cases: u64, inputs: &[Vec<u8>], parts: &[&[u8]], check: fn(&[u8])) {
    assert!(!inputs.is_empty());
    for input in inputs {
        told(input, "an input as it is", check);
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("CUTOVER_DIFFERENTIAL_SEED").unwrap_or(1);
    let cases = number("CUTOVER_DIFFERENTIAL_CASES").unwrap_or(cases);
    for seed in first..first + cases {
        let mut dice = Dice(seed);
        let mut input = dice.one(inputs).clone();
        for _ in 0..=dice.below(3) {
            mutate(&mut input, &mut dice, inputs, parts);
        }
        told(&input, &format!("CUTOVER_DIFFERENTIAL_SEED={seed}"), check);
    }
}

fn told(input: &[u8], which: &str, check: fn(&[u8])) {
    if catch_unwind(AssertUnwindSafe(|| check(input))).is_err() {
        panic!("{which}: \"{}\"", input.escape_ascii());
    }
}

fn mutate(input: &mut Vec<u8>, dice: &mut Dice, inputs: &[Vec<u8>], parts: &[&[u8]]) {
    let at = dice.below(input.len() + 1);
    let until = (at + 1 + dice.below(8)).min(input.len());
    match dice.below(9) {
        // Most of what is said is in lines: one of them is added.
        0..=2 => {
            let lines: Vec<usize> =
                (0..input.len()).filter(|at| input[*at] == b'\n').map(|at| at + 1).collect();
            let at = if lines.is_empty() { at } else { *dice.one(&lines) };
            let part = dice.one(parts).to_vec();
            input.splice(at..at, part);
        }
        3 => input.insert(at, *dice.one(DELICATE)),
        4 => {
            input.drain(at..until);
        }
        5 if at < input.len() => input[at] = *dice.one(DELICATE),
        6 => {
            let again = input[at..until].to_vec();
            input.splice(at..at, again);
        }
        7 => {
            let other = dice.one(inputs);
            let from = dice.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            if let Some(knobs) = input.first_mut() {
                *knobs = u8::try_from(dice.below(256)).unwrap();
            }
        }
    }
}

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = mixed ^ (mixed >> 31);
        usize::try_from(mixed % most as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}
