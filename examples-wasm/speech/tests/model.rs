//! The task on this machine with the real model and a real recording, beside the same network in binary64 and what people
//! heard.

use samebit::native;
use speech::{Listen, PROBABILITIES, Speech};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder that `cargo xtask models` leaves; `None`, said aloud, where it was not fetched.
fn fetched(name: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let folder = exe.ancestors().nth(3).expect("target/PROFILE/deps/test").join("models").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing: `cargo xtask models` fetches it", folder.display());
    eprintln!("LEFT OUT: the model is not tried, {} is missing: `cargo xtask models` fetches it", folder.display());
    None
}

/// Where people heard someone speak in the recording, in seconds: `pyannote/audio/sample/sample.rttm` of the package, turns
/// that overlap or touch joined.
const HEARD: [[f64; 2]; 4] = [[6.69, 7.12], [7.55, 17.92], [18.05, 21.49], [21.78, 30.0]];

#[test]
fn speech_is_found_where_people_hear_it_with_the_probabilities_of_binary64() {
    let (Some(model), Some(recording)) = (fetched("silero-vad-6.2.3"), fetched("pyannote.audio-3.3.2")) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(input.join("model")).expect("a folder");
    fs::create_dir(&output).expect("a folder");
    let copy = |from: &Path, to: &str| fs::copy(from, input.join(to)).expect("copied");
    copy(&model.join("silero_vad_16k.safetensors"), "model/silero_vad_16k.safetensors");
    copy(&recording.join("sample.wav"), "recording.wav");
    fs::write(input.join("input"), "{}").expect("written");
    assert_eq!(native::run_on::<Listen>(&input, &output).expect("a result"), 8);

    let found = fs::read(output.join(PROBABILITIES)).expect("probabilities");
    let found: Vec<f32> = found.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
    let reference: serde_json::Value = serde_json::from_str(include_str!("reference.json")).expect("JSON");
    let wanted: Vec<f64> = serde_json::from_value(reference["probabilities"].clone()).expect("numbers");
    assert_eq!(found.len(), wanted.len());
    let apart = |(ours, wanted): (&f32, &f64)| (f64::from(*ours) - wanted).abs();
    let worst = found.iter().zip(&wanted).map(apart).fold(0.0, f64::max);
    eprintln!("at most {worst:e} from binary64");
    assert!(worst < 5e-6, "{worst:e}");

    let speech: Speech = serde_json::from_slice(&fs::read(output.join("result")).expect("a result")).expect("JSON");
    assert_eq!(speech.seconds, 30.0);
    for moment in (0u32..300).map(|tenth| f64::from(tenth) / 10.0 + 0.05) {
        let within = |[start, end]: [f64; 2]| (start..end).contains(&moment);
        let heard = HEARD.iter().any(|turn| within(*turn));
        let told = speech.segments.iter().any(|segment| within([segment.start, segment.end]));
        // The ends of turns are a matter of taste.
        let near = HEARD.iter().flatten().any(|edge| (edge - moment).abs() < 0.4);
        assert!(near || heard == told, "at {moment} s: heard {heard}, told {told}, {speech:?}");
    }
}
