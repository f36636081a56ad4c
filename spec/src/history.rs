//! A run's history as evidence (`spec/03-execution.md`, section 6; `spec/04-verification.md`, section 9).
//!
//! The roots of a run are the leaves of a sparse binary tree of fixed height, so a leaf stands where its step's number
//! says, whatever the length of the run. The history's root commits to the tree and to the number of roots. One leaf is
//! shown by a [`HistoryProof`] of fixed size; two parties who hold nothing but roots find their first difference by a
//! [`Descent`], and who holds both lists finds it by [`first_difference`].

use crate::{
    id::{HistoryRoot, StateRoot},
    param,
    receipt::Receipt,
    wire::{self, DecodeError},
};
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Levels of the tree within a segment: [`param::SEGMENT_STEPS`] roots.
pub const SEGMENT_LEVELS: u32 = param::SEGMENT_STEPS.trailing_zeros();

/// Levels of the whole tree: segments of a run stand where roots of a segment do, one tree above the other.
pub const HISTORY_LEVELS: u32 = 2 * SEGMENT_LEVELS;

/// Bytes of a [`HistoryProof`].
pub const PROOF_BYTES: usize = 8 + 8 + 32 + 32 * LEVELS;

const LEVELS: usize = HISTORY_LEVELS as usize;

/// A node of the tree. Zeros: nothing below it.
type Node = [u8; 32];

/// Where both halves of a history's root come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HistoryTop {
    /// Roots in the history: steps and one.
    pub count: u64,
    /// Top of the tree over them.
    pub tree: Node,
}

impl HistoryTop {
    /// Of a list of roots. Time: one hash for each.
    #[must_use]
    pub fn of(roots: &[StateRoot]) -> Self {
        Self { count: roots.len() as u64, tree: node_at(roots, HISTORY_LEVELS, 0) }
    }

    /// The history's root.
    #[must_use]
    pub fn root(&self) -> HistoryRoot {
        HistoryRoot(wire::derive("samebit/v1/history", &wire::encode(self)))
    }
}

/// Root of a history: what a receipt commits to.
#[must_use]
pub fn root(roots: &[StateRoot]) -> HistoryRoot {
    HistoryTop::of(roots).root()
}

/// What a state says of the roots before its own: `past` of the state before it, then that state's root. Zeros before
/// the first. So a root binds the whole history that leads to it, and who takes a state up knows that history by it.
#[must_use]
pub fn past(before: &[u8; 32], root: &StateRoot) -> [u8; 32] {
    wire::derive_all("samebit/v1/history-past", &[before, &root.0])
}

/// The node above `left` and `right`.
#[must_use]
pub fn node(left: &Node, right: &Node) -> Node {
    if left == &[0; 32] && right == &[0; 32] {
        return [0; 32];
    }
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(left);
    pair[32..].copy_from_slice(right);
    wire::derive("samebit/v1/history-node", &pair)
}

/// The node at `position` among those of `level`; level 0 are the roots themselves.
#[must_use]
pub fn node_at(roots: &[StateRoot], level: u32, position: u64) -> Node {
    let Some(first) = position.checked_shl(level).and_then(|first| usize::try_from(first).ok()) else {
        return [0; 32];
    };
    match roots.get(first..) {
        None | Some([]) => [0; 32],
        Some([root, ..]) if level == 0 => root.0,
        Some(_) => node(&node_at(roots, level - 1, 2 * position), &node_at(roots, level - 1, 2 * position + 1)),
    }
}

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The place is not in the history.
    #[error("root {index} of a history of {count}")]
    Outside {
        /// The place.
        index: u64,
        /// Roots that the proof says there are.
        count: u64,
    },
    /// The proof leads to another history.
    #[error("root {index} with its path leads to {found}, not to {wanted}")]
    Other {
        /// The place.
        index: u64,
        /// What was to be shown.
        wanted: HistoryRoot,
        /// Where the proof leads.
        found: HistoryRoot,
    },
    /// An answer does not belong to the node that was asked about.
    #[error("the two nodes given for position {position} of level {level} are not below the one before")]
    NotBelow {
        /// Height above the roots of the nodes given.
        level: u32,
        /// Position of the node above them.
        position: u64,
    },
}

