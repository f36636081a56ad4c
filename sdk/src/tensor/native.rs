//! The host's functions in a test on this machine: the same answers and the same bits, without fuel and limits.

use samebit_spec::tensor::{Graph, TensorType, host::Answer};
use samebit_tensor::{Backend, Cpu, Failure, Tensor};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
};

/// The tensors of this thread.
#[derive(Default)]
struct Live {
    tensors: BTreeMap<u32, Tensor>,
    given: u32,
}

thread_local! {
    static LIVE: RefCell<Live> = RefCell::default();
}

fn insert(tensor: Tensor) -> u32 {
    LIVE.with_borrow_mut(|live| {
        live.given += 1;
        live.tensors.insert(live.given, tensor);
        live.given
    })
}

fn value(handle: u32) -> Result<Tensor, Answer> {
    LIVE.with_borrow(|live| live.tensors.get(&handle).cloned()).ok_or(Answer::HANDLE)
}

pub(crate) fn create(of: &TensorType, bytes: &[u8]) -> Result<u32, Answer> {
    Tensor::from_bytes(of.clone(), bytes).map(insert).map_err(|_| Answer::LENGTH)
}

pub(crate) fn from_file(mut file: &File, offset: u64, of: &TensorType) -> Result<u32, Answer> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).map_err(|_| Answer::FILE)?;
    file.take(of.bytes()).read_to_end(&mut bytes).map_err(|_| Answer::FILE)?;
    create(of, &bytes)
}

pub(crate) fn submit(graph: &[u8], outside: &[u32], room: usize) -> Result<Vec<u32>, Answer> {
    let graph = Graph::from_bytes(graph).map_err(|_| Answer::ENCODING)?;
    let outside = outside.iter().map(|handle| value(*handle)).collect::<Result<Vec<_>, _>>()?;
    let types: Vec<TensorType> = outside.iter().map(|tensor| tensor.of().clone()).collect();
    let plan = graph.plan(&types, u64::MAX).map_err(|error| Answer(error.code()))?;
    if graph.outputs.len() != room {
        return Err(Answer::LENGTH);
    }
    match Cpu.run(&graph, &plan, &outside, &|| false) {
        Ok(results) => Ok(results.into_iter().map(insert).collect()),
        Err(Failure::Refused(error)) => Err(Answer(error.code())),
        Err(Failure::Fault(fault)) => unreachable!("nobody stops a test, and a processor is no device: {fault}"),
    }
}

pub(crate) fn read(handle: u32, offset: u64, into: &mut [u8]) -> Result<(), Answer> {
    let tensor = value(handle)?;
    let len = into.len() as u64;
    if offset.checked_add(len).is_none_or(|end| end > tensor.of().bytes()) {
        return Err(Answer::LENGTH);
    }
    let mut at = 0;
    tensor.bytes(offset, len, &mut |piece| {
        into[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    });
    Ok(())
}

pub(crate) fn drop(handle: u32) {
    // A tensor may be dropped after this thread's own end has begun.
    let _ = LIVE.try_with(|live| live.borrow_mut().tensors.remove(&handle));
}
