//! The guest's tensors: the functions of `samebit_tensor`, the same for every engine and every backend
//! (`spec/09-tensor.md`, section 9.7).
//!
//! A call is checked, charged and held against the memory limit before it acts. What a backend computes with is its own
//! affair; which handles exist, what they cost and what the state root says of them is decided here.
//!
//! Invariants:
//! - R4: linear memory, live tensors and what a graph under way makes are together never more than the limit.
//! - R5: no handle is given out twice.

mod saved;

pub(crate) use saved::{PIECE_BYTES, piece_hash};

use crate::guest::Halt;
use samebit_spec::{
    param,
    state::{TensorMark, TensorSource},
    tensor::{
        Dtype, GRAPH_BYTES_MAX, GRAPH_VALUES_MAX, Graph, RANK_MAX, Shape, TensorError, TensorType,
        host::{self, Answer, Call, TENSORS_MAX},
    },
    wire,
};
use samebit_tensor::{Backend, Failure, Fault, Tensor};
use samebit_wasi::{Content, FileBytes, GuestMemory, PIECE, SliceMemory, Wasi};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of weights that are kept from run to run, at most, what each entry takes included.
const WEIGHTS_MAX: u64 = 1 << 30;
/// Fewest bytes of a tensor that is kept: what is smaller is loaded again at once, and a guest can name very many such.
const WEIGHTS_MIN: u64 = PIECE;
/// Counted for each beside its bytes.
const WEIGHTS_ENTRY: u64 = 256;

/// What runs share that compute tensors. No outcome depends on it.
#[derive(Clone)]
pub(crate) struct Computing {
    pub(crate) backend: Arc<dyn Backend>,
    weights: Arc<Mutex<Weights>>,
}

/// Parts of mounted files that a run has loaded, for the next run that names them: a job's units have one model.
#[derive(Default)]
struct Weights {
    tensors: BTreeMap<(TensorSource, TensorType), Tensor>,
    bytes: u64,
}

impl Computing {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend, weights: Arc::default() }
    }

    fn weights(&self) -> MutexGuard<'_, Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, source: TensorSource, of: &TensorType) -> Option<Tensor> {
        self.weights().tensors.get(&(source, of.clone())).cloned()
    }

    /// Keeps what was loaded. When it is too much, all of it goes: what runs now has its own hold.
    fn keep(&self, source: TensorSource, tensor: &Tensor) {
        let bytes = tensor.of().bytes();
        let counted = bytes.saturating_add(WEIGHTS_ENTRY);
        if bytes < WEIGHTS_MIN || counted > WEIGHTS_MAX {
            return;
        }
        let key = (source, tensor.of().clone());
        let mut weights = self.weights();
        // The same bytes: another run was faster.
        if weights.tensors.contains_key(&key) {
            return;
        }
        if weights.bytes.saturating_add(counted) > WEIGHTS_MAX {
            *weights = Weights::default();
        }
        weights.tensors.insert(key, tensor.clone());
        weights.bytes += counted;
    }
}

/// All of a run's tensors.
pub(crate) struct Tensors {
    computing: Computing,
    offered: bool,
    live: BTreeMap<u32, Live>,
    /// The handle that comes next. One that does not fit 32 bits is never given out.
    next: u64,
    /// Of all live tensors.
    bytes: u64,
    /// Of those that the next root has to hash.
    fresh: u64,
}

struct Live {
    of: TensorType,
    held: Held,
    /// Known from the first root on that met it.
    mark: Option<TensorMark>,
}

/// Where elements are.
enum Held {
    Here(Tensor),
    /// In mounted content, until somebody needs them.
    There(TensorSource),
    /// Loaded from there.
    Loaded(TensorSource, Tensor),
}

impl Live {
    fn source(&self) -> Option<&TensorSource> {
        match &self.held {
            Held::Here(_) => None,
            Held::There(source) | Held::Loaded(source, _) => Some(source),
        }
    }

    /// Bytes that the next root has to hash.
    fn fresh(&self) -> u64 {
        if self.mark.is_none() && self.source().is_none() { self.of.bytes() } else { 0 }
    }

