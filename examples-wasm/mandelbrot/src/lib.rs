//! Renders the Mandelbrot set to a PNG, some rows in each step.
//!
//! Every pixel is made of additions, multiplications and divisions of `f64`, each rounded once as IEEE 754 says, in
//! an order that the code fixes. Nothing is taken from a maths library, so that a native build draws the same bits.
#![forbid(unsafe_code)]

mod colour;
mod escape;

use samebit::{Step, Steps};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of the picture in the output tree.
pub const PICTURE: &str = "mandelbrot.png";

/// Widest and highest picture, in pixels.
const SIDE_MAX: u32 = 8_192;
/// Most iterations of one point.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Most samples of one pixel along each axis.
const SAMPLES_MAX: u32 = 8;

/// What to render.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct View {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The point in the middle, real and imaginary part.
    pub centre: [f64; 2],
    /// Width of the picture on the complex plane.
    pub scale: f64,
    /// Points that take more iterations count as inside.
    pub iterations: u32,
    /// Samples of each pixel along each axis; 2 takes four.
    #[serde(default = "one")]
    pub samples: u32,
    /// Rows that one step renders.
    pub rows_per_step: u32,
}

fn one() -> u32 {
    1
}

/// Why a view cannot be rendered.
#[derive(Debug)]
pub enum ViewError {
    /// A field out of its bounds.
    Bounds {
        /// The field.
        field: &'static str,
        /// What it is.
        given: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// The picture cannot be written.
    Picture(png::EncodingError),
    /// Its file cannot be made.
    File(std::io::Error),
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounds { field, given, allowed } => write!(f, "{field} is {given}, allowed {allowed}"),
            Self::Picture(error) => write!(f, "writing {PICTURE}: {error}"),
            Self::File(error) => write!(f, "making {PICTURE}: {error}"),
        }
    }
}

/// What was rendered.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// Where it is in the output tree.
    pub file: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Samples that never left the circle.
    pub inside: u64,
    /// Iterations of all samples together.
    pub iterations: u64,
}

/// The picture so far.
#[samebit::task]
pub struct Mandelbrot {
    view: View,
    /// Three bytes for each pixel of the rows that are rendered.
    pixels: Vec<u8>,
    row: u32,
    inside: u64,
    iterations: u64,
}

impl Steps for Mandelbrot {
    type Input = View;
    type Output = Picture;
    type Error = ViewError;

    fn start(view: View) -> Result<Self, ViewError> {
        bounded("width", view.width, SIDE_MAX, "1 to 8192")?;
        bounded("height", view.height, SIDE_MAX, "1 to 8192")?;
        bounded("iterations", view.iterations, ITERATIONS_MAX, "1 to 1000000")?;
        bounded("samples", view.samples, SAMPLES_MAX, "1 to 8")?;
        bounded("rows_per_step", view.rows_per_step, SIDE_MAX, "1 to 8192")?;
        if !(view.scale > 0.0 && view.scale <= 16.0) {
            return Err(ViewError::Bounds { field: "scale", given: view.scale, allowed: "above 0, at most 16" });
        }
        let len = 3 * view.width as usize * view.height as usize;
        Ok(Self { pixels: Vec::with_capacity(len), view, row: 0, inside: 0, iterations: 0 })
    }

    fn step(&mut self) -> Result<Step, ViewError> {
        let end = self.view.height.min(self.row.saturating_add(self.view.rows_per_step));
        while self.row < end {
            for column in 0..self.view.width {
                let pixel = self.pixel(column, self.row);
                self.pixels.extend(pixel);
            }
            self.row += 1;
        }
        samebit::progress(self.row.into(), self.view.height.into(), "rows");
        Ok(if self.row == self.view.height { Step::Done } else { Step::More })
    }

    fn finish(self) -> Result<Picture, ViewError> {
        let path = samebit::output_dir().join(PICTURE);
        std::fs::write(path, self.png().map_err(ViewError::Picture)?).map_err(ViewError::File)?;
        Ok(Picture {
            file: PICTURE.to_string(),
            width: self.view.width,
            height: self.view.height,
            inside: self.inside,
            iterations: self.iterations,
        })
    }
}

