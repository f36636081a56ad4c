//! Scripts of preview1 calls: written by hand in `cases.txt` or drawn by a seed, carried out by this crate and, as
//! lines of text, by `peer.py` on the stock runner.

use samebit_spec::{
    abi,
    content::{BlobRef, Tree, TreeFile, TreeRef},
    execution::{Access, Limits, Mount},
    unit::Fuel,
};
use samebit_wasi::{Call, Config, Content, Errno, FUNCTIONS, SliceMemory, Stop, ValType, Wasi};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

const ROOM: usize = 1 << 20;
const BEGIN: u32 = 0x1_0000;
const FILL: u8 = 0xee;
const INPUT: &[(&str, &[u8])] =
    &[("a.txt", b"first"), ("deep/er/file", b"far down"), ("deep-er", b"beside"), ("empty", b"")];
/// The output's descriptor: `/in` is 3.
pub(crate) const OUT: u64 = 4;

/// All rights of a regular file, of a folder, and of both.
pub(crate) const RIGHTS: [(&str, u64); 3] = [("FILE", 0x08e0_01ff), ("DIR", 0x0fbf_fe19), ("ALL", 0x0fff_ffff)];

/// An argument, or two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Number(u64),
    /// A string: pointer and length.
    Text(Vec<u8>),
    /// Bytes: a pointer.
    Bytes(Vec<u8>),
    /// Room for an answer: a pointer.
    Room(u32),
    /// The same: pointer and length.
    Buffer(u32),
    /// Buffers to read into.
    Reads(Vec<u32>),
    /// Buffers to write from.
    Writes(Vec<Vec<u8>>),
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A new world begins.
    World,
    Call(&'static str, Vec<Word>),
    /// A whole listing, through a buffer of this size.
    List(u64, u32),
    /// What has come of it all.
    Tree,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Line {
    /// As `peer.py` reads it.
    pub(crate) fn to_text(&self) -> String {
        let join = |parts: Vec<String>| parts.join(",");
        match self {
            Self::World => "world".to_owned(),
            Self::Tree => "tree".to_owned(),
            Self::List(fd, room) => format!("list {fd} {room}"),
            Self::Call(name, words) => words.iter().fold((*name).to_owned(), |line, word| {
                let word = match word {
                    Word::Number(number) => number.to_string(),
                    Word::Text(bytes) => format!("s:{}", hex(bytes)),
                    Word::Bytes(bytes) => format!("p:{}", hex(bytes)),
                    Word::Room(len) => format!("o:{len}"),
                    Word::Buffer(len) => format!("b:{len}"),
                    Word::Reads(lens) => format!("r:{}", join(lens.iter().map(ToString::to_string).collect())),
                    Word::Writes(parts) => format!("w:{}", join(parts.iter().map(|part| hex(part)).collect())),
                };
                line + " " + &word
            }),
        }
    }
}

/// Reads `cases.txt`: `# name` begins a case in a world of its own. A call is its name and its arguments: numbers,
/// sums of rights, `"text"`, `p"bytes"`, `w"bytes"`, `r5,3`, `o4`, `b20`.
pub(crate) fn cases(text: &str) -> Vec<(String, Vec<Line>)> {
    let mut cases: Vec<(String, Vec<Line>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("# ") {
            cases.push((name.to_owned(), vec![Line::World]));
            continue;
        }
        cases.last_mut().expect("a case's name comes first").1.push(call(line));
    }
    for (_, lines) in &mut cases {
        lines.push(Line::Tree);
    }
    cases
}

/// Reads one line of a case.
pub(crate) fn call(line: &str) -> Line {
    let words = split(line);
    let (name, words) = words.split_first().expect("a line that is not empty");
    match (name.as_str(), words) {
        ("list", [fd, room]) => Line::List(fd.parse().expect("a descriptor"), room.parse().expect("a size")),
        (name, words) => {
            let call = Call::by_name(name).unwrap_or_else(|| panic!("no call {name}"));
            Line::Call(call.function().name, words.iter().map(|text| word(text)).collect())
        }
    }
}

/// Words, of which those in quotes may hold spaces.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (vec![String::new()], false);
    for letter in line.chars() {
        match letter {
            ' ' if !quoted => words.push(String::new()),
            letter => {
                quoted ^= letter == '"';
                words.last_mut().expect("there is one").push(letter);
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What stands between quotes, with `\xNN` for a byte and `(LETTERS*COUNT)` for many.
fn unquote(text: &str) -> Vec<u8> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("quoted");
    if let Some((unit, count)) = inner.strip_prefix('(').and_then(|all| all.strip_suffix(')')?.split_once('*')) {
        return unit.repeat(count.parse().expect("a count")).into_bytes();
    }
    let mut bytes = Vec::new();
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).expect("two digits"));
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn word(text: &str) -> Word {
    let size = |text: &str| text.parse().expect("a size");
    match text.as_bytes()[0] {
        b'"' => Word::Text(unquote(text)),
        b'p' => Word::Bytes(unquote(&text[1..])),
        b'w' => Word::Writes(text[1..].split(',').map(unquote).collect()),
        b'r' => Word::Reads(text[1..].split(',').map(size).collect()),
        b'o' => Word::Room(size(&text[1..])),
        b'b' => Word::Buffer(size(&text[1..])),
        _ => Word::Number(text.split('|').fold(0, |sum, part| sum | number(part))),
    }
}

fn number(text: &str) -> u64 {
    let named = RIGHTS.iter().find(|(name, _)| *name == text).map(|(_, rights)| *rights);
    let bit = || text.strip_prefix("1<<").map(|shift| 1 << shift.parse::<u32>().expect("a shift"));
    let negative = || text.strip_prefix('-').map(|digits| digits.parse::<u64>().expect("a number").wrapping_neg());
    named.or_else(bit).or_else(negative).unwrap_or_else(|| text.parse().unwrap_or_else(|_| panic!("{text}: no number")))
}

/// A guest that hands every call on: what the stock runner is given.
pub(crate) fn guest() -> String {
    let core = |ty: &ValType| if *ty == ValType::I32 { " i32" } else { " i64" };
    let (mut imports, mut exports) = (String::new(), String::new());
    for function in FUNCTIONS {
        let params: String = function.params.iter().map(core).collect();
        let result = function.result.map_or("", |_| "(result i32)");
        let name = function.name;
        let _ =
            writeln!(imports, r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param{params}) {result}))"#);
        let gets: String = (0..function.params.len()).map(|index| format!("local.get {index} ")).collect();
        let _ = writeln!(exports, r#"(func (export "{name}") (param{params}) {result} {gets} call ${name})"#);
    }
    format!("(module\n{imports}(memory (export \"memory\") {})\n{exports})", ROOM >> 16)
}

#[derive(Default)]
struct Shelf(BTreeMap<BlobRef, Arc<[u8]>>);

impl Content for Shelf {
    fn read(&self, blob: &BlobRef) -> Result<Arc<[u8]>, String> {
        self.0.get(blob).cloned().ok_or_else(|| format!("{} is missing", blob.id))
    }

    fn tree(&self, tree: &TreeRef) -> Result<Tree, String> {
        Err(format!("{} is not asked for here", tree.id))
    }
}

/// This crate, as `peer.py` has the stock runner.
#[derive(Clone)]
pub(crate) struct Ours {
    wasi: Wasi,
    shelf: Arc<Shelf>,
    memory: Vec<u8>,
    fuel: u64,
}

impl Ours {
    pub(crate) fn new() -> Self {
        Self::within(Limits::default())
    }

    pub(crate) fn within(limits: Limits) -> Self {
        let stdin = b"from stdin";
        let files = INPUT.iter().map(|(path, bytes)| TreeFile { path: (*path).into(), blob: BlobRef::of(bytes) });
        let tree = Tree::new(files.collect()).expect("the files form a tree");
        let mount = Mount { path: abi::INPUT_DIR.into(), tree: tree.tree_ref(), access: Access::ReadOnly };
        let wasi = Wasi::new(Config {
            args: vec!["task".into(), "héllo".into()],
            env: vec![("A".into(), "1".into()), ("B".into(), String::new())],
            stdin: BlobRef::of(stdin),
            seed: [7; 32],
            unit: 0,
            mounts: vec![(mount, tree)],
            limits,
            stderr_kept: 1 << 16,
        });
        let contents = INPUT.iter().map(|(_, bytes)| *bytes).chain([&stdin[..]]);
        let shelf = Shelf(contents.map(|bytes| (BlobRef::of(bytes), Arc::from(bytes))).collect());
        Self { wasi, shelf: Arc::new(shelf), memory: vec![0; ROOM], fuel: 0 }
    }

    /// Carries out a line; answers as `peer.py` does.
    pub(crate) fn answer(&mut self, line: &Line) -> String {
        match line {
            Line::World => {
                *self = Self::new();
                "0".to_owned()
            }
            Line::Call(name, words) => self.call(name, words),
            Line::List(fd, room) => self.list(*fd, *room),
            Line::Tree => self.clone().tree().unwrap_or_else(|errno| format!("unseen {errno:?}")),
        }
    }

    /// The root once the clock has been brought to one late moment, so that only other differences are left.
    pub(crate) fn settled(&self) -> [u8; 32] {
        let mut wasi = self.wasi.clone();
        let mut memory = SliceMemory(&mut []);
        wasi.call(Call::SchedYield, &[], &mut memory, &*self.shelf, Fuel(1 << 60)).expect("it returns");
        wasi.root()
    }

    /// Whether the first of `words` is a descriptor that appends.
    pub(crate) fn appends(&self, words: &[Word]) -> bool {
        let held = self.clone().done("fd_fdstat_get", &[words[0].clone(), Word::Room(24)]);
        held.is_ok_and(|held| held[0][2] & 1 != 0)
    }

    /// Whether a descriptor of a call lacks a right that preview1 asks for there, by the descriptors' own word.
    pub(crate) fn lacks(&self, line: &Line) -> bool {
        let (name, words) = match line {
            Line::Call(name, words) => (*name, words.clone()),
            Line::List(fd, _) => ("fd_readdir", vec![Word::Number(*fd)]),
            Line::World | Line::Tree => return false,
        };
        let number = |at: usize| match words.get(at) {
            Some(Word::Number(number)) => *number,
            _ => 0,
        };
        // Where the descriptor is, and the bits of the rights.
        let asked: &[(usize, &[u32])] = match name {
            "fd_datasync" => &[(0, &[0])],
            "fd_read" => &[(0, &[1])],
            "fd_pread" => &[(0, &[1, 2])],
            "fd_seek" => &[(0, &[2])],
            "fd_fdstat_set_flags" => &[(0, &[3])],
            "fd_sync" => &[(0, &[4])],
            "fd_tell" => &[(0, &[5])],
            "fd_write" => &[(0, &[6])],
            "fd_pwrite" => &[(0, &[6, 2])],
            "fd_advise" => &[(0, &[7])],
            "fd_allocate" => &[(0, &[8])],
            "path_create_directory" => &[(0, &[9])],
            "path_link" => &[(0, &[11]), (3, &[12])],
            "path_open" => &[(0, &[13])],
            "fd_readdir" => &[(0, &[14])],
            "path_readlink" => &[(0, &[15])],
            "path_rename" => &[(0, &[16]), (2, &[17])],
            "path_filestat_get" => &[(0, &[18])],
            "path_filestat_set_times" => &[(0, &[20])],
            "fd_filestat_get" => &[(0, &[21])],
            "fd_filestat_set_size" => &[(0, &[22])],
            "fd_filestat_set_times" => &[(0, &[23])],
            "path_symlink" => &[(1, &[24])],
            "path_remove_directory" => &[(0, &[25])],
            "path_unlink_file" => &[(0, &[26])],
            _ => &[],
        };
        let has = |at: usize| {
            let held = self.clone().done("fd_fdstat_get", &[Word::Number(number(at)), Word::Room(24)]).ok()?;
            let right = |from: usize| held[0][from..from + 8].try_into().map_or(0, u64::from_le_bytes);
            Some((right(8), right(16)))
        };
        let missing = |base: u64, bits: &[u32]| bits.iter().any(|bit| base & 1 << bit == 0);
        if asked.iter().any(|(at, bits)| has(*at).is_some_and(|(base, _)| missing(base, bits))) {
            return true;
        }
        // What is opened asks for rights of its own, and to make or to cut is a right too.
        name == "path_open"
            && has(0).is_some_and(|(base, inheriting)| {
                let (create, truncate) = (number(3) & 1 != 0, number(3) & 8 != 0);
                let more = (number(4) | number(5)) & !inheriting & ((1 << 28) - 1) != 0;
                create && missing(base, &[10]) || truncate && missing(base, &[19]) || more
            })
    }

    fn call(&mut self, name: &str, words: &[Word]) -> String {
        match self.act(name, words) {
            Ok((errno, held)) => held.iter().fold(errno.to_i32().to_string(), |text, bytes| text + " " + &hex(bytes)),
            Err(Stop::Exit(code)) => format!("exit {code}"),
            Err(Stop::HostFault(reason)) => format!("fault {reason}"),
        }
    }

    fn act(&mut self, name: &str, words: &[Word]) -> Result<(Errno, Vec<Vec<u8>>), Stop> {
        let (mut args, mut rooms, mut next) = (Vec::new(), Vec::new(), BEGIN);
        let memory = &mut self.memory;
        let mut put = |bytes: &[u8]| {
            let at = next as usize;
            memory[at..at + bytes.len()].copy_from_slice(bytes);
            next += u32::try_from(bytes.len().next_multiple_of(8)).expect("a call's arguments are few");
            u32::try_from(at).expect("memory is small")
        };
        for word in words {
            match word {
                Word::Number(number) => args.push(*number),
                Word::Text(bytes) => args.extend([put(bytes).into(), bytes.len() as u64]),
                Word::Bytes(bytes) => args.push(put(bytes).into()),
                Word::Room(len) | Word::Buffer(len) => {
                    let at = put(&vec![FILL; *len as usize]);
                    args.push(at.into());
                    rooms.push((at, *len));
                    if matches!(word, Word::Buffer(_)) {
                        args.push((*len).into());
                    }
                }
                Word::Reads(lens) => {
                    let list: Vec<(u32, u32)> =
                        lens.iter().map(|len| (put(&vec![FILL; *len as usize]), *len)).collect();
                    rooms.extend(&list);
                    args.extend([put(&table(&list)).into(), list.len() as u64]);
                }
                Word::Writes(parts) => {
                    let sized = |part: &Vec<u8>| u32::try_from(part.len()).expect("a small buffer");
                    let list: Vec<(u32, u32)> = parts.iter().map(|part| (put(part), sized(part))).collect();
                    args.extend([put(&table(&list)).into(), list.len() as u64]);
                }
            }
        }
        let call = Call::by_name(name).expect("a function of preview1");
        assert_eq!(args.len(), call.function().params.len(), "arguments of {name}: {words:?}");
        self.fuel += self.wasi.cost(call, &args, &SliceMemory(&mut self.memory)).0;
        let mut memory = SliceMemory(&mut self.memory);
        let errno = self.wasi.call(call, &args, &mut memory, &*self.shelf, Fuel(self.fuel))?;
        let held = rooms.iter().map(|(at, len)| self.memory[*at as usize..(*at + *len) as usize].to_vec()).collect();
        Ok((errno, held))
    }

    fn list(&mut self, fd: u64, room: u32) -> String {
        match self.entries(fd, room) {
            Ok(mut found) => {
                found.sort();
                found.iter().fold("0".to_owned(), |text, (name, kind)| format!("{text} {}/{kind}", hex(name)))
            }
            Err(what) => what,
        }
    }

    fn entries(&mut self, fd: u64, room: u32) -> Result<Vec<(Vec<u8>, u8)>, String> {
        let (mut cookie, mut found) = (0, Vec::new());
        loop {
            let words = [Word::Number(fd), Word::Buffer(room), Word::Number(cookie), Word::Room(4)];
            let (errno, held) = self.act("fd_readdir", &words).map_err(|stop| format!("{stop:?}"))?;
            if errno != Errno::Success {
                return Err(errno.to_i32().to_string());
            }
            let used = word32(&held[1], 0);
            let (mut rest, mut moved) = (&held[0][..used as usize], false);
            while rest.len() >= 24 {
                let end = 24 + word32(rest, 16) as usize;
                if rest.len() < end {
                    break;
                }
                cookie = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
                moved = true;
                found.push((rest[24..end].to_vec(), rest[20]));
                rest = &rest[end..];
            }
            if used < room {
                return Ok(found);
            }
            if !moved {
                return Err("stuck".to_owned());
            }
        }
    }

    /// What lies below `/out`, and the streams.
    fn tree(&mut self) -> Result<String, Errno> {
        let mut found =
            vec![format!("s:stdout:{}", hex(&self.wasi.stdout())), format!("s:stderr:{}", hex(self.wasi.stderr()))];
        let mut folders = vec![Vec::new()];
        while let Some(folder) = folders.pop() {
            let path = if folder.is_empty() { b".".to_vec() } else { folder.clone() };
            let fd = self.open(path, 2, RIGHTS[1].1)?;
            let entries = self.entries(fd, 4096).map_err(|_| Errno::Io)?;
            self.done("fd_close", &[Word::Number(fd)])?;
            for (name, kind) in entries {
                if name == b"." || name == b".." {
                    continue;
                }
                let path = if folder.is_empty() { name } else { [&folder[..], b"/", &name].concat() };
                let at = Word::Text(path.clone());
                let shown = hex(&path);
                match kind {
                    3 => {
                        found.push(format!("d:{shown}"));
                        folders.push(path);
                    }
                    7 => {
                        let words = [Word::Number(OUT), at, Word::Buffer(4096), Word::Room(4)];
                        let held = self.done("path_readlink", &words)?;
                        found.push(format!("l:{shown}:{}", hex(&held[0][..word32(&held[1], 0) as usize])));
                    }
                    _ => {
                        let words = [Word::Number(OUT), Word::Number(0), at, Word::Room(64)];
                        let nlink = word32(&self.done("path_filestat_get", &words)?[0], 24);
                        found.push(format!("f:{shown}:{nlink}:{}", hex(&self.content(path)?)));
                    }
                }
            }
        }
        found.sort();
        Ok(found.join(" "))
    }

    fn content(&mut self, path: Vec<u8>) -> Result<Vec<u8>, Errno> {
        let fd = self.open(path, 0, 1 << 1)?;
        let mut bytes = Vec::new();
        loop {
            let held = self.done("fd_read", &[Word::Number(fd), Word::Reads(vec![1 << 16]), Word::Room(4)])?;
            match word32(&held[1], 0) as usize {
                0 => break,
                read => bytes.extend_from_slice(&held[0][..read]),
            }
        }
        self.done("fd_close", &[Word::Number(fd)])?;
        Ok(bytes)
    }

    fn open(&mut self, path: Vec<u8>, oflags: u64, rights: u64) -> Result<u64, Errno> {
        let numbers = [oflags, rights, 0, 0].map(Word::Number);
        let words = [&[Word::Number(OUT), Word::Number(0), Word::Text(path)][..], &numbers, &[Word::Room(4)]].concat();
        Ok(word32(&self.done("path_open", &words)?[0], 0).into())
    }

    fn done(&mut self, name: &str, words: &[Word]) -> Result<Vec<Vec<u8>>, Errno> {
        match self.act(name, words) {
            Ok((Errno::Success, held)) => Ok(held),
            Ok((errno, _)) => Err(errno),
            Err(_) => Err(Errno::Io),
        }
    }
}

fn table(list: &[(u32, u32)]) -> Vec<u8> {
    list.iter().flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()].concat()).collect()
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