    fn mark(&self, handle: u32) -> TensorMark {
        match &self.held {
            Held::Here(tensor) => TensorMark::of(handle, &self.of, |take| tensor.bytes(0, u64::MAX, take)),
            Held::There(source) | Held::Loaded(source, _) => TensorMark::of_source(handle, &self.of, source),
        }
    }
}

/// What a call may look at beside the tensors.
pub(crate) struct Turn<'a, 'm> {
    pub(crate) memory: SliceMemory<'m>,
    /// The execution's limit.
    pub(crate) memory_max: u64,
    pub(crate) wasi: &'a Wasi,
    pub(crate) content: &'a dyn Content,
    /// Takes fuel, or says that there is not enough.
    pub(crate) charge: &'a mut dyn FnMut(u64) -> Result<(), Halt>,
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

/// How a call ends that does not do what was asked.
enum No {
    Answer(Answer),
    Halt(Halt),
}

impl From<Answer> for No {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

impl From<Halt> for No {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl From<samebit_wasi::BadPointer> for No {
    fn from(_: samebit_wasi::BadPointer) -> Self {
        Answer::POINTER.into()
    }
}

impl From<TensorError> for No {
    fn from(error: TensorError) -> Self {
        Answer(error.code()).into()
    }
}

impl Tensors {
    pub(crate) fn new(computing: Computing, offered: bool) -> Self {
        Self { computing, offered, live: BTreeMap::new(), next: host::HANDLE_FIRST.into(), bytes: 0, fresh: 0 }
    }

    /// Bytes of all live tensors.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fuel of [`Self::marks`].
    pub(crate) fn root_fuel(&self) -> u64 {
        let listed = (self.live.len() as u64).saturating_mul(host::ROOT_TENSOR);
        listed.saturating_add(self.fresh.saturating_mul(host::ROOT_BYTE))
    }

    /// What the state root says of them. Hashes those that no root has met before.
    pub(crate) fn marks(&mut self) -> Vec<TensorMark> {
        let next = self.next_handle();
        if next == host::HANDLE_FIRST {
            return Vec::new();
        }
        self.fresh = 0;
        let live = self.live.iter_mut().map(|(handle, live)| match live.mark {
            Some(mark) => mark,
            None => *live.mark.insert(live.mark(*handle)),
        });
        std::iter::once(TensorMark::next(next)).chain(live).collect()
    }

    /// The handle that comes next; 0 when none is left.
    fn next_handle(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(0)
    }

    /// Carries out a call.
    pub(crate) fn call(&mut self, call: Call, args: &[u64], turn: &mut Turn<'_, '_>) -> Result<Answer, Halt> {
        match self.dispatch(call, args, turn) {
            Ok(()) => Ok(Answer::DONE),
            Err(No::Answer(answer)) => Ok(answer),
            Err(No::Halt(halt)) => Err(halt),
        }
    }

    fn dispatch(&mut self, call: Call, args: &[u64], turn: &mut Turn<'_, '_>) -> Result<(), No> {
        let args = Args(args);
        // The price may depend on the type, which is read and judged before it is paid for: eight dimensions.
        let of = match call {
            Call::Create => tensor_type(args.int(0), args.int(1), args.int(2), &turn.memory),
            Call::FromFile => tensor_type(args.int(2), args.int(3), args.int(4), &turn.memory),
            Call::Submit | Call::Describe | Call::Read | Call::Drop => Err(Answer::DTYPE.into()),
        };
        (turn.charge)(host::cost(call, args.0, if self.offered { of.as_ref().ok() } else { None }))?;
        if !self.offered {
            return Err(Answer::NOT_OFFERED.into());
        }
        match call {
            Call::Create => self.create(args, of, turn),
            Call::FromFile => self.create_of_file(args, of, turn),
            Call::Submit => self.submit(args, turn),
            Call::Describe => self.describe(args, turn),
            Call::Read => self.read(args, turn),
            Call::Drop => self.end(args.int(0)),
        }
    }

