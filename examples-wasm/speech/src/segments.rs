//! From probabilities to pieces of the recording: speech begins at one threshold and ends at a lower one, short pauses are
//! no pauses, short noises no speech.

use crate::{network::CHUNK, wave::RATE};
use samebit::serde::{Deserialize, Serialize};

/// What counts as speech. Times are in milliseconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(crate = "samebit::serde", deny_unknown_fields, default)]
pub struct Rules {
    /// Probability from which someone speaks.
    pub threshold: f32,
    /// How far below it the probability has to fall for the end.
    pub slack: f32,
    /// The shortest speech.
    pub speech: u32,
    /// The shortest pause.
    pub pause: u32,
    /// What is added before and behind each piece.
    pub pad: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { threshold: 0.5, slack: 0.15, speech: 250, pause: 100, pad: 30 }
    }
}

/// A piece of the recording, in seconds from its start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(crate = "samebit::serde")]
pub struct Segment {
    /// First moment.
    pub start: f64,
    /// Last moment.
    pub end: f64,
}

/// Longest of the times, in milliseconds.
const TIME_MAX: u32 = 60_000;

pub(crate) fn seconds(samples: usize) -> f64 {
    u32::try_from(samples).map_or(f64::INFINITY, f64::from) / f64::from(RATE)
}

impl Rules {
    pub(crate) fn check(&self) -> Result<(), String> {
        for (field, given) in [("threshold", self.threshold), ("slack", self.slack)] {
            if !(0.0..=1.0).contains(&given) {
                return Err(format!("{field} is {given}, allowed 0 to 1"));
            }
        }
        for (field, given) in [("speech", self.speech), ("pause", self.pause), ("pad", self.pad)] {
            if given > TIME_MAX {
                return Err(format!("{field} is {given}, allowed 0 to {TIME_MAX} milliseconds"));
            }
        }
        Ok(())
    }

    /// The pieces of a recording of `len` samples, one probability for each chunk.
    #[must_use]
    pub fn segments(&self, probabilities: &[f32], len: usize) -> Vec<Segment> {
        let samples = |time: u32| time as usize * (RATE as usize / 1000);
        let mut found: Vec<[usize; 2]> = Vec::new();
        let mut begun = None;
        for (chunk, probability) in probabilities.iter().enumerate() {
            let at = chunk * CHUNK;
            match begun {
                None if *probability >= self.threshold => begun = Some(at),
                Some(start) if *probability < self.threshold - self.slack => {
                    found.push([start, at]);
                    begun = None;
                }
                _ => {}
            }
        }
        found.extend(begun.map(|start| [start, len]));
        // Pauses first: two short pieces with a breath between them are one.
        let mut joined: Vec<[usize; 2]> = Vec::new();
        for [start, end] in found {
            match joined.last_mut() {
                Some([_, last]) if start - *last < samples(self.pause) => *last = end,
                _ => joined.push([start, end]),
            }
        }
        joined.retain(|[start, end]| end - start >= samples(self.speech));
        let pad = samples(self.pad);
        let mut segments: Vec<Segment> = Vec::new();
        for (at, [start, end]) in joined.iter().enumerate() {
            // Neighbours share the pause between them.
            let before = at.checked_sub(1).map_or(*start, |at| (start - joined[at][1]) / 2);
            let after = joined.get(at + 1).map_or(len - end, |next| (next[0] - end) / 2);
            segments.push(Segment { start: seconds(start - pad.min(before)), end: seconds(end + pad.min(after)) });
        }
        segments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probability for each letter: `.` none, `-` between the thresholds, `#` certain.
    fn segments(rules: &Rules, chunks: &str) -> Vec<[f64; 2]> {
        let probabilities: Vec<f32> = chunks
            .chars()
            .map(|chunk| {
                if chunk == '#' {
                    1.0
                } else if chunk == '-' {
                    0.4
                } else {
                    0.0
                }
            })
            .collect();
        let found = rules.segments(&probabilities, probabilities.len() * CHUNK);
        // In chunks of 32 ms.
        found.into_iter().map(|segment| [segment.start / 0.032, segment.end / 0.032]).collect()
    }

    #[test]
    fn speech_begins_high_and_ends_low() {
        let rules = Rules { pad: 0, speech: 0, pause: 0, ..Rules::default() };
        assert_eq!(segments(&rules, "..--##--##--..##"), [[4.0, 12.0], [14.0, 16.0]]);
    }

    #[test]
    fn short_pauses_and_short_noises_do_not_count() {
        let rules = Rules { pad: 0, ..Rules::default() };
        assert_eq!(segments(&rules, "..####...####.."), [[2.0, 13.0]], "a pause of 96 ms");
        assert_eq!(segments(&rules, "..#######....."), Vec::<[f64; 2]>::new(), "224 ms");
        assert_eq!(segments(&rules, "########....########"), [[0.0, 8.0], [12.0, 20.0]]);
    }

    #[test]
    fn what_is_added_stays_within_the_recording_and_never_overlaps() {
        let rules = Rules { pad: 96, ..Rules::default() };
        assert_eq!(segments(&rules, ".########....########......"), [[0.0, 11.0], [11.0, 24.0]]);
    }
}