/// That a root is the one at its place in a history, without the rest of it: [`PROOF_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HistoryProof {
    /// Roots in the history.
    pub count: u64,
    /// Which of them: the step's number.
    pub index: u64,
    /// The root.
    pub root: StateRoot,
    /// The nodes beside the way up, lowest first.
    pub beside: [Node; LEVELS],
}

impl HistoryProof {
    /// Opens a history at `index`; `None` when it is not that long.
    #[must_use]
    pub fn open(roots: &[StateRoot], index: u64) -> Option<Self> {
        let root = *roots.get(usize::try_from(index).ok()?)?;
        let mut beside = [[0; 32]; LEVELS];
        for (level, node) in (0..).zip(&mut beside) {
            *node = node_at(roots, level, (index >> level) ^ 1);
        }
        Some(Self { count: roots.len() as u64, index, root, beside })
    }

    /// The history that it is a proof for.
    #[must_use]
    pub fn leads_to(&self) -> HistoryRoot {
        let mut tree = self.root.0;
        for (level, beside) in (0..).zip(&self.beside) {
            tree = if (self.index >> level) & 1 == 0 { node(&tree, beside) } else { node(beside, &tree) };
        }
        HistoryTop { count: self.count, tree }.root()
    }

    /// Checks it against a history's root and gives the root that it shows.
    ///
    /// # Errors
    /// [`ProofError`]: nothing is shown.
    pub fn verify(&self, history: HistoryRoot) -> Result<StateRoot, ProofError> {
        if self.index >= self.count || self.count > 1 << HISTORY_LEVELS {
            return Err(ProofError::Outside { index: self.index, count: self.count });
        }
        let found = self.leads_to();
        if found != history {
            return Err(ProofError::Other { index: self.index, wanted: history, found });
        }
        Ok(self.root)
    }

    /// Reads one from exactly `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes)
    }
}

/// The first place at which two histories differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The place: the step that one of the two ran wrongly. 0: they differ from the beginning.
    pub index: u64,
    /// The left history's root there; `None` where it had ended.
    pub left: Option<StateRoot>,
    /// The right one's.
    pub right: Option<StateRoot>,
}

/// Where two histories first differ; `None` when they are the same.
#[must_use]
pub fn first_difference(left: &[StateRoot], right: &[StateRoot]) -> Option<Difference> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    let (left, right) = (left.get(same).copied(), right.get(same).copied());
    (left != right).then_some(Difference { index: same as u64, left, right })
}

/// What a [`Descent`] wants to know next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Both parties' two nodes at positions `2 * position` and `2 * position + 1` of `level`: [`node_at`].
    Ask {
        /// Height above the roots.
        level: u32,
        /// Position of the node above those asked for.
        position: u64,
    },
    /// Where they first differ. No root on either side: the trees are one and the counts are two, so whoever cannot
    /// open this index as its count says has lied about the count.
    Found(Difference),
    /// The two are one history.
    Same,
}

/// Finds the first difference of two histories of which only the roots are known, in [`HISTORY_LEVELS`] rounds of 64
/// bytes from each side. Every answer is checked; a party that gives a wrong one is told by the error.
#[derive(Clone, Debug)]
pub struct Descent {
    /// How many roots each side says that it has.
    counts: [u64; 2],
    nodes: [Node; 2],
    level: u32,
    position: u64,
}

/// Which of the two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