    /// `(dtype, dims, rank, bytes, len, handle)`.
    fn create(&mut self, args: Args<'_>, of: Result<TensorType, No>, turn: &mut Turn<'_, '_>) -> Result<(), No> {
        let (at, len, handle) = (args.int(3), args.int(4), args.int(5));
        pointers(args.int(1), args.int(2), &[(at, len.into()), (handle, 4)], &turn.memory)?;
        let of = of?;
        if u64::from(len) != of.bytes() {
            return Err(Answer::LENGTH.into());
        }
        self.room(1)?;
        self.afford(of.bytes(), turn)?;
        // In place: beside the tensor no second copy is made.
        let bytes =
            turn.memory.0.get(at as usize..).and_then(|rest| rest.get(..len as usize)).ok_or(Answer::POINTER)?;
        let tensor = Tensor::from_bytes(of.clone(), bytes).map_err(|_| Answer::LENGTH)?;
        let given = self.insert(of, Held::Here(tensor));
        Ok(turn.memory.write(handle, &given.to_le_bytes())?)
    }

    /// `(fd, offset, dtype, dims, rank, handle)`.
    fn create_of_file(
        &mut self,
        args: Args<'_>,
        of: Result<TensorType, No>,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(), No> {
        let (fd, offset, handle) = (args.int(0), args.long(1), args.int(5));
        pointers(args.int(3), args.int(4), &[(handle, 4)], &turn.memory)?;
        let of = of?;
        let file = turn.wasi.file_bytes(fd).map_err(|_| Answer::FILE)?;
        if offset.checked_add(of.bytes()).is_none_or(|end| end > file.len()) {
            return Err(Answer::LENGTH.into());
        }
        self.room(1)?;
        self.afford(of.bytes(), turn)?;
        let held = match file {
            FileBytes::Mounted(blob) => Held::There(TensorSource { blob, offset }),
            FileBytes::Own(_) => {
                let mut bytes = vec![0; usize::try_from(of.bytes()).map_err(|_| Answer::MEMORY)?];
                turn.wasi.own_bytes(fd, offset, &mut bytes).map_err(|_| Answer::FILE)?;
                Held::Here(Tensor::from_bytes(of.clone(), &bytes).map_err(|_| Answer::LENGTH)?)
            }
        };
        let given = self.insert(of, held);
        Ok(turn.memory.write(handle, &given.to_le_bytes())?)
    }

    /// `(graph, len, outside, count, results, room)`.
    fn submit(&mut self, args: Args<'_>, turn: &mut Turn<'_, '_>) -> Result<(), No> {
        let (at, len, from, count) = (args.int(0), args.int(1), args.int(2), args.int(3));
        let (into, room) = (args.int(4), args.int(5));
        if len as usize > GRAPH_BYTES_MAX || count.max(room) as usize > GRAPH_VALUES_MAX {
            return Err(Answer::TOO_LARGE.into());
        }
        turn.memory.check(at, len.into())?;
        let handles = numbers(from, count, &turn.memory)?;
        turn.memory.check(into, u64::from(room) * 4)?;
        let mut types = Vec::with_capacity(handles.len());
        for handle in &handles {
            types.push(self.live.get(handle).ok_or(Answer::HANDLE)?.of.clone());
        }
        let mut bytes = vec![0; len as usize];
        turn.memory.read(at, &mut bytes)?;
        let graph: Graph = wire::decode(&bytes).map_err(|_| Answer::ENCODING)?;
        let left = self.left(turn);
        let plan = graph.plan(&types, left).map_err(|error| Answer(error.code()))?;
        if graph.outputs.len() != room as usize {
            return Err(Answer::LENGTH.into());
        }
        self.room(graph.outputs.len())?;
        let results: Vec<TensorType> = graph.outputs.iter().map(|value| plan.types[*value as usize].clone()).collect();
        self.afford(results.iter().fold(0, |sum: u64, of| sum.saturating_add(of.bytes())), turn)?;
        (turn.charge)(plan.fuel)?;
        let mut outside = Vec::with_capacity(handles.len());
        for handle in &handles {
            outside.push(self.value(*handle, turn)?);
        }
        let done = self.computing.backend.run(&graph, &plan, &outside, turn.stop).map_err(|failure| match failure {
            Failure::Refused(error) => No::Answer(Answer(error.code())),
            Failure::Fault(Fault::Stopped) => Halt::Cancelled.into(),
            Failure::Fault(fault @ Fault::Device { .. }) => Halt::Device(fault.to_string()).into(),
        })?;
        let mut at = into;
        for (tensor, of) in done.into_iter().zip(results) {
            let handle = self.insert(of, Held::Here(tensor));
            turn.memory.write(at, &handle.to_le_bytes())?;
            at = at.saturating_add(4);
        }
        Ok(())
    }

    /// `(handle, into)`.
    fn describe(&self, args: Args<'_>, turn: &mut Turn<'_, '_>) -> Result<(), No> {
        turn.memory.check(args.int(1), host::DESCRIPTION_BYTES.into())?;
        let of = &self.live.get(&args.int(0)).ok_or(Answer::HANDLE)?.of;
        let dims = of.shape.dims();
        let mut record = vec![of.dtype as u32, u32::try_from(dims.len()).unwrap_or(u32::MAX)];
        record.extend(dims);
        record.resize(2 + RANK_MAX, 0);
        let bytes: Vec<u8> = record.iter().flat_map(|number| number.to_le_bytes()).collect();
        Ok(turn.memory.write(args.int(1), &bytes)?)
    }

    /// `(handle, offset, into, len)`.
    fn read(&mut self, args: Args<'_>, turn: &mut Turn<'_, '_>) -> Result<(), No> {
        let (handle, offset, into, len) = (args.int(0), args.long(1), args.int(2), args.int(3));
        turn.memory.check(into, len.into())?;
        let of = &self.live.get(&handle).ok_or(Answer::HANDLE)?.of;
        if offset.checked_add(len.into()).is_none_or(|end| end > of.bytes()) {
            return Err(Answer::LENGTH.into());
        }
        let tensor = self.value(handle, turn)?;
        let mut at = into;
        let mut whole = Ok(());
        tensor.bytes(offset, len.into(), &mut |piece| {
            if whole.is_ok() {
                whole = turn.memory.write(at, piece);
            }
            at = at.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        });
        Ok(whole?)
    }

    fn end(&mut self, handle: u32) -> Result<(), No> {
        let live = self.live.remove(&handle).ok_or(Answer::HANDLE)?;
        self.bytes -= live.of.bytes();
        self.fresh -= live.fresh();
        Ok(())
    }

    /// The elements of a live tensor, loaded if they are not here.
    fn value(&mut self, handle: u32, turn: &Turn<'_, '_>) -> Result<Tensor, No> {
        let live = self.live.get_mut(&handle).ok_or(Answer::HANDLE)?;
        match &live.held {
            Held::Here(tensor) | Held::Loaded(_, tensor) => Ok(tensor.clone()),
            Held::There(source) => {
                let source = *source;
                if let Some(tensor) = self.computing.kept(source, &live.of) {
                    live.held = Held::Loaded(source, tensor.clone());
                    return Ok(tensor);
                }
                let bytes = turn.wasi.blob_bytes(&source.blob, source.offset, live.of.bytes(), turn.content);
                let tensor = Tensor::from_bytes(live.of.clone(), &bytes.map_err(Halt::Content)?)
                    .map_err(|error| Halt::Content(format!("{}: {error}", source.blob.id)))?;
                self.computing.keep(source, &tensor);
                live.held = Held::Loaded(source, tensor.clone());
                Ok(tensor)
            }
        }
    }

    /// Whether `more` tensors may be live.
    fn room(&self, more: usize) -> Result<(), No> {
        let last = self.next.saturating_add(more as u64);
        if self.live.len() + more > TENSORS_MAX || last > u64::from(u32::MAX) {
            return Err(Answer::HANDLES.into());
        }
        Ok(())
    }

    /// Bytes that the limit leaves beside linear memory and live tensors.
    fn left(&self, turn: &Turn<'_, '_>) -> u64 {
        turn.memory_max.saturating_sub(turn.memory.len() as u64).saturating_sub(self.bytes)
    }

    fn afford(&self, bytes: u64, turn: &Turn<'_, '_>) -> Result<(), No> {
        if bytes > self.left(turn) { Err(Answer::MEMORY.into()) } else { Ok(()) }
    }

    /// Only after [`Self::room`].
    fn insert(&mut self, of: TensorType, held: Held) -> u32 {
        let handle = self.next_handle();
        self.next += 1;
        let live = Live { of, held, mark: None };
        self.bytes += live.of.bytes();
        self.fresh += live.fresh();
        self.live.insert(handle, live);
        handle
    }
}

/// A call's core arguments; one that is missing reads as 0.
#[derive(Clone, Copy)]
struct Args<'a>(&'a [u64]);

impl Args<'_> {
    fn int(self, index: usize) -> u32 {
        u32::try_from(self.long(index) & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }

    fn long(self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

/// Numbers of 32 bits in memory.
fn numbers(at: u32, count: u32, memory: &SliceMemory<'_>) -> Result<Vec<u32>, No> {
    memory.check(at, u64::from(count) * 4)?;
    let mut bytes = vec![0; count as usize * 4];
    memory.read(at, &mut bytes)?;
    Ok(bytes.as_chunks().0.iter().copied().map(u32::from_le_bytes).collect())
}

/// Checks a rank, then pointers in order.
fn pointers(dims: u32, rank: u32, others: &[(u32, u64)], memory: &SliceMemory<'_>) -> Result<(), No> {
    if rank as usize > RANK_MAX {
        return Err(Answer::RANK.into());
    }
    memory.check(dims, u64::from(rank) * 4)?;
    others.iter().try_for_each(|(at, len)| memory.check(*at, *len))?;
    Ok(())
}

/// The type that a call names. Rank and pointer are checked again by the call itself, in its order.
fn tensor_type(dtype: u32, dims: u32, rank: u32, memory: &SliceMemory<'_>) -> Result<TensorType, No> {
    if rank as usize > RANK_MAX {
        return Err(Answer::RANK.into());
    }
    let dims = numbers(dims, rank, memory)?;
    let dtype = Dtype::from_code(dtype.cast_signed()).ok_or(Answer::DTYPE)?;
    Ok(TensorType { dtype, shape: Shape::new(&dims)? })
}

// What a call pays for a piece is what loading it is worth.
const _: () = assert!(host::FILE_PIECE == samebit_wasi::cost::LOAD && host::FILE_PIECE_BYTES == PIECE);

// The linear memory and the tensors of a job are counted in one number.
const _: () = assert!(param::MEMORY_MAX.0 < 1 << 32);

#[cfg(test)]
mod tests {
    use super::*;
    use samebit_spec::content::BlobRef;
    use samebit_tensor::Cpu;

    fn bytes_of(len: u32) -> Tensor {
        let of = TensorType { dtype: Dtype::U8, shape: Shape::new(&[len]).unwrap() };
        Tensor::from_bytes(of, &vec![7; len as usize]).unwrap()
    }

    #[test]
    fn what_is_kept_for_the_next_run_is_bounded_whatever_sizes_a_guest_asks_for() {
        let computing = Computing::new(Arc::new(Cpu));
        let source = |offset| TensorSource { blob: BlobRef::of(b"a file"), offset };
        for tensor in [bytes_of(0), bytes_of(1), bytes_of(65_535)] {
            for offset in 0..1_000 {
                computing.keep(source(offset), &tensor);
            }
            assert_eq!(computing.weights().tensors.len(), 0, "{:?}", tensor.of());
        }
        // One allocation, named by many places.
        let tensor = bytes_of(65_536);
        for offset in 0..40_000 {
            computing.keep(source(offset), &tensor);
            computing.keep(source(offset), &tensor);
        }
        let weights = computing.weights();
        let counted = weights.tensors.len() as u64 * (65_536 + 256);
        assert!(counted <= WEIGHTS_MAX && weights.bytes == counted, "{counted}, {}", weights.bytes);
        assert!(weights.tensors.contains_key(&(source(39_999), tensor.of().clone())));
    }
}