impl Mandelbrot {
    /// The mean colour of a pixel's samples.
    fn pixel(&mut self, column: u32, row: u32) -> [u8; 3] {
        let view = &self.view;
        // Pixels are square, and counted from the middle.
        let unit = view.scale / f64::from(view.width);
        let samples = f64::from(view.samples);
        let mut sum = [0.0; 3];
        for down in 0..view.samples {
            for across in 0..view.samples {
                let x = f64::from(column) + (f64::from(across) + 0.5) / samples - f64::from(view.width) / 2.0;
                let y = f64::from(row) + (f64::from(down) + 0.5) / samples - f64::from(view.height) / 2.0;
                let escape = escape::escape(view.centre[0] + x * unit, view.centre[1] - y * unit, view.iterations);
                self.iterations += u64::from(escape.iterations);
                let colour = match escape.smooth {
                    Some(smooth) => colour::of(smooth),
                    None => {
                        self.inside += 1;
                        [0.0; 3]
                    }
                };
                for (sum, part) in sum.iter_mut().zip(colour) {
                    *sum += part;
                }
            }
        }
        sum.map(|sum| colour::byte(sum / (samples * samples)))
    }

    fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.view.width, self.view.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }
}

fn bounded(field: &'static str, given: u32, max: u32, allowed: &'static str) -> Result<(), ViewError> {
    if (1..=max).contains(&given) { Ok(()) } else { Err(ViewError::Bounds { field, given: given.into(), allowed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View { width: 24, height: 16, centre: [-0.5, 0.0], scale: 3.0, iterations: 200, samples: 2, rows_per_step: 5 }
    }

    fn pixels(view: View) -> Vec<u8> {
        let mut task = Mandelbrot::start(view).unwrap();
        while task.step().unwrap() == Step::More {}
        task.pixels
    }

    #[test]
    fn the_size_of_a_step_changes_nothing_in_the_picture() {
        let whole = pixels(View { rows_per_step: 16, ..view() });
        assert_eq!(whole.len(), 24 * 16 * 3);
        assert_eq!(pixels(view()), whole);
        assert_eq!(pixels(View { rows_per_step: 1, ..view() }), whole);
    }

    #[test]
    fn a_picture_around_the_real_axis_is_its_own_mirror_image() {
        let rows: Vec<Vec<u8>> = pixels(view()).chunks(24 * 3).map(<[u8]>::to_vec).collect();
        assert!(rows.iter().eq(rows.iter().rev()));
    }

    #[test]
    fn the_middle_of_the_set_is_black_and_its_surroundings_are_not() {
        let inside = pixels(View { width: 1, height: 1, centre: [-0.1, 0.0], scale: 0.01, ..view() });
        assert_eq!(inside, [0, 0, 0]);
        let outside = pixels(View { width: 1, height: 1, centre: [0.4, 0.4], scale: 0.001, ..view() });
        assert_ne!(outside, [0, 0, 0]);
    }

    #[test]
    fn the_picture_is_a_png_of_the_size_that_was_asked_for() {
        let mut task = Mandelbrot::start(view()).unwrap();
        while task.step().unwrap() == Step::More {}
        let bytes = task.png().unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (24, 16));
    }

    #[test]
    fn a_view_out_of_bounds_is_refused_with_its_value() {
        let refused = |view| Mandelbrot::start(view).map(|_| ()).unwrap_err().to_string();
        assert_eq!(refused(View { width: 0, ..view() }), "width is 0, allowed 1 to 8192");
        assert_eq!(refused(View { scale: f64::NAN, ..view() }), "scale is NaN, allowed above 0, at most 16");
        assert_eq!(refused(View { iterations: u32::MAX, ..view() }), "iterations is 4294967295, allowed 1 to 1000000");
    }
}