impl Descent {
    /// Begins between two roots, each opened by its holder.
    ///
    /// # Errors
    /// The side whose opening is not that of its root, or of more roots than a run can have.
    pub fn new(left: (HistoryRoot, HistoryTop), right: (HistoryRoot, HistoryTop)) -> Result<Self, (Side, ProofError)> {
        for (side, (wanted, top)) in [(Side::Left, left), (Side::Right, right)] {
            if top.count > 1 << HISTORY_LEVELS {
                return Err((side, ProofError::Outside { index: 0, count: top.count }));
            }
            let found = top.root();
            if found != wanted {
                return Err((side, ProofError::Other { index: 0, wanted, found }));
            }
        }
        let [left, right] = [left.1, right.1];
        Ok(Self {
            counts: [left.count, right.count],
            nodes: [left.tree, right.tree],
            level: HISTORY_LEVELS,
            position: 0,
        })
    }

    /// What is to be done next.
    #[must_use]
    pub fn turn(&self) -> Turn {
        if self.nodes[0] == self.nodes[1] {
            // One tree under two counts: one side counts a root that its tree has not, or leaves one out that it has.
            // Nobody has shown a root there yet.
            let [left, right] = self.counts;
            return if left == right {
                Turn::Same
            } else {
                Turn::Found(Difference { index: left.min(right), left: None, right: None })
            };
        }
        if let Some(level) = self.level.checked_sub(1) {
            return Turn::Ask { level, position: self.position };
        }
        let [left, right] = self.nodes.map(|node| (node != [0; 32]).then_some(StateRoot(node)));
        Turn::Found(Difference { index: self.position, left, right })
    }

    /// Takes both answers to [`Turn::Ask`] and goes down on the first side that differs.
    ///
    /// # Errors
    /// The side whose nodes are not below the one that it gave before. Nothing has changed.
    pub fn answer(&mut self, left: [Node; 2], right: [Node; 2]) -> Result<(), (Side, ProofError)> {
        let Some(level) = self.level.checked_sub(1) else { return Ok(()) };
        for (side, pair, above) in [(Side::Left, left, self.nodes[0]), (Side::Right, right, self.nodes[1])] {
            if node(&pair[0], &pair[1]) != above {
                return Err((side, ProofError::NotBelow { level, position: self.position }));
            }
        }
        let down = usize::from(left[0] == right[0]);
        self.nodes = [left[down], right[down]];
        self.position = 2 * self.position + down as u64;
        self.level = level;
        Ok(())
    }
}

/// A receipt with the roots that it commits to: what `samebit run --trace` writes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Trace {
    /// The run's result.
    pub receipt: Receipt,
    /// Its history.
    pub roots: Vec<StateRoot>,
}

/// Begins a trace; the number is that of its layout.
const TRACE_MAGIC: &[u8; 16] = b"samebit-trace-01";

/// Why bytes are no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// They do not begin as one.
    #[error("it does not begin as a trace does")]
    Magic,
    /// They are not one.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It announces more roots than it has, or another number than its receipt's steps make. None was read.
    #[error(
        "it announces {announced} roots and has {bytes} bytes of them; its receipt's {steps} steps make {steps} and one"
    )]
    Count {
        /// How many it says.
        announced: u32,
        /// Bytes after that.
        bytes: u64,
        /// The receipt's steps.
        steps: u32,
    },
    /// The roots are not those of the receipt: one of them was altered.
    #[error("its {count} roots lead to {found}, its receipt says {wanted}")]
    Altered {
        /// How many roots there are.
        count: u64,
        /// What the receipt says.
        wanted: HistoryRoot,
        /// What the roots lead to.
        found: HistoryRoot,
    },
}

