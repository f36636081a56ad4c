//! Eight-bit weights and activations: symmetric, one scale for all or one for each index of an axis.

use super::{Result, Tensor};

/// A tensor as `i8` with what each unit is worth.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The numbers, from -127 to 127.
    pub values: Tensor,
    /// What 1 stands for: a scalar, or one for each index of the axis.
    pub scale: Tensor,
    axis: Option<isize>,
}

/// `x` as `i8`: the greatest size of all elements, or of those with one index of `axis`, becomes 127.
///
/// # Errors
/// When `x` is not `f32`, or has no such axis, or has no elements.
///
/// ```
/// # use samebit_sdk::tensor::{Tensor, quantise};
/// let x = Tensor::new(&[0.5_f32, -1.27, 0.0], &[3])?;
/// let small = quantise(&x, None)?;
/// assert_eq!(small.values.to_vec::<i8>()?, [50, -127, 0]);
/// assert_eq!(small.restore()?.to_vec::<f32>()?[1], -1.27);
/// # Ok::<(), samebit_sdk::tensor::Error>(())
/// ```
pub fn quantise(x: &Tensor, axis: Option<isize>) -> Result<Quantised> {
    let size = x.abs()?;
    let greatest = match axis {
        None => size.max(&[])?,
        Some(axis) => {
            let kept = size.axis("quantise", axis)?;
            let others: Vec<isize> = (0_isize..).take(x.rank()).filter(|other| *other != kept as isize).collect();
            if others.is_empty() { size } else { size.max(&others)? }
        }
    };
    // All zeros are zeros at any scale.
    let scale = greatest.div(127.0)?.maximum(f32::MIN_POSITIVE * 8.0)?;
    let zero = Tensor::full(0_i8, &scale.dims())?;
    let values = x.quantize_linear(&scale, &zero, axis.unwrap_or(0))?;
    Ok(Quantised { values, scale, axis })
}

impl Quantised {
    /// The numbers that it stands for.
    ///
    /// # Errors
    /// Never of what [`quantise`] gave.
    pub fn restore(&self) -> Result<Tensor> {
        let zero = Tensor::full(0_i8, &self.scale.dims())?;
        self.values.dequantize_linear(&self.scale, &zero, self.axis.unwrap_or(0))
    }

    /// `self x other`, where `self` has one scale and `other` one, or one for each of its columns: exact sums of
    /// products, then one rounding for each scale.
    ///
    /// # Errors
    /// As [`Tensor::matmul`].
    pub fn matmul(&self, other: &Self) -> Result<Tensor> {
        let sums = self.values.matmul_integer(&other.values, 0, 0)?.cast(super::Dtype::F32)?;
        sums.mul(&self.scale)?.mul(&other.scale)
    }
}
