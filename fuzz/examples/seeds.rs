//! Writes what each target begins from into `corpus/TARGET`, and its words into `dictionaries/TARGET`.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use cutover_fuzz::inputs;

/// What a target begins from, and the words that are worth trying.
type Target = (&'static str, fn() -> Vec<Vec<u8>>, &'static [&'static [u8]]);

const TARGETS: &[Target] = &[
    ("requests", inputs::requests, inputs::REQUEST_PARTS),
    ("chunks", inputs::chunks, inputs::CHUNK_PARTS),
    ("answers", inputs::answers, inputs::ANSWER_PARTS),
    ("streams", inputs::streams, inputs::STREAM_PARTS),
    ("targets", inputs::targets, inputs::TARGET_PARTS),
    ("introductions", inputs::introductions, inputs::INTRODUCTION_PARTS),
    ("frames", inputs::frames, inputs::FRAME_PARTS),
    ("timeouts", inputs::timeouts, inputs::TIMEOUT_PARTS),
];

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (target, inputs, parts) in TARGETS {
        let corpus = here.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        for (index, input) in inputs().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{index:03}")), input)?;
        }
        let mut words = String::new();
        for part in *parts {
            let escaped = part.iter().fold(String::new(), |mut text, byte| {
                // Writing to a string never fails.
                let _ = write!(text, "\\x{byte:02x}");
                text
            });
            words.push_str(&format!("\"{escaped}\"\n"));
        }
        fs::create_dir_all(here.join("dictionaries"))?;
        fs::write(here.join("dictionaries").join(target), words)?;
    }
    Ok(())
}
