//! Tensors that may not be computed yet, and how they come to be.

use super::{
    Element, Error, Result,
    element::{from_bytes, to_bytes},
    error, host,
};
use samebit_spec::tensor::{Dtype, Graph, Node, Op, TensorType, host::Answer, infer};
use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    fs::File,
    path::Path,
    rc::{Rc, Weak},
};

/// Nodes that are submitted together, at most. Source: what one graph may hold, with room for wide ones.
const NODES_TOGETHER: usize = 1024;
/// Operands of those nodes, at most.
const OPERANDS_TOGETHER: usize = 4000;

/// An immutable tensor: a shape, and elements that are computed when they are asked for. A clone is the same tensor.
#[derive(Clone)]
pub struct Tensor(Rc<Value>);

struct Value {
    of: TensorType,
    state: RefCell<State>,
}

enum State {
    /// The host has it under this handle.
    Here(u32),
    /// A result of a node that was not computed.
    Pending(Rc<Pending>),
    /// Between two of the others.
    Moving,
}

/// A node that was not computed.
struct Pending {
    op: Op,
    inputs: Vec<Tensor>,
    /// Its results, as far as anybody has them.
    results: RefCell<Vec<Weak<Value>>>,
}

impl Drop for Value {
    /// Without recursion, as a chain of operations may be long.
    fn drop(&mut self) {
        let mut states = vec![self.state.replace(State::Moving)];
        while let Some(state) = states.pop() {
            match state {
                State::Here(handle) => host::drop(handle),
                State::Pending(node) => {
                    if let Ok(node) = Rc::try_unwrap(node) {
                        let values = node.inputs.into_iter().filter_map(|input| Rc::into_inner(input.0));
                        states.extend(values.map(|value| value.state.replace(State::Moving)));
                    }
                }
                State::Moving => {}
            }
        }
    }
}

/// As `f32[2, 3]`.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.of)
    }
}

/// Dimensions as the specification counts them.
pub(crate) fn dims(dims: &[usize]) -> Vec<u32> {
    // What does not fit is beyond every limit, and refused as such.
    dims.iter().map(|dim| u32::try_from(*dim).unwrap_or(u32::MAX)).collect()
}

impl Tensor {
    pub(crate) fn here(of: TensorType, handle: u32) -> Self {
        Self(Rc::new(Value { of, state: RefCell::new(State::Here(handle)) }))
    }

    pub(crate) fn from_le_bytes(of: TensorType, bytes: &[u8]) -> Result<Self> {
        let handle = host::create(&of, bytes).map_err(|answer| Error::Host { what: "create", answer })?;
        Ok(Self::here(of, handle))
    }

    /// A tensor of these elements in row-major order.
    ///
    /// # Errors
    /// When they are not as many as the product of `dims`, or more than one tensor may have.
    ///
    /// ```
    /// # use samebit_sdk::tensor::Tensor;
    /// let x = Tensor::new(&[1_i32, 2, 3, 4, 5, 6], &[2, 3])?;
    /// assert_eq!(x.dims(), [2, 3]);
    /// # Ok::<(), samebit_sdk::tensor::Error>(())
    /// ```
    pub fn new<T: Element>(data: &[T], shape: &[usize]) -> Result<Self> {
        let of = TensorType::new(T::DTYPE, &dims(shape)).map_err(error::shape("new"))?;
        if of.shape.elements() != data.len() as u64 {
            return Err(Error::Elements { of, found: format!("{} of {}", data.len(), T::DTYPE) });
        }
        Self::from_le_bytes(of, &to_bytes(data))
    }

    /// One number: it stretches to any shape.
    ///
    /// # Errors
    /// When the host takes no more.
    pub fn scalar<T: Element>(value: T) -> Result<Self> {
        Self::new(&[value], &[])
    }

