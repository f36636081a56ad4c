//! Finds where someone speaks in a recording: silero-vad on the host's tensors, four seconds of it in each step.
//!
//! The network has a memory, so that each chunk waits for the one before; all but the memory is computed for the chunks
//! of a step together.
#![forbid(unsafe_code)]

mod network;
pub mod segments;
mod wave;

use network::{CHUNK, CONTEXT, Memory, Network};
use samebit::{
    Step, Steps, input_dir, output_dir,
    serde::{Deserialize, Serialize},
    tensor::Safetensors,
};
use segments::{Rules, Segment};
use std::fs;
use wave::Wave;

/// The probabilities in the output tree: little-endian binary32 numbers, one for each chunk of 512 samples.
pub const PROBABILITIES: &str = "probabilities.f32";
/// Chunks of a step: four seconds.
const CHUNKS_PER_STEP: usize = 125;

/// What was found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "samebit::serde")]
pub struct Speech {
    /// Length of the recording in seconds.
    pub seconds: f64,
    /// Where someone speaks.
    pub segments: Vec<Segment>,
}

/// Listens to `/in/recording.wav` with the model in `/in/model`.
#[samebit::task]
pub struct Listen {
    rules: Rules,
    network: Network,
    memory: Memory,
    wave: Wave,
    probabilities: Vec<f32>,
}

impl Steps for Listen {
    type Input = Rules;
    type Output = Speech;
    type Error = String;

    fn start(rules: Rules) -> Result<Self, String> {
        rules.check()?;
        let path = input_dir().join("recording.wav");
        let bytes = fs::read(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        let wave = Wave::parse(&bytes).map_err(|reason| format!("{}: {reason}", path.display()))?;
        let model = Safetensors::open(input_dir().join("model/silero_vad_16k.safetensors")).map_err(text)?;
        let network = Network::new(&model).map_err(text)?;
        let memory = Memory::new().map_err(text)?;
        Ok(Self { rules, network, memory, wave, probabilities: Vec::new() })
    }

    fn step(&mut self) -> Result<Step, String> {
        let left = self.wave.chunks() - self.probabilities.len();
        let first = self.probabilities.len();
        let chunks: Vec<[f32; CONTEXT + CHUNK]> =
            (first..first + left.min(CHUNKS_PER_STEP)).map(|chunk| self.wave.chunk(chunk)).collect();
        if !chunks.is_empty() {
            let made = self.network.probabilities(&chunks, &mut self.memory).map_err(text)?;
            self.probabilities.extend(made);
        }
        Ok(if self.probabilities.len() == self.wave.chunks() { Step::Done } else { Step::More })
    }

    fn finish(self) -> Result<Speech, String> {
        let bytes: Vec<u8> = self.probabilities.iter().flat_map(|number| number.to_le_bytes()).collect();
        let path = output_dir().join(PROBABILITIES);
        fs::write(&path, bytes).map_err(|error| format!("writing {}: {error}", path.display()))?;
        let segments = self.rules.segments(&self.probabilities, self.wave.len());
        Ok(Speech { seconds: segments::seconds(self.wave.len()), segments })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
