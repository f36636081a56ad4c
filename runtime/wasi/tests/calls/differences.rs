//! What may differ from the stock runner: the table of `spec/06-wasi.md`, section 10, as predicates.

use crate::script::{Line, Word};
use samebit_wasi::Errno;

/// A line with both answers.
pub(crate) struct Pair<'a> {
    line: &'a Line,
    ours: Answer,
    stock: Answer,
    /// Whether a file that is open for appending was written at a place before, in this world.
    placed_while_appending: bool,
    /// Whether a descriptor lacks a right that the call asks for.
    lacks: bool,
}

/// An answer, without what no two runners have in common.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The errno, or what there is in its place.
    end: String,
    held: Vec<String>,
    /// Of `fd_fdstat_get`, which is compared apart from the rest.
    rights: String,
}

impl Answer {
    fn of(line: &Line, text: &str) -> Self {
        let mut words = text.split(' ').map(str::to_owned);
        let end = words.next().unwrap_or_default();
        let mut answer = Self { end, held: words.collect(), rights: String::new() };
        let Line::Call(name, _) = line else { return answer };
        if answer.end != "0" {
            // What a refused call leaves in its answers' place is nobody's business.
            if answer.end.parse::<u16>().is_ok() {
                answer.held.clear();
            }
            return answer;
        }
        match *name {
            // What differs by nature; listings are compared whole, by `list`.
            "clock_time_get" | "clock_res_get" | "random_get" | "fd_readdir" => answer.held.clear(),
            "fd_filestat_get" | "path_filestat_get" => answer.held = vec![filestat(&answer.held[0])],
            "fd_fdstat_get" => {
                let (type_, flags) = (&answer.held[0][..2], &answer.held[0][4..8]);
                answer.rights = answer.held[0][16..].to_owned();
                answer.held = vec![format!("{type_} {flags}")];
            }
            // The length of a preopened folder's name stands behind padding.
            "fd_prestat_get" => answer.held = vec![answer.held[0][8..].to_owned()],
            // User data, errno and type: how much is there to read is an estimate.
            "poll_oneoff" => answer.held[0].truncate(22),
            _ => {}
        }
        answer
    }

    fn is(&self, errno: Errno) -> bool {
        self.end == errno.to_i32().to_string()
    }

    fn good(&self) -> bool {
        self.is(Errno::Success)
    }

    /// How many bytes were moved, which is the last answer of reads and writes.
    fn moved(&self) -> Option<u32> {
        let bytes = self.held.last()?;
        u32::from_str_radix(bytes, 16).ok().map(u32::swap_bytes)
    }
}

/// Type; of a file also names and size, of a link size; times that were set by hand.
fn filestat(held: &str) -> String {
    let number = |at: usize| u64::from_str_radix(&held[at * 2..at * 2 + 16], 16).map_or(0, u64::swap_bytes);
    let time = |at: usize| match number(at) {
        time if time <= 1_000_000_000_000 => time.to_string(),
        _ => "lately".to_owned(),
    };
    let (type_, times) = (&held[32..34], format!("{} {}", time(40), time(48)));
    match type_ {
        "04" => format!("{type_} {} {} {times}", number(24), number(32)),
        "07" => format!("{type_} {} {times}", number(32)),
        _ => type_.to_owned(),
    }
}

impl<'a> Pair<'a> {
    pub(crate) fn new(line: &'a Line, ours: &str, stock: &str, placed_while_appending: bool, lacks: bool) -> Self {
        Self { line, ours: Answer::of(line, ours), stock: Answer::of(line, stock), placed_while_appending, lacks }
    }

    pub(crate) fn same(&self) -> bool {
        self.ours == self.stock
    }

    /// Whether the two worlds are no longer the same.
    pub(crate) fn parts_the_worlds(&self) -> bool {
        let wrote = self.stock.end == "trap" && matches!(self.name(), "fd_write" | "fd_pwrite");
        if self.stock.end == "trap" && !self.ours.good() {
            return wrote;
        }
        self.ours.good() != self.stock.good() || self.ours.held != self.stock.held
    }

    fn name(&self) -> &str {
        match self.line {
            Line::Call(name, _) => name,
            Line::World | Line::List(..) | Line::Tree => "",
        }
    }

