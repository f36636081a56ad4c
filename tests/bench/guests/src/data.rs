//! Input that is made, not read, and checksums.

/// Marsaglia's xorshift: the same numbers everywhere.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.draw() >> 11) % limit
    }

    /// From -1 to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// `n` as a count; a negative one is none.
pub(crate) fn count(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

/// Mixes values into one, in order.
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    pub(crate) fn end(&self) -> i64 {
        self.0.cast_signed()
    }
}

const WORDS: [&str; 32] = [
    "host", "ledger", "quorum", "verdict", "receipt", "a", "the", "of", "module", "and", "step", "memory", "to", "in",
    "is", "stake", "escrow", "that", "fuel", "for", "state", "root", "agreed", "with", "commit", "reveal", "auditor",
    "window", "by", "final", "task", "job",
];

/// Text of about `bytes` bytes, as compressible as prose.
pub(crate) fn prose(bytes: usize) -> String {
    let mut numbers = Numbers::new();
    let mut text = String::with_capacity(bytes + 64);
    while text.len() < bytes {
        let word = usize::try_from(numbers.below(32).min(numbers.below(32))).unwrap_or(0);
        text.push_str(WORDS[word]);
        match numbers.below(16) {
            0 => text.push_str(", "),
            1 => text.push_str(".\n"),
            2 => text.push_str(&format!(" {} ", numbers.below(1000))),
            _ => text.push(' '),
        }
    }
    text
}
