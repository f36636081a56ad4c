//! What a Rust program has elements as.

use samebit_spec::tensor::Dtype;

mod sealed {
    pub trait Sealed: Copy {
        const SIZE: usize;
        fn put(self, out: &mut Vec<u8>);
        fn take(bytes: &[u8]) -> Self;
    }
}

pub(crate) use sealed::Sealed;

/// A Rust type that elements are made of and read as: `f32`, `i32`, `i8`, `u8`.
pub trait Element: Sealed {
    /// The element type.
    const DTYPE: Dtype;
}

macro_rules! element {
    ($($ty:ty = $dtype:ident;)*) => {$(
        impl Sealed for $ty {
            const SIZE: usize = size_of::<$ty>();

            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$ty>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }

        impl Element for $ty {
            const DTYPE: Dtype = Dtype::$dtype;
        }
    )*};
}

element! {
    f32 = F32;
    i32 = I32;
    i8 = I8;
    u8 = U8;
}

pub(crate) fn to_bytes<T: Element>(data: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(data));
    data.iter().for_each(|element| element.put(&mut bytes));
    bytes
}

pub(crate) fn from_bytes<T: Element>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(T::SIZE).map(T::take).collect()
}
