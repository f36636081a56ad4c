//! Each errno that the spec's table of functions names is given by a call, and no refused call leaves a trace.

use crate::script::{self, Line, Ours, Word};
use samebit_spec::{execution::Limits, unit::Bytes};
use samebit_wasi::{Errno, FUNCTIONS};
use std::collections::{BTreeMap, BTreeSet};

/// Errnos that need a world of their own, and the tests of `tests/wasi` that make it.
const ELSEWHERE: [(&str, &str, &str); 2] = [
    ("path_open", "EMFILE", "no_more_than_1024_descriptors_are_open"),
    ("path_rename", "EXDEV", "rename_moves_and_replaces_as_posix_says"),
];
const TESTS: &str = concat!(include_str!("../wasi/descriptors.rs"), include_str!("../wasi/files.rs"));

/// Paths that no walk survives.
const BAD_PATHS: [(&[u8], Errno); 8] = [
    (b"", Errno::NoEnt),
    (b"missing/x", Errno::NoEnt),
    (b"\xff", Errno::IlSeq),
    (b"a\0", Errno::Inval),
    (b"../x", Errno::Perm),
    (b"/x", Errno::Perm),
    (b"g/x", Errno::NotDir),
    (b"ring/x", Errno::Loop),
];

/// The errno of a name such as `EINVAL`.
fn named(name: &str) -> Errno {
    let is = |errno: &&Errno| format!("E{errno:?}").to_uppercase() == name;
    *Errno::ALL.iter().find(is).unwrap_or_else(|| panic!("{name}: no errno"))
}

/// A world with one of everything, and its limits reached.
fn given() -> (Ours, Vec<(Errno, &'static str)>) {
    let limits = Limits { files: Bytes(4096), stdout: Bytes(4096), inodes: 6, ..Limits::default() };
    let mut world = Ours::within(limits);
    let mut refused = Vec::new();
    let mut preparing = false;
    for line in include_str!("errnos.txt").lines().filter(|line| !line.is_empty()) {
        if let Some(title) = line.strip_prefix("# ") {
            preparing = title == "given";
        } else if preparing {
            let call = script::call(line);
            let answer = world.answer(&call);
            assert!(answer.starts_with('0'), "{line}: {answer}");
        } else {
            let (errno, call) = line.split_once(' ').expect("an errno and a call");
            refused.push((named(errno), call));
        }
    }
    (world, refused)
}

fn errno(world: &mut Ours, call: &Line) -> Errno {
    let answer = world.answer(call);
    let number: i32 = answer.split(' ').next().and_then(|end| end.parse().ok()).expect("the call returns");
    *Errno::ALL.iter().find(|errno| errno.to_i32() == number).expect("an errno")
}

#[test]
fn every_call_that_is_refused_gives_its_errno_and_changes_nothing() {
    let (world, refused) = given();
    let before = world.settled();
    for (expected, line) in refused {
        let mut world = world.clone();
        assert_eq!(errno(&mut world, &script::call(line)), expected, "{line}");
        assert_eq!(world.settled(), before, "{line} changed something");
    }
}

#[test]
fn every_path_of_every_call_is_walked_alike() {
    let (world, _) = given();
    let before = world.settled();
    // A sound call of each kind, of which one path after the other is replaced by a bad one.
    let calls = [
        r#"path_create_directory 4 "n""#,
        r#"path_filestat_get 4 0 "g" o64"#,
        r#"path_filestat_set_times 4 0 "g" 0 0 1"#,
        r#"path_link 4 0 "g" 4 "n""#,
        r#"path_open 4 0 "g" 0 0 0 0 o4"#,
        r#"path_readlink 4 "l" b9 o4"#,
        r#"path_remove_directory 4 "e""#,
        r#"path_rename 4 "g" 4 "n""#,
        r#"path_symlink p"t" 1 4 "n""#,
        r#"path_unlink_file 4 "g""#,
    ];
    for text in calls {
        let Line::Call(name, words) = script::call(text) else { panic!("{text}: no call") };
        let paths: Vec<usize> = (0..words.len()).filter(|index| matches!(words[*index], Word::Text(_))).collect();
        assert!(!paths.is_empty(), "{text}");
        let long = "x/".repeat(2049).into_bytes();
        let bad = BAD_PATHS.iter().map(|(path, errno)| (path.to_vec(), *errno)).chain([(long, Errno::NameTooLong)]);
        for (path, expected) in bad {
            for index in &paths {
                let mut words = words.clone();
                words[*index] = Word::Text(path.clone());
                let mut world = world.clone();
                let path = String::from_utf8_lossy(&path[..path.len().min(20)]);
                assert_eq!(errno(&mut world, &Line::Call(name, words)), expected, "{text} with {path:?}");
                assert_eq!(world.settled(), before, "{text} with {path:?} changed something");
            }
        }
    }
}

/// What a row of the spec's table says a function may refuse, walks of paths aside.
fn written(checks: &str) -> BTreeSet<String> {
    let mut errnos: BTreeSet<String> =
        checks.split('`').skip(1).step_by(2).filter(|word| word.starts_with('E')).map(str::to_owned).collect();
    let mut add = |name: &str| errnos.insert(name.to_owned());
    for check in checks.split(';').map(str::trim) {
        match check {
            "file" => {
                add("EISDIR");
                add("ESPIPE");
            }
            "file (folder: `EBADF`)" => {
                add("ESPIPE");
            }
            "folder" | "two folders" => {
                add("ENOTDIR");
            }
            "room" => {
                add("EDQUOT");
            }
            check if check.starts_with("writable") => {
                add("EROFS");
            }
            _ => {}
        }
    }
    if checks.contains(['*']) {
        add("ENOTCAPABLE");
    }
    errnos
}

#[test]
fn the_errnos_in_the_spec_are_the_ones_that_calls_give() {
    let section = crate::SPEC.split("## 6.4").nth(1).and_then(|rest| rest.split("## 6.5").next()).expect("section 4");
    let mut spec: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = row.split(" |").collect();
        for name in columns[0].split('`').skip(1).step_by(2) {
            spec.insert(name.to_owned(), written(columns[1]));
        }
    }
    let functions: BTreeSet<String> = FUNCTIONS.iter().map(|function| function.name.to_owned()).collect();
    assert_eq!(spec.keys().cloned().collect::<BTreeSet<_>>(), functions, "a row for each function");
    let mut tested: BTreeMap<String, BTreeSet<String>> =
        functions.into_iter().map(|name| (name, BTreeSet::new())).collect();
    let mut add = |call: &str, errno: &str| {
        let name = call.split(' ').next().expect("a name");
        tested.get_mut(name).expect("a function").insert(errno.to_owned());
    };
    for (errno, call) in given().1 {
        add(call, &format!("E{errno:?}").to_uppercase());
    }
    for (call, errno, test) in ELSEWHERE {
        assert!(TESTS.contains(&format!("fn {test}")), "{test} is there");
        add(call, errno);
    }
    for (name, errnos) in &spec {
        assert_eq!(errnos, &tested[name], "{name}: the spec and the calls that are refused");
    }
}