    /// A tensor of `f32` zeros.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn zeros(shape: &[usize]) -> Result<Self> {
        Self::full(0.0_f32, shape)
    }

    /// A tensor of one element again and again.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn full<T: Element>(value: T, shape: &[usize]) -> Result<Self> {
        let of = TensorType::new(T::DTYPE, &dims(shape)).map_err(error::shape("full"))?;
        let len = usize::try_from(of.shape.elements()).unwrap_or(usize::MAX);
        Self::new(&vec![value; len], shape)
    }

    /// A tensor of a file's bytes from `offset` on, little-endian. They never pass through the task's memory: weights of
    /// any size cost the task a handle, and a mounted file is part of the state by its name alone.
    ///
    /// It costs 8 fuel for each byte, and at least 400 000 for each piece of 65 536 bytes of the file that they lie in, as a
    /// host may have to fetch and check whole pieces: take few large tensors rather than many small ones of one piece.
    ///
    /// # Errors
    /// When the file cannot be opened, or is too short.
    pub fn from_file(path: impl AsRef<Path>, offset: u64, dtype: Dtype, shape: &[usize]) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::File { path: path.to_path_buf(), source })?;
        let of = TensorType::new(dtype, &dims(shape)).map_err(error::shape("from_file"))?;
        Self::of_file(&file, path, offset, of)
    }

    pub(crate) fn of_file(file: &File, path: &Path, offset: u64, of: TensorType) -> Result<Self> {
        let handle = host::from_file(file, offset, &of).map_err(|answer| match answer {
            Answer::LENGTH => Error::Malformed {
                path: path.to_path_buf(),
                reason: format!("it ends before the {} bytes of {of} at {offset}", of.bytes()),
            },
            answer => Error::Host { what: "from_file", answer },
        })?;
        Ok(Self::here(of, handle))
    }

    /// The results of an operation, not computed yet.
    pub(crate) fn apply(name: &'static str, op: Op, inputs: &[&Self]) -> Result<Vec<Self>> {
        let operands: Vec<&TensorType> = inputs.iter().map(|input| &input.0.of).collect();
        let types = infer(&op, &operands).map_err(|source| Error::Operands {
            op: name,
            operands: operands.into_iter().cloned().collect(),
            source,
        })?;
        let inputs = inputs.iter().map(|input| (*input).clone()).collect();
        let node = Rc::new(Pending { op, inputs, results: RefCell::default() });
        let results: Vec<Self> = types
            .into_iter()
            .map(|of| Self(Rc::new(Value { of, state: RefCell::new(State::Pending(Rc::clone(&node))) })))
            .collect();
        *node.results.borrow_mut() = results.iter().map(|result| Rc::downgrade(&result.0)).collect();
        Ok(results)
    }

    /// Of an operation with one result.
    pub(crate) fn apply_one(name: &'static str, op: Op, inputs: &[&Self]) -> Result<Self> {
        let mut results = Self::apply(name, op, inputs)?;
        Ok(results.swap_remove(0))
    }

    /// Element type and dimensions.
    pub(crate) fn of(&self) -> &TensorType {
        &self.0.of
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.0.of.dtype
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn dims(&self) -> Vec<usize> {
        self.0.of.shape.dims().iter().map(|dim| *dim as usize).collect()
    }

    /// How many dimensions there are.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.of.shape.rank()
    }

    /// How many elements there are.
    #[must_use]
    pub fn elements(&self) -> usize {
        usize::try_from(self.0.of.shape.elements()).unwrap_or(usize::MAX)
    }

    /// Has the host compute it now, with everything that it needs.
    ///
    /// # Errors
    /// When the host refuses: an index outside its axis, or more memory than the job has.
    pub fn eval(&self) -> Result<&Self> {
        eval(&[self])?;
        Ok(self)
    }

    fn handle(&self) -> Result<u32> {
        self.eval()?;
        match *self.0.state.borrow() {
            State::Here(handle) => Ok(handle),
            State::Pending(_) | State::Moving => Err(Error::Host { what: "eval", answer: Answer::HANDLE }),
        }
    }

    /// All elements, in row-major order.
    ///
    /// # Errors
    /// As [`Self::eval`], and when they are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.read(0, self.elements())
    }

    /// The one element of a tensor that has one.
    ///
    /// # Errors
    /// As [`Self::to_vec`], and when it has another number of them.
    pub fn item<T: Element>(&self) -> Result<T> {
        match self.to_vec::<T>()?.as_slice() {
            [one] => Ok(*one),
            _ => Err(Error::Elements { of: self.of().clone(), found: "one".to_string() }),
        }
    }

    /// `len` elements from number `first` on, in row-major order.
    ///
    /// # Errors
    /// As [`Self::to_vec`], and when there are fewer.
    pub fn read<T: Element>(&self, first: usize, len: usize) -> Result<Vec<T>> {
        let refused =
            || Error::Elements { of: self.of().clone(), found: format!("{len} of {} from {first} on", T::DTYPE) };
        if T::DTYPE != self.dtype() || first.checked_add(len).is_none_or(|end| end > self.elements()) {
            return Err(refused());
        }
        let mut bytes = vec![0; len.checked_mul(T::SIZE).ok_or_else(refused)?];
        let handle = self.handle()?;
        host::read(handle, (first * T::SIZE) as u64, &mut bytes)
            .map_err(|answer| Error::Host { what: "read", answer })?;
        Ok(from_bytes(&bytes))
    }
}

