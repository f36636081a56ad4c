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
    pub(crate) fn new(line: &'a Line, ours: &str, stock: &str, placed_while_appending: bool) -> Self {
        Self { line, ours: Answer::of(line, ours), stock: Answer::of(line, stock), placed_while_appending }
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
}

type Fits = fn(&Pair<'_>) -> bool;

/// The first that fits explains a pair.
const DIFFERENCES: &[(&str, Fits)] = &[
    ("pointers", |pair| {
        pair.ours.is(Errno::Fault) && !pair.stock.good() || pair.ours.is(Errno::Fault) && pair.trapped("")
    }),
    ("values", |pair| pair.ours.is(Errno::Inval) && pair.trapped("Invalid ")),
    ("exit-codes", |pair| pair.name() == "proc_exit" && pair.trapped("invalid exit status")),
    ("append", |pair| pair.placed_while_appending),
    ("numbers", |pair| pair.name() == "path_open" && pair.ours.good() && pair.stock.good()),
    ("buffers", |pair| {
        let moves = matches!(pair.name(), "fd_read" | "fd_pread" | "fd_write" | "fd_pwrite");
        moves && pair.ours.good() && pair.stock.good() && pair.ours.moved() > pair.stock.moved()
    }),
    ("read-only", |pair| {
        let at_input = (0..6).any(|index| pair.number(index).is_some_and(|fd| fd == 3 || fd > 4));
        pair.name().starts_with("path_") && pair.stock.is(Errno::Perm) && (pair.ours.is(Errno::RoFs) || at_input)
    }),
    ("rights", |pair| {
        let sets = pair.name() == "fd_fdstat_set_rights" && pair.stock.is(Errno::NotSup);
        let shows = pair.ours.held == pair.stock.held && pair.ours.rights != pair.stock.rights;
        pair.ours.is(Errno::NotCapable) || sets || shows
    }),
    ("folders-as-files", |pair| pair.ours.is(Errno::IsDir) && pair.stock.is(Errno::BadF)),
    ("files-as-folders", |pair| pair.ours.is(Errno::NotDir) && pair.stock.is(Errno::BadF)),
    ("no-effect", |pair| {
        let idle = matches!(pair.name(), "fd_sync" | "fd_datasync" | "fd_fdstat_set_flags");
        idle && pair.ours.good() && pair.stock.is(Errno::BadF)
    }),
    ("cpu-clocks", |pair| pair.name() == "clock_res_get" && pair.stock.is(Errno::BadF)),
    ("advice", |pair| pair.name() == "fd_advise" && pair.ours.is(Errno::Inval) && pair.stock.good()),
    ("flags", |pair| pair.ours.good() && pair.stock.is(Errno::NotSup)),
    ("follow", |pair| pair.name() == "path_link" && pair.number(1) == Some(1) && pair.stock.is(Errno::Inval)),
    ("events", |pair| pair.name() == "poll_oneoff" && pair.ours.good() && pair.stock.is(Errno::BadF)),
    ("offsets", |pair| pair.name() == "fd_seek" && pair.ours.is(Errno::Inval) && pair.stock.good()),
    ("slashes", |pair| pair.slash()),
];

/// The name of the difference that a pair shows, if it is one.
pub(crate) fn explain(pair: &Pair<'_>) -> Option<&'static str> {
    DIFFERENCES.iter().find(|(_, fits)| fits(pair)).map(|(name, _)| *name)
}

/// All of them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    DIFFERENCES.iter().map(|(name, _)| *name)
}
