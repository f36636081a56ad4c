//! A curve as a PNG.

/// Pixels across and down.
const SIZE: [usize; 2] = [640, 360];
const EDGE: usize = 12;
const PAPER: [u8; 3] = [250, 250, 247];
const RULE: [u8; 3] = [216, 216, 210];
const INK: [u8; 3] = [28, 88, 150];
/// Parts between the rules.
const PARTS: usize = 4;

/// Numbers from left to right, zero at the bottom, the greatest at the top.
///
/// # Errors
/// When the picture cannot be packed.
pub(crate) fn curve(numbers: &[f32]) -> Result<Vec<u8>, String> {
    let [width, height] = SIZE;
    let mut pixels = PAPER.repeat(width * height);
    let [right, bottom] = [width - 1 - EDGE, height - 1 - EDGE];
    for part in 0..=PARTS {
        let y = EDGE + (bottom - EDGE) * part / PARTS;
        for x in EDGE..=right {
            dot(&mut pixels, [x, y], RULE);
        }
    }
    let greatest = numbers.iter().copied().filter(|number| number.is_finite()).fold(f32::MIN_POSITIVE, f32::max);
    let place = |at: usize| {
        let x = EDGE + (right - EDGE) * at / numbers.len().saturating_sub(1).max(1);
        let part = (numbers[at] / greatest).clamp(0.0, 1.0);
        // A whole number of pixels from the bottom: the number of them that fit.
        let up = (0..=bottom - EDGE).rev().find(|up| fits(*up, bottom - EDGE, part)).unwrap_or(0);
        [x, bottom - up]
    };
    let mut last = None;
    for at in 0..numbers.len() {
        let [x, y] = place(at);
        let [from_x, from_y] = last.unwrap_or([x, y]);
        // From point to point in steps of one pixel.
        let steps = (x - from_x).max(y.abs_diff(from_y)).max(1);
        for step in 0..=steps {
            let between = |from: usize, to: usize| (from * (steps - step) + to * step) / steps;
            let [x, y] = [between(from_x, x), between(from_y, y)];
            dot(&mut pixels, [x, y], INK);
            dot(&mut pixels, [x, y + 1], INK);
        }
        last = Some([x, y]);
    }
    let mut bytes = Vec::new();
    let side = |len: usize| u32::try_from(len).map_err(|error| error.to_string());
    let mut encoder = png::Encoder::new(&mut bytes, side(width)?, side(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
    writer.write_image_data(&pixels).map_err(|error| error.to_string())?;
    writer.finish().map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn fits(up: usize, most: usize, part: f32) -> bool {
    let number = |len: usize| f32::from(u16::try_from(len).unwrap_or(u16::MAX));
    number(up) <= part * number(most)
}

fn dot(pixels: &mut [u8], [x, y]: [usize; 2], colour: [u8; 3]) {
    let at = (y * SIZE[0] + x) * 3;
    pixels[at..at + 3].copy_from_slice(&colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_a_png_whatever_its_numbers_are() {
        for numbers in [&[][..], &[1.0], &[f32::NAN, f32::INFINITY, 2.0, -1.0], &[3.0, 2.0, 1.0, 0.0]] {
            let picture = curve(numbers).unwrap();
            let reader = png::Decoder::new(std::io::Cursor::new(picture)).read_info().unwrap();
            assert_eq!((reader.info().width, reader.info().height), (640, 360));
        }
    }
}