/// Has the host compute all of these, in as few calls as there can be.
///
/// # Errors
/// As [`Tensor::eval`].
pub fn eval(tensors: &[&Tensor]) -> Result<()> {
    let nodes = order(tensors);
    let mut from = 0;
    while from < nodes.len() {
        let (mut to, mut operands) = (from, 0);
        while to < nodes.len() && to - from < NODES_TOGETHER {
            operands += nodes[to].inputs.len();
            if operands > OPERANDS_TOGETHER && to > from {
                break;
            }
            to += 1;
        }
        submit(&nodes[from..to])?;
        from = to;
    }
    Ok(())
}

/// What was not computed and these need, each node after those that it needs.
fn order(tensors: &[&Tensor]) -> Vec<Rc<Pending>> {
    let pending = |tensor: &Tensor| match &*tensor.0.state.borrow() {
        State::Pending(node) => Some(Rc::clone(node)),
        State::Here(_) | State::Moving => None,
    };
    let mut order = Vec::new();
    let mut seen: HashMap<*const Pending, ()> = HashMap::new();
    // A node and how many of its operands were looked at.
    let mut path: Vec<(Rc<Pending>, usize)> = Vec::new();
    for tensor in tensors {
        let first = pending(tensor).filter(|node| seen.insert(Rc::as_ptr(node), ()).is_none());
        path.extend(first.map(|node| (node, 0)));
        while let Some((node, looked)) = path.last_mut() {
            match node.inputs.get(*looked) {
                Some(input) => {
                    *looked += 1;
                    let next = pending(input).filter(|node| seen.insert(Rc::as_ptr(node), ()).is_none());
                    path.extend(next.map(|node| (node, 0)));
                }
                None => order.extend(path.pop().map(|(node, _)| node)),
            }
        }
    }
    order
}

/// Has nodes computed whose operands are among them or computed already. Every result that is in use elsewhere stays.
fn submit(nodes: &[Rc<Pending>]) -> Result<()> {
    let mut outside = Vec::new();
    let mut ids: HashMap<*const Value, u32> = HashMap::new();
    // How often each value is named by these nodes.
    let mut named: HashMap<*const Value, usize> = HashMap::new();
    let number = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    for input in nodes.iter().flat_map(|node| &node.inputs) {
        let value = Rc::as_ptr(&input.0);
        *named.entry(value).or_default() += 1;
        if let State::Here(handle) = *input.0.state.borrow() {
            ids.entry(value).or_insert_with(|| {
                outside.push(handle);
                number(outside.len() - 1)
            });
        }
    }
    let mut graph = Graph::default();
    let mut made: Vec<Rc<Value>> = Vec::new();
    let mut next = number(outside.len());
    for node in nodes {
        let inputs = node.inputs.iter().map(|input| ids[&Rc::as_ptr(&input.0)]).collect();
        graph.nodes.push(Node { op: node.op.clone(), inputs });
        for result in node.results.borrow().iter() {
            if let Some(value) = result.upgrade() {
                let here = Rc::as_ptr(&value);
                ids.insert(here, next);
                // One owner is this loop.
                if Rc::strong_count(&value) - 1 > named.get(&here).copied().unwrap_or(0) {
                    graph.outputs.push(next);
                    made.push(value);
                }
            }
            next += 1;
        }
    }
    let handles = match host::submit(&graph.to_bytes(), &outside, made.len()) {
        Ok(handles) => handles,
        // What is made on the way may fit when less of it is made at once.
        Err(Answer::MEMORY) if nodes.len() > 1 => {
            drop(made);
            let (first, second) = nodes.split_at(nodes.len() / 2);
            submit(first)?;
            return submit(second);
        }
        Err(answer) => return Err(Error::Host { what: "eval", answer }),
    };
    let mut gone = Vec::new();
    for (value, handle) in made.into_iter().zip(handles) {
        gone.push(value.state.replace(State::Here(handle)));
    }
    drop(gone);
    Ok(())
}
