//! Counts one crate's source tree: files, lines, licence and uses of `unsafe`.
//!
//! The tree is the job's input, `/in`. Some bytes of it are read in each step, however long the files are. Nothing in the tree can stop the count:
//! what cannot be read as it should be is counted too.
#![forbid(unsafe_code)]

mod lexer;
mod manifest;

use samebit::{Step, Steps};
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
};

pub use lexer::{Counts, count};
pub use manifest::{Manifest, Package, read};

/// Bytes of Rust source that one step counts, about.
const STEP_BYTES: usize = 1024 * 1024;
/// What opening a file counts as.
const FILE_BYTES: usize = 4096;

/// What there is to know of a crate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Its name; empty when its manifest has none.
    pub name: String,
    /// Its version; empty when its manifest has none.
    pub version: String,
    /// Its licence as an SPDX expression, `file NAME`, or `none`.
    pub licence: String,
    /// Whether there was a manifest.
    pub manifest: Manifest,
    /// Regular files of any kind.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// Files named `*.rs`.
    pub rust_files: u64,
    /// Files that could not be read, or `*.rs` that is not UTF-8. No lines are counted in them.
    pub malformed_files: u64,
    /// Lines with code on them.
    pub code: u64,
    /// Lines with nothing but comment on them.
    pub comment: u64,
    /// Lines with nothing on them.
    pub blank: u64,
    /// The keyword `unsafe` in code, not in comments or strings.
    pub unsafe_uses: u64,
    /// Whether some file says `forbid(unsafe_code)`.
    pub forbids_unsafe: bool,
}

/// The count so far.
#[samebit::task]
pub struct Count {
    root: PathBuf,
    /// Rust files still to read, the first one last.
    rest: Vec<PathBuf>,
    /// The file that is being counted.
    file: Option<lexer::Lexer>,
    census: Census,
}

impl Steps for Count {
    type Input = ();
    type Output = Census;
    type Error = CensusError;

    fn start((): ()) -> Result<Self, CensusError> {
        let root = samebit::input_dir();
        let mut census = Census::default();
        let mut rest = Vec::new();
        walk(&root, &mut census, &mut rest)?;
        let package = manifest::read(std::fs::read(root.join("Cargo.toml")));
        (census.manifest, census.name) = (package.manifest, package.name);
        (census.version, census.licence) = (package.version, package.licence);
        rest.sort_by(|a, b| b.cmp(a));
        Ok(Self { root, rest, file: None, census })
    }

    fn step(&mut self) -> Result<Step, CensusError> {
        let mut left = STEP_BYTES;
        loop {
            if let Some(file) = &mut self.file {
                let before = file.at();
                if !file.advance(left) {
                    return Ok(Step::More);
                }
                left = left.saturating_sub(file.at() - before);
                self.census.add(file.counts);
                self.file = None;
            }
            if left == 0 && !self.rest.is_empty() {
                return Ok(Step::More);
            }
            let Some(path) = self.rest.pop() else {
                return Ok(Step::Done);
            };
            // Opening a file is work too, even an empty one.
            left = left.saturating_sub(FILE_BYTES);
            self.open(&path);
        }
    }

    fn finish(self) -> Result<Census, CensusError> {
        Ok(self.census)
    }
}

impl Count {
    /// Takes up the next file.
    fn open(&mut self, path: &Path) {
        match std::fs::read_to_string(self.root.join(path)) {
            Ok(text) => self.file = Some(lexer::Lexer::new(text)),
            Err(_) => self.census.malformed_files += 1,
        }
    }
}

impl Census {
    fn add(&mut self, counts: Counts) {
        self.code += counts.code;
        self.comment += counts.comment;
        self.blank += counts.blank;
        self.unsafe_uses += counts.unsafe_uses;
        self.forbids_unsafe |= counts.forbids_unsafe;
    }
}

/// Why there is no count.
#[derive(Debug)]
pub struct CensusError {
    path: PathBuf,
    source: io::Error,
}

impl std::fmt::Display for CensusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listing {}: {}", self.path.display(), self.source)
    }
}

/// Counts the files below `root` and lists those of Rust, relative to it.
fn walk(root: &Path, census: &mut Census, rust: &mut Vec<PathBuf>) -> Result<(), CensusError> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let error = |source| CensusError { path: at.clone(), source };
        for entry in std::fs::read_dir(&at).map_err(error)? {
            let entry = entry.map_err(error)?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(error)?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                census.files += 1;
                match entry.metadata() {
                    Ok(metadata) => census.bytes += metadata.len(),
                    Err(_) => census.malformed_files += 1,
                }
                if path.extension().is_some_and(|extension| extension == "rs") {
                    census.rust_files += 1;
                    rust.push(path);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(files: &[(&str, &[u8])]) -> (Census, u32) {
        let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (path, bytes) in files {
            let path = input.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        samebit::native::within(input.path(), output.path(), || samebit::native::run::<Count>(()).unwrap())
    }

    #[test]
    fn a_crate_is_counted_with_all_its_folders() {
        let (census, _) = census(&[
            ("Cargo.toml", b"[package]\nname = \"tiny\"\nversion = \"1.2.3\"\nlicense = \"MIT\"\n"),
            ("README.md", b"# tiny\n"),
            ("src/lib.rs", b"//! Tiny.\n#![forbid(unsafe_code)]\n\nmod deep;\n"),
            ("src/deep/mod.rs", b"fn f() {}\n"),
        ]);
        assert_eq!((census.name.as_str(), census.version.as_str(), census.licence.as_str()), ("tiny", "1.2.3", "MIT"));
        assert_eq!((census.files, census.rust_files, census.malformed_files), (4, 2, 0));
        assert_eq!((census.code, census.comment, census.blank), (3, 1, 1));
        assert!(census.forbids_unsafe);
    }

    #[test]
    fn files_that_are_not_what_they_should_be_are_counted_and_stop_nothing() {
        let (census, _) = census(&[
            ("Cargo.toml", b"[package\nname = 3"),
            ("src/lib.rs", b"fn f() {}\n"),
            ("src/latin.rs", b"// caf\xe9\n"),
            ("src/open.rs", b"/* never closed \" r#\""),
        ]);
        assert_eq!(census.manifest, Manifest::Malformed);
        assert_eq!((census.rust_files, census.malformed_files, census.code, census.comment), (3, 1, 1, 1));
    }

    #[test]
    fn an_empty_tree_has_an_empty_census() {
        let (census, steps) = census(&[]);
        assert_eq!(census, Census { manifest: Manifest::Missing, licence: "none".into(), ..Census::default() });
        assert_eq!(steps, 1);
    }

    #[test]
    fn a_large_crate_takes_several_steps() {
        let long = "fn f() {}\n".repeat(80_000);
        let files: Vec<(String, &[u8])> = (0..4).map(|n| (format!("src/m{n}.rs"), long.as_bytes())).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), *bytes)).collect();
        let (census, steps) = census(&files);
        assert_eq!((census.code, steps), (320_000, 4));
    }
}
