//! Handwritten digits of 8 by 8 pixels, as the table that scikit-learn ships: a row for each, 64 numbers from 0 to 16 and
//! the digit.

use samebit::input_dir;
use std::fs;

/// Pixels of a digit.
pub(crate) const PIXELS: usize = 64;
/// Digits there are.
pub(crate) const CLASSES: usize = 10;

/// Ink of a full pixel.
const INK_MAX: u8 = 16;
/// Most rows of a table.
const ROWS_MAX: usize = 100_000;
/// Most bytes of a table.
const BYTES_MAX: usize = 32 << 20;

/// A table of digits.
#[derive(Debug)]
pub(crate) struct Digits {
    ink: Vec<[u8; PIXELS]>,
    labels: Vec<u8>,
}

impl Digits {
    /// From `/in/digits.csv.gz`, or `/in/digits.csv`.
    pub(crate) fn read() -> Result<Self, String> {
        let packed = input_dir().join("digits.csv.gz");
        let plain = input_dir().join("digits.csv");
        let path = if packed.exists() { &packed } else { &plain };
        let mut bytes = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
        if packed.exists() {
            bytes = unpacked(&bytes).map_err(|reason| format!("unpacking {}: {reason}", path.display()))?;
        }
        let table = String::from_utf8(bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&table).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    pub(crate) fn parse(table: &str) -> Result<Self, String> {
        let mut digits = Self { ink: Vec::new(), labels: Vec::new() };
        for (number, line) in table.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            if number == ROWS_MAX {
                return Err(format!("more than {ROWS_MAX} rows"));
            }
            let place = |column: usize| format!("row {}, column {}", number + 1, column + 1);
            let mut row = [0; PIXELS + 1];
            let mut cells = line.split(',');
            for (column, to) in row.iter_mut().enumerate() {
                let cell = cells.next().ok_or_else(|| format!("{}: nothing there", place(column)))?;
                // Some tables write whole numbers with a fraction.
                let value: f32 =
                    cell.trim().parse().map_err(|_| format!("{}: {cell:?} is no number", place(column)))?;
                let most = if column == PIXELS { 9 } else { INK_MAX };
                *to = (0..=most)
                    .find(|whole| f32::from(*whole) == value)
                    .ok_or_else(|| format!("{}: {cell} is none of 0 to {most}", place(column)))?;
            }
            if cells.next().is_some() {
                return Err(format!("{}: one too many", place(PIXELS + 1)));
            }
            let [ink @ .., label] = row;
            digits.ink.push(ink);
            digits.labels.push(label);
        }
        Ok(digits)
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(crate) fn label(&self, row: usize) -> u8 {
        self.labels[row]
    }

    /// Ink of some rows, from 0 to 1.
    pub(crate) fn pixels(&self, rows: &[usize]) -> Vec<f32> {
        rows.iter().flat_map(|row| self.ink[*row].map(|ink| f32::from(ink) / f32::from(INK_MAX))).collect()
    }
}

/// The content of a gzip file of one member (RFC 1952).
fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let short = || "it ends within its header".to_string();
    let header = bytes.get(..10).ok_or_else(short)?;
    if header[..3] != [0x1f, 0x8b, 8] {
        return Err("it does not begin as a gzip file".to_string());
    }
    let flags = header[3];
    let mut rest = &bytes[10..];
    if flags & 4 != 0 {
        let [low, high] = *rest.first_chunk().ok_or_else(short)?;
        rest = rest.get(2 + usize::from(u16::from_le_bytes([low, high]))..).ok_or_else(short)?;
    }
    // A name, a comment: each up to its zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(short)?;
            rest = &rest[end + 1..];
        }
    }
    rest = rest.get(if flags & 2 != 0 { 2 } else { 0 }..).ok_or_else(short)?;
    miniz_oxide::inflate::decompress_to_vec_with_limit(rest, BYTES_MAX).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_none_is_refused_where_it_goes_wrong() {
        let row = |last: &str| format!("{}{last}", "0,".repeat(PIXELS));
        assert_eq!(Digits::parse(&row("7.0")).unwrap().label(0), 7);
        assert_eq!(Digits::parse(&row("10")).unwrap_err(), "row 1, column 65: 10 is none of 0 to 9");
        assert_eq!(Digits::parse(&row("x")).unwrap_err(), "row 1, column 65: \"x\" is no number");
        assert_eq!(Digits::parse("1,2").unwrap_err(), "row 1, column 3: nothing there");
        assert_eq!(Digits::parse(&row("1,2")).unwrap_err(), "row 1, column 66: one too many");
    }

    #[test]
    fn a_packed_table_is_unpacked_and_a_broken_one_is_refused() {
        let mut packed = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3];
        packed.extend(b"name\0");
        packed.extend(miniz_oxide::deflate::compress_to_vec(b"content", 6));
        packed.extend([0; 8]);
        assert_eq!(unpacked(&packed).unwrap(), b"content");
        for broken in [&packed[..5], &packed[..12], b"PK\x03\x04 no gzip at all", &packed[..18]] {
            assert!(unpacked(broken).is_err(), "{broken:?}");
        }
    }
}
