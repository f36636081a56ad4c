//! Golden results of version 1, in `spec/vectors/tensor/`: small cases in full, one file for each operation, and the
//! digests of all cases.
//!
//! A changed bit fails here. `cargo xtask vectors` writes the files anew, which is for a new version only.

use samebit_tensor::{
    Tensor,
    cases::{Case, cases},
    oracle,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf};

/// Cases with more bytes than this are in the digests alone.
const SMALL_BYTES: u64 = 800;

fn tensor(tensor: &Tensor) -> Value {
    json!({ "type": tensor.of().to_string(), "bytes": hex::encode(tensor.to_bytes()) })
}

fn digest(tensors: &[Tensor]) -> String {
    let mut hasher = blake3::Hasher::new();
    for tensor in tensors {
        hasher.update(tensor.of().to_string().as_bytes()).update(&[0]).update(&tensor.to_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn outputs(case: &Case) -> Vec<Tensor> {
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    oracle::eval(&case.op, &inputs).unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

#[test]
fn every_operation_gives_its_golden_results() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/tensor");
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut digests = Vec::new();
    for case in cases(1) {
        let outputs = outputs(&case);
        let op = hex::encode(borsh::to_vec(&case.op).expect("into memory"));
        let bytes: u64 = case.inputs.iter().chain(&outputs).map(|tensor| tensor.of().bytes()).sum();
        let small = files.entry(case.op.name().to_owned()).or_default();
        if bytes <= SMALL_BYTES {
            small.push(json!({
                "name": case.name,
                "op": op,
                "inputs": case.inputs.iter().map(tensor).collect::<Vec<Value>>(),
                "outputs": outputs.iter().map(tensor).collect::<Vec<Value>>(),
            }));
        }
        digests
            .push(json!({ "name": case.name, "op": op, "inputs": digest(&case.inputs), "outputs": digest(&outputs) }));
    }
    files.insert("digests".to_owned(), digests);
    let write = std::env::var_os("SAMEBIT_WRITE_VECTORS").is_some();
    if write {
        fs::create_dir_all(&folder).expect("the folder of the vectors");
    }
    for (name, cases) in files {
        let path = folder.join(format!("{name}.json"));
        let found = serde_json::to_string_pretty(&cases).expect("as text") + "\n";
        if write {
            fs::write(&path, found).expect("a vector is written");
            continue;
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let golden: Vec<Value> = serde_json::from_str(&golden).expect("a list");
        assert_eq!(golden.len(), cases.len(), "{name}");
        for (golden, case) in golden.iter().zip(&cases) {
            assert_eq!(golden, case, "{name}");
        }
    }
}