    fn words(&self) -> &[Word] {
        match self.line {
            Line::Call(_, words) => words,
            Line::World | Line::List(..) | Line::Tree => &[],
        }
    }

    fn number(&self, index: usize) -> Option<u64> {
        match self.words().get(index)? {
            Word::Number(number) => Some(*number),
            _ => None,
        }
    }

    fn trapped(&self, with: &str) -> bool {
        self.stock.end == "trap" && self.stock.held.join(" ").contains(with)
    }

    fn slash(&self) -> bool {
        self.words().iter().any(|word| matches!(word, Word::Text(text) if text.ends_with(b"/")))
    }

    fn lists(&self) -> bool {
        matches!(self.line, Line::List(..))
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.contains(&self.name())
    }

    /// The descriptors among the arguments of a call with a path.
    fn descriptors(&self) -> impl Iterator<Item = u64> {
        let at: &[usize] = match self.name() {
            "path_link" => &[0, 3],
            "path_rename" => &[0, 2],
            "path_symlink" => &[1],
            name if name.starts_with("path_") => &[0],
            _ => &[],
        };
        at.iter().filter_map(|index| self.number(*index))
    }

    /// Buffers that are not empty.
    fn buffers(&self) -> usize {
        let count = |word: &Word| match word {
            Word::Reads(lens) => lens.iter().filter(|len| **len > 0).count(),
            Word::Writes(parts) => parts.iter().filter(|part| !part.is_empty()).count(),
            _ => 0,
        };
        self.words().iter().map(count).sum()
    }

    /// Whether the errnos are one of these pairs, ours first.
    fn errnos(&self, pairs: &[(Errno, Errno)]) -> bool {
        pairs.iter().any(|(ours, stock)| self.ours.is(*ours) && self.stock.is(*stock))
    }
}