impl Trace {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = TRACE_MAGIC.to_vec();
        bytes.extend(wire::encode(self));
        bytes
    }

    /// Reads one from exactly `bytes` and checks the roots against the receipt.
    ///
    /// # Errors
    /// [`TraceError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TraceError> {
        let body = bytes.strip_prefix(TRACE_MAGIC).ok_or(TraceError::Magic)?;
        let mut rest = body;
        let head: Result<(Receipt, u32), _> = BorshDeserialize::deserialize(&mut rest);
        // Bytes that end early are refused with borsh's own words below.
        if let Ok((receipt, announced)) = head {
            let (steps, bytes) = (receipt.steps, rest.len() as u64);
            if u64::from(announced) != u64::from(steps) + 1 || u64::from(announced) * 32 != bytes {
                return Err(TraceError::Count { announced, bytes, steps });
            }
        }
        let trace: Self = wire::decode(body)?;
        let (found, wanted) = (root(&trace.roots), trace.receipt.history);
        if found != wanted {
            return Err(TraceError::Altered { count: trace.roots.len() as u64, wanted, found });
        }
        Ok(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(count: u64, but: Option<u64>) -> Vec<StateRoot> {
        let root = |n: u64| {
            let mut bytes = [7; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            bytes[8] = u8::from(but == Some(n));
            StateRoot(bytes)
        };
        (0..count).map(root).collect()
    }

    #[test]
    fn a_trace_that_announces_other_roots_than_it_has_is_refused_by_its_count() {
        let roots = roots(3, None);
        let receipt = Receipt {
            execution: crate::id::ExecutionId([1; 32]),
            outcome: crate::execution::Outcome::Failed,
            output: crate::receipt::Output { stdout: Default::default(), tree: Default::default() },
            fuel: crate::unit::Fuel(9),
            steps: 2,
            history: root(&roots),
        };
        let trace = Trace { receipt, roots };
        let bytes = trace.encode();
        assert_eq!(Trace::decode(&bytes), Ok(trace.clone()));
        let count = bytes.len() - 3 * 32 - 4;
        for announced in [0, 2, 4, u32::MAX] {
            let mut altered = bytes.clone();
            altered[count..count + 4].copy_from_slice(&announced.to_le_bytes());
            assert_eq!(Trace::decode(&altered), Err(TraceError::Count { announced, bytes: 96, steps: 2 }));
        }
        let more = Trace { receipt: Receipt { steps: 3, ..trace.receipt.clone() }, ..trace };
        assert_eq!(Trace::decode(&more.encode()), Err(TraceError::Count { announced: 3, bytes: 96, steps: 3 }));
        assert!(matches!(Trace::decode(&bytes[..40]), Err(TraceError::Decode(_))));
    }

    #[test]
    fn two_counts_of_one_tree_are_two_histories() {
        let honest = HistoryTop::of(&roots(5, None));
        let liar = HistoryTop { count: honest.count + 1, ..honest };
        let descent = Descent::new((honest.root(), honest), (liar.root(), liar)).unwrap();
        assert_eq!(descent.turn(), Turn::Found(Difference { index: 5, left: None, right: None }));
        let descent = Descent::new((honest.root(), honest), (honest.root(), honest)).unwrap();
        assert_eq!(descent.turn(), Turn::Same);
    }

    #[test]
    fn a_leaf_is_shown_by_a_proof_of_one_size_and_by_no_other() {
        for count in [1, 2, 3, 4096, 4097] {
            let roots = roots(count, None);
            let history = root(&roots);
            for index in [0, count / 2, count - 1] {
                let proof = HistoryProof::open(&roots, index).expect("it is that long");
                assert_eq!(proof.verify(history), Ok(roots[usize::try_from(index).expect("small")]));
                let bytes = wire::encode(&proof);
                assert_eq!(bytes.len(), PROOF_BYTES);
                assert_eq!(HistoryProof::decode(&bytes), Ok(proof.clone()));
                for bad in [
                    HistoryProof { root: StateRoot([9; 32]), ..proof.clone() },
                    HistoryProof { index: index ^ 1, count: count + 2, ..proof.clone() },
                    HistoryProof { count: count + 1, ..proof.clone() },
                    HistoryProof { index: count, ..proof.clone() },
                ] {
                    assert!(bad.verify(history).is_err(), "{count} {index} {bad:?}");
                }
                HistoryProof::decode(&bytes[1..]).expect_err("cut short");
            }
            assert_eq!(HistoryProof::open(&roots, count), None);
        }
    }

    #[test]
    fn a_segment_is_a_node_of_the_tree() {
        let roots = roots(5000, None);
        let segments: Vec<Node> =
            (0..2).map(|segment| node_at(&roots[4096 * segment..(4096 * (segment + 1)).min(5000)], 12, 0)).collect();
        let mut top = node(&segments[0], &segments[1]);
        for _ in 1..12 {
            top = node(&top, &[0; 32]);
        }
        assert_eq!(HistoryTop { count: 5000, tree: top }.root(), root(&roots));
    }

    #[test]
    fn histories_are_told_apart_at_their_first_difference_by_lists_and_by_roots_alone() {
        let cases = [
            (9, 9, Some(4)),
            (9, 9, Some(0)),
            (9, 9, Some(8)),
            (4099, 4099, Some(4096)),
            (9, 4, None),
            (4, 9, None),
            (5, 5, None),
            // The liar joins the truth again later.
            (9, 5, Some(2)),
        ];
        for (left, right, but) in cases {
            let (left, right) = (roots(left, None), roots(right, but));
            let found = first_difference(&left, &right);
            assert_eq!(
                found.map(|found| found.index),
                but.or((left.len() != right.len()).then_some(left.len().min(right.len()) as u64))
            );
            let mut descent =
                Descent::new((root(&left), HistoryTop::of(&left)), (root(&right), HistoryTop::of(&right)))
                    .expect("honest");
            let mut rounds = 0;
            let by_roots = loop {
                match descent.turn() {
                    Turn::Same => break None,
                    Turn::Found(difference) => break Some(difference),
                    Turn::Ask { level, position } => {
                        let pair = |roots: &[StateRoot]| [0, 1].map(|side| node_at(roots, level, 2 * position + side));
                        let lie = [[1; 32], [2; 32]];
                        assert!(matches!(
                            descent.answer(lie, pair(&right)),
                            Err((Side::Left, ProofError::NotBelow { .. }))
                        ));
                        assert!(matches!(
                            descent.answer(pair(&left), lie),
                            Err((Side::Right, ProofError::NotBelow { .. }))
                        ));
                        descent.answer(pair(&left), pair(&right)).expect("honest");
                        rounds += 1;
                    }
                }
            };
            assert_eq!(by_roots, found);
            assert!(rounds <= HISTORY_LEVELS);
        }
        let top = HistoryTop::of(&roots(3, None));
        let other = root(&roots(4, None));
        assert!(matches!(Descent::new((other, top), (top.root(), top)), Err((Side::Left, _))));
    }

    #[test]
    fn a_trace_with_an_altered_root_is_refused() {
        use crate::{content::BlobRef, execution::Outcome, id::ExecutionId, receipt::Output, unit::Fuel};
        let roots = roots(3, None);
        let output = Output { stdout: BlobRef::of(b""), tree: crate::content::TreeRef::default() };
        let (outcome, fuel, history) = (Outcome::Failed, Fuel(1), root(&roots));
        let receipt = Receipt { execution: ExecutionId([1; 32]), outcome, output, fuel, steps: 2, history };
        let trace = Trace { receipt, roots };
        let bytes = trace.encode();
        assert_eq!(Trace::decode(&bytes), Ok(trace));
        let mut altered = bytes.clone();
        *altered.last_mut().expect("bytes") ^= 1;
        assert!(matches!(Trace::decode(&altered), Err(TraceError::Altered { .. })));
        assert!(matches!(Trace::decode(&bytes[..bytes.len() - 1]), Err(TraceError::Count { .. })));
        assert_eq!(Trace::decode(&[0; 100]), Err(TraceError::Magic));
    }
}
