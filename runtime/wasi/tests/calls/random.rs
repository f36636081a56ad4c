//! Worlds of random calls on few names and few descriptors, so that they meet.

use crate::script::{Line, OUT, RIGHTS, Word};
use samebit_wasi::Call;

const CALLS: usize = 40;
const NAMES: [&str; 16] =
    ["a", "b", "d", "d", "l", "d/a", "d/b", "d/e", "l/a", "d/", "l/", "a/", ".", "d/..", "d/./a", "missing/x"];
const TARGETS: [&str; 6] = ["a", "d", "l", "d/a", "..", "missing"];

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let len = from.len() as u64;
        from[usize::try_from(self.below(len)).expect("an index")]
    }

    fn name(&mut self) -> Word {
        Word::Text(self.pick(&NAMES).into())
    }

    fn dir(&mut self) -> Word {
        Word::Number(self.pick(&[OUT, OUT, OUT, OUT, OUT, OUT, 3, 5]))
    }

    fn fd(&mut self) -> Word {
        Word::Number(5 + self.below(4))
    }

    fn number(&mut self, from: &[u64]) -> Word {
        Word::Number(self.pick(from))
    }

    fn bytes(&mut self) -> Word {
        let parts = (0..=self.below(2)).map(|_| {
            let (len, byte) = (self.below(9), b'a' + u8::try_from(self.below(26)).unwrap_or(0));
            vec![byte; usize::try_from(len).unwrap_or(0)]
        });
        Word::Writes(parts.collect())
    }
}

/// The world of a seed.
pub(crate) fn world(seed: u64) -> Vec<Line> {
    let mut rng = Rng(seed);
    let mut lines = vec![Line::World];
    lines.extend((0..CALLS).map(|_| call(&mut rng)));
    lines.push(Line::Tree);
    lines
}

fn call(rng: &mut Rng) -> Line {
    let names = [
        "path_open",
        "path_open",
        "path_open",
        "path_open",
        "path_create_directory",
        "path_create_directory",
        "path_symlink",
        "path_link",
        "path_rename",
        "path_rename",
        "path_unlink_file",
        "path_remove_directory",
        "path_filestat_get",
        "path_readlink",
        "fd_write",
        "fd_write",
        "fd_pwrite",
        "fd_read",
        "fd_pread",
        "fd_seek",
        "fd_tell",
        "fd_close",
        "fd_renumber",
        "fd_filestat_get",
        "fd_filestat_set_size",
        "fd_fdstat_set_flags",
        "fd_prestat_get",
        "fd_advise",
        "fd_sync",
        "fd_readdir",
    ];
    let name = rng.pick(&names);
    let words = match name {
        "path_open" => {
            let rights = [RIGHTS[0].1, RIGHTS[1].1, RIGHTS[2].1, 1 << 1, 1 << 6 | 1 << 2, 0];
            let oflags = [0, 0, 1, 1, 1, 2, 4, 5, 8, 9, 12, 10];
            let (dir, follow, path) = (rng.dir(), rng.number(&[0, 1]), rng.name());
            let (oflags, base, flags) = (rng.number(&oflags), rng.number(&rights), rng.number(&[0, 0, 0, 1]));
            vec![dir, follow, path, oflags, base, Word::Number(RIGHTS[2].1), flags, Word::Room(4)]
        }
        "path_create_directory" | "path_unlink_file" | "path_remove_directory" => vec![rng.dir(), rng.name()],
        "path_symlink" => vec![Word::Text(rng.pick(&TARGETS).into()), rng.dir(), rng.name()],
        "path_link" => vec![rng.dir(), Word::Number(0), rng.name(), rng.dir(), rng.name()],
        "path_rename" => vec![rng.dir(), rng.name(), rng.dir(), rng.name()],
        "path_filestat_get" => vec![rng.dir(), rng.number(&[0, 1]), rng.name(), Word::Room(64)],
        "path_readlink" => vec![rng.dir(), rng.name(), Word::Buffer(8), Word::Room(4)],
        "fd_write" => vec![rng.fd(), rng.bytes(), Word::Room(4)],
        "fd_pwrite" => vec![rng.fd(), rng.bytes(), rng.number(&[0, 1, 9, 5000]), Word::Room(4)],
        "fd_read" => vec![rng.fd(), Word::Reads(vec![3, 40]), Word::Room(4)],
        "fd_pread" => vec![rng.fd(), Word::Reads(vec![3, 40]), rng.number(&[0, 1, 9, 5000]), Word::Room(4)],
        "fd_seek" => {
            let delta = rng.number(&[0, 1, 7, u64::MAX, u64::MAX - 5, 4999]);
            vec![rng.fd(), delta, rng.number(&[0, 1, 2]), Word::Room(8)]
        }
        "fd_tell" => vec![rng.fd(), Word::Room(8)],
        "fd_renumber" => vec![rng.fd(), rng.fd()],
        "fd_filestat_get" => vec![rng.fd(), Word::Room(64)],
        "fd_filestat_set_size" => vec![rng.fd(), rng.number(&[0, 2, 6000])],
        "fd_fdstat_set_flags" => vec![rng.fd(), rng.number(&[0, 1])],
        "fd_prestat_get" => vec![rng.fd(), Word::Room(8)],
        "fd_advise" => vec![rng.fd(), Word::Number(0), Word::Number(9), rng.number(&[0, 5])],
        "fd_readdir" => return Line::List(rng.pick(&[3, OUT, 5, 6]), rng.pick(&[64, 300, 4096])),
        _ => vec![rng.fd()],
    };
    Line::Call(Call::by_name(name).expect("a function of preview1").function().name, words)
}
