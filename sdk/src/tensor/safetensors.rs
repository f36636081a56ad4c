//! Files of named tensors, in the format `safetensors`: eight bytes of length, a JSON header, then the bytes.

use super::{Dtype, Error, Result, Tensor, error};
use samebit_spec::tensor::TensorType;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Longest header that is read. Source: those of the largest models are some megabytes.
const HEADER_MAX: u64 = 16 << 20;

/// What a header says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its element type, by the format's name: `F32`, `I64`.
    pub dtype: String,
    /// Its dimensions.
    pub dims: Vec<usize>,
    /// Where in the file its bytes begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
}

/// A file of named tensors. Only its header is read; a tensor is taken from it by [`Self::tensor`].
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    file: File,
    entries: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Described {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Safetensors {
    /// Reads a file's header.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, [`Error::Malformed`] when its header is none, or describes bytes that
    /// the file does not have.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let failed = |source| Error::File { path: path.clone(), source };
        let malformed = |reason: String| Error::Malformed { path: path.clone(), reason };
        let mut file = File::open(&path).map_err(failed)?;
        let all = file.metadata().map_err(failed)?.len();
        let mut len = [0; 8];
        file.read_exact(&mut len).map_err(failed)?;
        let len = u64::from_le_bytes(len);
        if len > HEADER_MAX || len > all.saturating_sub(8) {
            return Err(malformed(format!("a header of {len} bytes in a file of {all}")));
        }
        let mut header = Vec::new();
        (&mut file).take(len).read_to_end(&mut header).map_err(failed)?;
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&header).map_err(|error| malformed(format!("its header: {error}")))?;
        let mut entries = BTreeMap::new();
        for (name, value) in header {
            if name == "__metadata__" {
                continue;
            }
            let Described { dtype, shape, data_offsets: [from, to] } =
                serde_json::from_value(value).map_err(|error| malformed(format!("tensor {name:?}: {error}")))?;
            let size = match dtype.as_str() {
                "BOOL" | "U8" | "I8" => 1,
                "F16" | "BF16" | "I16" | "U16" => 2,
                "F32" | "I32" | "U32" => 4,
                "F64" | "I64" | "U64" => 8,
                _ => return Err(malformed(format!("tensor {name:?} is of {dtype:?}, which nobody knows"))),
            };
            let wanted = shape.iter().try_fold(size, |product: u64, dim| product.checked_mul(*dim));
            if to < from || wanted != Some(to - from) || to > all - 8 - len {
                return Err(malformed(format!(
                    "tensor {name:?}: {dtype} of {shape:?} in bytes {from} to {to} of {}",
                    all - 8 - len
                )));
            }
            let dims = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX)).collect();
            entries.insert(name, Entry { dtype, dims, offset: 8 + len + from, len: to - from });
        }
        Ok(Self { path, file, entries })
    }

    /// What there is, by name.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The tensor of this name. Its bytes do not pass through the task's memory. What it costs is told at
    /// [`Tensor::from_file`]: a model of many small tensors costs at least 400 000 fuel for each.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is none, or its elements are of a type that tensors do not have.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let malformed = |reason: String| Error::Malformed { path: self.path.clone(), reason };
        let entry = self.entries.get(name).ok_or_else(|| malformed(format!("it has no tensor {name:?}")))?;
        let dtype = match entry.dtype.as_str() {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "I32" => Dtype::I32,
            "I8" => Dtype::I8,
            "U8" | "BOOL" => Dtype::U8,
            other => {
                return Err(malformed(format!("tensor {name:?} is of {other}: there are F32, F16, I32, I8 and U8")));
            }
        };
        let of = TensorType::new(dtype, &super::graph::dims(&entry.dims)).map_err(error::shape("safetensors"))?;
        Tensor::of_file(&self.file, &self.path, entry.offset, of)
    }
}
