//! Tensors as a task's own tests see them: shapes are checked when they are joined, values come when they are read.
#![cfg(feature = "tensor")]

use samebit_sdk::tensor::{Dtype, Safetensors, Tensor, eval, quantise};
use std::io::Write;

fn ramp(dims: &[usize]) -> Tensor {
    let len: usize = dims.iter().product();
    let data: Vec<f32> = (0_u16..).take(len).map(f32::from).collect();
    Tensor::new(&data, dims).expect("as many as there are")
}

#[test]
fn operations_read_like_the_formula_and_give_values_when_they_are_read() {
    let x = ramp(&[2, 3]);
    let w = Tensor::new(&[1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0], &[3, 2]).unwrap();
    let y = x.matmul(&w).unwrap().add(10.0).unwrap().relu().unwrap();
    assert_eq!(y.dims(), [2, 2]);
    assert_eq!(y.to_vec::<f32>().unwrap(), [12.0, 13.0, 18.0, 19.0]);
    assert_eq!(y.sum(&[]).unwrap().item::<f32>().unwrap(), 62.0);
    assert_eq!(y.max(&[-1]).unwrap().to_vec::<f32>().unwrap(), [13.0, 19.0]);
    assert_eq!(y.read::<f32>(1, 2).unwrap(), [13.0, 18.0]);
    let (best, at) = y.topk(1, 0).unwrap();
    assert_eq!((best.to_vec::<f32>().unwrap(), at.to_vec::<i32>().unwrap()), (vec![18.0, 19.0], vec![1, 1]));
    let linear = ramp(&[2, 2, 3]).linear(&w.transpose(0, 1).unwrap(), None).unwrap();
    assert_eq!(linear.dims(), [2, 2, 2]);
    assert_eq!(linear.to_vec::<f32>().unwrap()[..4], [2.0, 3.0, 8.0, 9.0]);
    assert_eq!(x.slice(1, 1..3).unwrap().to_vec::<f32>().unwrap(), [1.0, 2.0, 4.0, 5.0]);
}

#[test]
fn operands_that_do_not_go_together_are_told_with_their_shapes_before_anything_is_computed() {
    let told = |result: samebit_sdk::tensor::Result<Tensor>| result.expect_err("refused").to_string();
    let (x, y) = (ramp(&[2, 3]), ramp(&[4, 5]));
    assert_eq!(told(x.matmul(&y)), "matmul: f32[2, 3] and f32[4, 5]: inner dimensions 3 and 4");
    assert_eq!(told(x.add(&y)), "add: f32[2, 3] and f32[4, 5]: lengths are equal or 1");
    assert_eq!(told(x.softmax(2)), "softmax: f32[2, 3] has no axis 2");
    assert_eq!(told(x.sum(&[-3])), "sum: f32[2, 3] has no axis -3");
    assert_eq!(told(x.add(1_i32)), "add: f32[2, 3] and i32[]: operand 1 is i32, not the type of the other operand");
    assert_eq!(told(Tensor::new(&[1.0_f32], &[2, 3])), "f32[2, 3] has 6 elements of f32, not 1 of f32");
    assert_eq!(
        told(Tensor::new::<f32>(&[], &[1 << 20, 1 << 20])),
        "new: nothing: [1048576, 1048576] has more than 2147483647 elements"
    );
    assert!(x.to_vec::<i32>().is_err());
    assert!(x.read::<f32>(5, 2).is_err());
    let far = Tensor::new(&[7_i32], &[1]).unwrap();
    assert_eq!(told(x.gather(0, &far).unwrap().eval().cloned()), "eval: an index is outside its axis (answer 6)");
}

#[test]
fn a_long_chain_is_computed_in_parts_and_dropped_without_recursion() {
    let mut x = Tensor::scalar(0_i32).unwrap();
    for _ in 0..20_000 {
        x = x.add(1_i32).unwrap();
    }
    assert_eq!(x.item::<i32>().unwrap(), 20_000);
    let mut never = Tensor::scalar(0_i32).unwrap();
    for _ in 0..200_000 {
        never = never.neg().unwrap();
    }
    drop(never);
}

#[test]
fn what_is_held_keeps_its_value_and_shared_parts_are_computed_once() {
    let x = ramp(&[4]);
    let shared = x.exp().unwrap();
    let mut sum = shared.clone();
    // Without sharing, 2^40 additions.
    for _ in 0..40 {
        sum = sum.add(&sum).unwrap();
    }
    let other = shared.mul(2.0).unwrap();
    eval(&[&sum, &other]).unwrap();
    assert_eq!(other.to_vec::<f32>().unwrap()[0], 2.0);
    assert_eq!(sum.to_vec::<f32>().unwrap()[0], 2.0_f32.powi(40));
    assert_eq!(shared.to_vec::<f32>().unwrap()[0], 1.0);
}

#[test]
fn eight_bit_products_are_close_and_exact_in_their_sums() {
    let (a, b) = (ramp(&[3, 8]).sub(11.0).unwrap(), ramp(&[8, 5]).sub(20.0).unwrap());
    let (small_a, small_b) = (quantise(&a, None).unwrap(), quantise(&b, Some(1)).unwrap());
    assert_eq!(small_a.values.dtype(), Dtype::I8);
    assert_eq!(small_b.scale.dims(), [5]);
    let (near, exact) = (small_a.matmul(&small_b).unwrap(), a.matmul(&b).unwrap());
    let worst = near.sub(&exact).unwrap().abs().unwrap().max(&[]).unwrap().item::<f32>().unwrap();
    assert!(worst < 8.0, "{worst} of {:?}", exact.to_vec::<f32>().unwrap());
}

fn file(header: &str, data: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(data).unwrap();
    file
}

#[test]
fn weights_are_taken_from_a_file_by_name() {
    let data: Vec<u8> = [1.5_f32, -2.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},
        "ids":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let file = file(header, &data);
    let weights = Safetensors::open(file.path()).unwrap();
    assert_eq!(weights.entries()["ids"].dtype, "I64");
    assert_eq!(weights.tensor("w").unwrap().to_vec::<f32>().unwrap(), [-2.0, 4.0]);
    let told = |name| weights.tensor(name).expect_err("none").to_string();
    assert!(told("ids").ends_with(r#"tensor "ids" is of I64: there are F32, F16, I32, I8 and U8"#), "{}", told("ids"));
    assert!(told("v").ends_with(r#"it has no tensor "v""#), "{}", told("v"));
    let whole = Tensor::from_file(file.path(), 8 + header.len() as u64, Dtype::F32, &[3]).unwrap();
    assert_eq!(whole.to_vec::<f32>().unwrap(), [1.5, -2.0, 4.0]);
    assert!(Tensor::from_file(file.path(), 8 + header.len() as u64, Dtype::F32, &[4]).is_err());
}

#[test]
fn a_header_that_lies_is_refused() {
    for header in [
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F12","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","data_offsets":[0,8]}}"#,
        r#"{"w":7}"#,
        "[1, 2]",
        "not JSON",
    ] {
        let file = file(header, &[0; 12]);
        let error = Safetensors::open(file.path()).expect_err(header).to_string();
        assert!(error.starts_with(&file.path().display().to_string()), "{error}");
    }
    let mut short = tempfile::NamedTempFile::new().unwrap();
    short.write_all(&u64::MAX.to_le_bytes()).unwrap();
    assert!(Safetensors::open(short.path()).is_err());
    short.as_file().set_len(3).unwrap();
    assert!(Safetensors::open(short.path()).is_err());
}
