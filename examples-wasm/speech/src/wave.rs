//! Recordings: RIFF WAVE files of 16-bit samples, one channel, 16,000 a second.

use crate::network::{CHUNK, CONTEXT};

/// Samples of a second.
pub(crate) const RATE: u32 = 16_000;

/// A recording.
#[derive(Debug)]
pub(crate) struct Wave {
    samples: Vec<i16>,
}

impl Wave {
    /// Reads the parts of a RIFF file up to its samples; what a part of another kind says is left aside.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (head, mut rest) = bytes.split_first_chunk::<12>().ok_or("it ends within its header")?;
        if head[..4] != *b"RIFF" || head[8..] != *b"WAVE" {
            return Err("it is no RIFF WAVE file".into());
        }
        let mut known = false;
        loop {
            let (head, body) = rest.split_first_chunk::<8>().ok_or("it has no samples")?;
            let (kind, [a, b, c, d]) = (&head[..4], [head[4], head[5], head[6], head[7]]);
            let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).map_err(|error| error.to_string())?;
            let content = body.get(..len);
            match kind {
                b"fmt " => {
                    let format = content.and_then(|content| content.first_chunk::<16>());
                    Self::check(format.ok_or("it ends within its format")?)?;
                    known = true;
                }
                b"data" if !known => return Err("its samples come before its format".into()),
                b"data" => {
                    let content = content
                        .ok_or_else(|| format!("{len} bytes of samples are said to follow, and {} do", body.len()))?;
                    let (samples, rest) = content.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err(format!("{len} bytes are no whole number of samples"));
                    }
                    return Ok(Self { samples: samples.iter().copied().map(i16::from_le_bytes).collect() });
                }
                _ => {}
            }
            // Parts begin at even places.
            rest = body.get(len + len % 2..).ok_or("it has no samples")?;
        }
    }

    fn check(format: &[u8; 16]) -> Result<(), String> {
        let word = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
        let rate = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
        for (what, found, wanted) in [
            ("encoding", u32::from(word(0)), 1),
            ("channels", word(2).into(), 1),
            ("samples a second", rate, RATE),
            ("bits of a sample", word(14).into(), 16),
        ] {
            if found != wanted {
                return Err(format!("{what}: {found}, and {wanted} is what the model takes"));
            }
        }
        Ok(())
    }

    /// Samples.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Chunks, the last of which may be filled with silence.
    pub(crate) fn chunks(&self) -> usize {
        self.samples.len().div_ceil(CHUNK)
    }

    /// A chunk and the samples before it, from -1 to 1.
    pub(crate) fn chunk(&self, number: usize) -> [f32; CONTEXT + CHUNK] {
        core::array::from_fn(|at| {
            let place = (number * CHUNK + at).checked_sub(CONTEXT);
            place.and_then(|place| self.samples.get(place)).map_or(0.0, |sample| f32::from(*sample) / 32768.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(format: [u8; 16], data: &[u8]) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
        for (kind, content) in [(b"LIST", &b"odd"[..]), (b"fmt ", &format), (b"data", data)] {
            bytes.extend(kind);
            bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(2), 0);
        }
        bytes
    }

    const MONO: [u8; 16] = [1, 0, 1, 0, 0x80, 0x3e, 0, 0, 0, 0x7d, 0, 0, 2, 0, 16, 0];

    #[test]
    fn a_recording_is_chunks_with_what_came_before_each() {
        let samples: Vec<u8> = (0..600i16).flat_map(|sample| (sample * 32).to_le_bytes()).collect();
        let wave = Wave::parse(&wave(MONO, &samples)).unwrap();
        assert_eq!((wave.len(), wave.chunks()), (600, 2));
        let [first, second] = [0, 1].map(|chunk| wave.chunk(chunk));
        assert_eq!(first[..CONTEXT], [0.0; CONTEXT]);
        assert_eq!(first[CONTEXT + 8], 8.0 * 32.0 / 32768.0);
        assert_eq!(second[0], f32::from(i16::try_from(CHUNK - CONTEXT).unwrap() * 32) / 32768.0);
        assert_eq!(second[CONTEXT + 88..], [0.0; CHUNK - 88]);
    }

    #[test]
    fn a_file_that_is_no_such_recording_is_refused() {
        let refused = |bytes: &[u8]| Wave::parse(bytes).unwrap_err();
        let mut stereo = MONO;
        stereo[2] = 2;
        assert_eq!(refused(&wave(stereo, b"")), "channels: 2, and 1 is what the model takes");
        assert_eq!(refused(&wave(MONO, b"odd")), "3 bytes are no whole number of samples");
        assert_eq!(refused(b"RIFF"), "it ends within its header");
        assert_eq!(refused(b"OggS\0\0\0\0\0\0\0\0\0\0"), "it is no RIFF WAVE file");
        let whole = wave(MONO, &[0; 64]);
        assert_eq!(refused(&whole[..whole.len() - 1]), "64 bytes of samples are said to follow, and 63 do");
        for end in 12..whole.len() {
            assert!(Wave::parse(&whole[..end]).is_err(), "{end} bytes");
        }
    }
}
