//! A guest that is an interpreter: a loop over bytes with one `match`.

use crate::data::{Checksum, count};
use std::hint::black_box;

/// Instructions of a small stack machine with 16 variables.
mod op {
    pub(super) const PUSH: u8 = 0;
    pub(super) const LOAD: u8 = 1;
    pub(super) const STORE: u8 = 2;
    pub(super) const ADD: u8 = 3;
    pub(super) const SUB: u8 = 4;
    pub(super) const MUL: u8 = 5;
    pub(super) const XOR: u8 = 6;
    pub(super) const SHIFT: u8 = 7;
    pub(super) const LESS: u8 = 8;
    pub(super) const JUMP: u8 = 9;
    pub(super) const JUMP_ZERO: u8 = 10;
    pub(super) const PEEK: u8 = 11;
    pub(super) const POKE: u8 = 12;
    pub(super) const HALT: u8 = 13;
}

/// For `i` below variable 0: mixes `i` into variable 2 and into a table of 256 cells.
#[rustfmt::skip]
const PROGRAM: &[u8] = &[
    op::LOAD, 1, op::LOAD, 0, op::LESS, op::JUMP_ZERO, 45,              // 0: while i < n
    op::LOAD, 2, op::LOAD, 1, op::PUSH, 31, op::MUL, op::ADD, op::STORE, 2, // 7: x = x + i * 31
    op::LOAD, 2, op::LOAD, 2, op::PUSH, 7, op::SHIFT, op::XOR, op::STORE, 2, // 17: x = x ^ (x >> 7)
    op::LOAD, 1, op::PEEK, op::LOAD, 2, op::SUB, op::LOAD, 1, op::POKE, // 27: cells[i] = cells[i] - x
    op::LOAD, 1, op::PUSH, 1, op::ADD, op::STORE, 1,                    // 36: i = i + 1
    op::JUMP, 0,                                                        // 43
    op::HALT,                                                           // 45
];

struct Machine {
    stack: [u64; 64],
    height: usize,
    variables: [u64; 16],
    cells: [u64; 256],
}

impl Machine {
    fn push(&mut self, value: u64) {
        self.stack[self.height & 63] = value;
        self.height += 1;
    }

    fn pop(&mut self) -> u64 {
        self.height -= 1;
        self.stack[self.height & 63]
    }

    fn binary(&mut self, apply: impl Fn(u64, u64) -> u64) {
        let (right, left) = (self.pop(), self.pop());
        self.push(apply(left, right));
    }

    fn run(&mut self, program: &[u8]) {
        let mut at = 0;
        loop {
            let argument = program.get(at + 1).copied().unwrap_or(op::HALT);
            match program[at] {
                op::PUSH => {
                    self.push(u64::from(argument));
                    at += 2;
                }
                op::LOAD => {
                    self.push(self.variables[usize::from(argument & 15)]);
                    at += 2;
                }
                op::STORE => {
                    self.variables[usize::from(argument & 15)] = self.pop();
                    at += 2;
                }
                op::ADD => {
                    self.binary(u64::wrapping_add);
                    at += 1;
                }
                op::SUB => {
                    self.binary(u64::wrapping_sub);
                    at += 1;
                }
                op::MUL => {
                    self.binary(u64::wrapping_mul);
                    at += 1;
                }
                op::XOR => {
                    self.binary(|left, right| left ^ right);
                    at += 1;
                }
                op::SHIFT => {
                    self.binary(|left, right| left >> (right & 63));
                    at += 1;
                }
                op::LESS => {
                    self.binary(|left, right| u64::from(left < right));
                    at += 1;
                }
                op::JUMP => at = usize::from(argument),
                op::JUMP_ZERO => at = if self.pop() == 0 { usize::from(argument) } else { at + 2 },
                op::PEEK => {
                    let index = self.pop();
                    self.push(self.cells[(index & 255) as usize]);
                    at += 1;
                }
                op::POKE => {
                    let index = self.pop();
                    self.cells[(index & 255) as usize] = self.pop();
                    at += 1;
                }
                _ => return,
            }
        }
    }
}

/// Runs a program of 27 instructions a round for `n` rounds.
#[unsafe(no_mangle)]
pub extern "C" fn run_vm(n: i32) -> i64 {
    let mut machine = Machine { stack: [0; 64], height: 0, variables: [0; 16], cells: [0; 256] };
    machine.variables[0] = count(n) as u64;
    machine.run(black_box(PROGRAM));
    let mut sum = Checksum::new();
    sum.add(machine.variables[2]);
    for cell in machine.cells {
        sum.add(cell);
    }
    sum.end()
}