type Fits = fn(&Pair<'_>) -> bool;

const OFFSETS: [&str; 6] = ["fd_read", "fd_write", "fd_pread", "fd_pwrite", "fd_seek", "fd_tell"];

/// The first that fits explains a pair. Each names the calls, the errnos and the arguments that it is about, so that
/// another difference of the same call is not taken for it.
const DIFFERENCES: &[(&str, Fits)] = &[
    ("pointers", |pair| pair.ours.is(Errno::Fault) && pair.trapped("Pointer out of bounds")),
    ("values", |pair| {
        pair.ours.is(Errno::Inval) && (pair.trapped("Invalid flag value") || pair.trapped("Invalid enum value"))
    }),
    ("exit-codes", |pair| {
        pair.name() == "proc_exit"
            && pair.number(0).is_some_and(|code| code > 125)
            && pair.trapped("invalid exit status")
    }),
    // What a write that went elsewhere shows afterwards: content, length, and what follows from the length.
    ("append", |pair| {
        let shows = ["fd_read", "fd_pread", "fd_seek", "fd_tell", "fd_filestat_get", "path_filestat_get"];
        let both = pair.ours.good() && pair.stock.good();
        pair.placed_while_appending && (matches!(pair.line, Line::Tree) || both && pair.is_one_of(&shows))
    }),
    // The lowest free one is never above another.
    ("numbers", |pair| {
        let both = pair.ours.good() && pair.stock.good();
        pair.name() == "path_open" && both && pair.ours.moved() < pair.stock.moved()
    }),
    ("buffers", |pair| {
        let moves = pair.is_one_of(&["fd_read", "fd_pread", "fd_write", "fd_pwrite"]) && pair.buffers() > 1;
        moves && pair.ours.good() && pair.stock.good() && pair.ours.moved() > pair.stock.moved()
    }),
    ("read-only", |pair| {
        let looked = [Errno::NoEnt, Errno::Exist, Errno::NotDir, Errno::IsDir, Errno::NotEmpty, Errno::XDev];
        let dots = pair.is_one_of(&["path_rename", "path_remove_directory"])
            && (pair.ours.is(Errno::Busy) || pair.ours.is(Errno::Inval));
        let looked = pair.ours.is(Errno::RoFs) || looked.iter().any(|errno| pair.ours.is(*errno));
        let opens = pair.name() == "path_open" && pair.ours.good() && pair.number(3) == Some(1);
        pair.stock.is(Errno::Perm) && pair.descriptors().any(|fd| fd == 3 || fd > 4) && (looked || opens || dots)
    }),
    ("rights", |pair| {
        let sets = pair.name() == "fd_fdstat_set_rights" && pair.stock.is(Errno::NotSup);
        let shows = pair.ours.held == pair.stock.held && pair.ours.rights != pair.stock.rights;
        let refuses = pair.ours.is(Errno::NotCapable) && pair.lacks && pair.stock.end != "trap";
        refuses || sets || pair.name() == "fd_fdstat_get" && shows
    }),
    ("folders-as-files", |pair| pair.is_one_of(&OFFSETS) && pair.errnos(&[(Errno::IsDir, Errno::BadF)])),
    ("files-as-folders", |pair| {
        let folders = pair.name().starts_with("path_") || pair.name() == "fd_readdir" || pair.lists();
        folders && pair.errnos(&[(Errno::NotDir, Errno::BadF)])
    }),
    ("no-effect", |pair| {
        let idle = pair.is_one_of(&["fd_sync", "fd_datasync", "fd_fdstat_set_flags"]);
        idle && pair.ours.good() && pair.stock.is(Errno::BadF)
    }),
    ("cpu-clocks", |pair| {
        let clock = pair.number(0).is_some_and(|clock| clock == 2 || clock == 3);
        pair.name() == "clock_res_get" && clock && pair.ours.good() && pair.stock.is(Errno::BadF)
    }),
    ("advice", |pair| {
        let (from, len) = (pair.number(1).unwrap_or(0), pair.number(2).unwrap_or(0));
        let far = pair.name() == "fd_advise" && from.checked_add(len).is_none();
        far && pair.ours.is(Errno::Inval) && pair.stock.good()
    }),
    // Of the flags of descriptors those that ask for safer writes.
    ("flags", |pair| {
        let flags = match pair.name() {
            "path_open" => pair.number(6),
            "fd_fdstat_set_flags" => pair.number(1),
            _ => None,
        };
        let safer = flags.is_some_and(|flags| flags & 0b1_1010 != 0);
        safer && pair.ours.good() && pair.stock.is(Errno::NotSup)
    }),
    ("follow", |pair| {
        let follows = pair.name() == "path_link" && pair.number(1) == Some(1);
        follows && !pair.ours.is(Errno::Inval) && pair.stock.is(Errno::Inval)
    }),
    ("events", |pair| pair.name() == "poll_oneoff" && pair.ours.good() && pair.stock.is(Errno::BadF)),
    ("offsets", |pair| pair.name() == "fd_seek" && pair.ours.is(Errno::Inval) && pair.stock.good()),
    ("slashes", |pair| pair.slash() && slashes(pair)),
];

/// A path with a slash behind it: what stock runners make of it differs from call to call.
fn slashes(pair: &Pair<'_>) -> bool {
    let both = pair.ours.good() && pair.stock.good();
    // What is no folder is told before what is not there, loops or is a folder after all.
    let no_folder = pair.errnos(&[(Errno::NotDir, Errno::NoEnt), (Errno::NotDir, Errno::Loop)]);
    match pair.name() {
        // A link with a slash is the folder that it leads to.
        "path_filestat_get" => both || pair.stock.good() && !pair.ours.good(),
        "path_unlink_file" => no_folder || pair.errnos(&[(Errno::NotDir, Errno::IsDir)]),
        "path_remove_directory" => {
            no_folder || pair.errnos(&[(Errno::Success, Errno::Inval), (Errno::NotEmpty, Errno::Inval)])
        }
        "path_link" | "path_symlink" | "path_create_directory" => no_folder,
        "path_rename" => no_folder || pair.errnos(&[(Errno::NotDir, Errno::Success)]),
        // To make what is there: the stock runner asks for a folder first.
        "path_open" => {
            let refused = [Errno::NotDir, Errno::Loop, Errno::Exist, Errno::Perm];
            pair.stock.is(Errno::IsDir) && refused.iter().any(|errno| pair.ours.is(*errno))
        }
        _ => false,
    }
}

/// The name of the difference that a pair shows, if it is one.
pub(crate) fn explain(pair: &Pair<'_>) -> Option<&'static str> {
    DIFFERENCES.iter().find(|(_, fits)| fits(pair)).map(|(name, _)| *name)
}

/// All of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DIFFERENCES.iter().map(|(name, _)| *name)
}
