//! Reduces many results of `census` to one table: JSON, Markdown and CSV.
//!
//! The input tree holds one result for each unit, named `N.json` or `N/result`. What is no census is named in the
//! table and left out of its sums.
#![forbid(unsafe_code)]

mod write;

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

/// Longest result that is read.
const RESULT_BYTES_MAX: u64 = 64 * 1024;

/// One crate, as `census` counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence.
    pub licence: String,
    /// Files of any kind.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// Files of Rust.
    pub rust_files: u64,
    /// Files that could not be counted.
    pub malformed_files: u64,
    /// Lines with code.
    pub code: u64,
    /// Lines with comment only.
    pub comment: u64,
    /// Lines with nothing.
    pub blank: u64,
    /// Uses of `unsafe`.
    pub unsafe_uses: u64,
    /// Whether it forbids unsafe code.
    pub forbids_unsafe: bool,
}

/// All crates together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many.
    pub crates: u64,
    /// How many say `forbid(unsafe_code)`.
    pub crates_forbidding_unsafe: u64,
    /// How many use `unsafe`.
    pub crates_with_unsafe: u64,
    /// Files of any kind.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// Files of Rust.
    pub rust_files: u64,
    /// Files that could not be counted.
    pub malformed_files: u64,
    /// Lines with code.
    pub code: u64,
    /// Lines with comment only.
    pub comment: u64,
    /// Lines with nothing.
    pub blank: u64,
    /// Uses of `unsafe`.
    pub unsafe_uses: u64,
}

/// All crates under one licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Licence {
    /// The licence.
    pub licence: String,
    /// How many crates.
    pub crates: u64,
    /// Their lines with code.
    pub code: u64,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// The crates: most uses of `unsafe` first, then most code, then by name and version.
    pub crates: Vec<Row>,
    /// Their sums.
    pub totals: Totals,
    /// Their licences: most crates first, then by name.
    pub licences: Vec<Licence>,
    /// Results that are no census.
    pub malformed: Vec<String>,
}

/// Why there is no table.
#[derive(Debug)]
pub enum TableError {
    /// A folder cannot be listed, or a file cannot be written.
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no result in the input.
    Empty,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Empty => f.write_str("no result in /in: expected files named N.json or N/result"),
        }
    }
}

/// Makes the table and writes `census.md` and `census.csv`.
#[samebit::task]
pub fn census_table() -> Result<Census, TableError> {
    let census = reduce(&samebit::input_dir())?;
    for (name, text) in [("census.md", write::markdown(&census)), ("census.csv", write::csv(&census))] {
        let path = samebit::output_dir().join(name);
        std::fs::write(&path, text).map_err(|source| TableError::Io { path, source })?;
    }
    Ok(census)
}

/// Reads every result below `root`.
fn reduce(root: &Path) -> Result<Census, TableError> {
    let mut census = Census::default();
    for path in results(root)? {
        match read(&root.join(&path)) {
            Some(row) => census.crates.push(row),
            None => census.malformed.push(path.display().to_string()),
        }
    }
    if census.crates.is_empty() && census.malformed.is_empty() {
        return Err(TableError::Empty);
    }
    census.crates.sort_by(|a, b| {
        let key = |row: &Row| (u64::MAX - row.unsafe_uses, u64::MAX - row.code);
        key(a).cmp(&key(b)).then_with(|| (&a.name, &a.version).cmp(&(&b.name, &b.version)))
    });
    census.totals = totals(&census.crates);
    census.licences = licences(&census.crates);
    Ok(census)
}

/// The results below `root`, relative to it, in the order of their paths.
fn results(root: &Path) -> Result<Vec<PathBuf>, TableError> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let error = |source| TableError::Io { path: at.clone(), source };
        for entry in std::fs::read_dir(&at).map_err(error)? {
            let entry = entry.map_err(error)?;
            let path = folder.join(entry.file_name());
            if entry.file_type().map_err(error)?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "json")
                || path.file_name().is_some_and(|it| it == "result")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Option<Row> {
    if std::fs::metadata(path).ok()?.len() > RESULT_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn totals(rows: &[Row]) -> Totals {
    // A result is data from others: sums are held at the top rather than wrapping.
    let sum = |field: fn(&Row) -> u64| rows.iter().fold(0u64, |sum, row| sum.saturating_add(field(row)));
    Totals {
        crates: rows.len() as u64,
        crates_forbidding_unsafe: rows.iter().filter(|row| row.forbids_unsafe).count() as u64,
        crates_with_unsafe: rows.iter().filter(|row| row.unsafe_uses > 0).count() as u64,
        files: sum(|row| row.files),
        bytes: sum(|row| row.bytes),
        rust_files: sum(|row| row.rust_files),
        malformed_files: sum(|row| row.malformed_files),
        code: sum(|row| row.code),
        comment: sum(|row| row.comment),
        blank: sum(|row| row.blank),
        unsafe_uses: sum(|row| row.unsafe_uses),
    }
}

fn licences(rows: &[Row]) -> Vec<Licence> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let (crates, code) = sums.entry(sorted(&row.licence)).or_default();
        *crates += 1;
        *code = code.saturating_add(row.code);
    }
    let mut licences: Vec<Licence> =
        sums.into_iter().map(|(licence, (crates, code))| Licence { licence, crates, code }).collect();
    // The sort is stable, so names stay in order among equals.
    licences.sort_by_key(|licence| u64::MAX - licence.crates);
    licences
}

/// A choice of licences in the order of their names: `MIT OR Apache-2.0` is `Apache-2.0 OR MIT`. Any other expression
/// stays as it is.
fn sorted(licence: &str) -> String {
    let mut choices: Vec<&str> = licence.split(" OR ").collect();
    if choices.iter().all(|choice| !choice.contains([' ', '(', ')'])) {
        choices.sort_unstable();
    }
    choices.join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, licence: &str, code: u64, unsafe_uses: u64) -> Row {
        Row { name: name.into(), version: "1.0.0".into(), licence: licence.into(), code, unsafe_uses, ..Row::default() }
    }

    fn table(files: &[(&str, String)]) -> (Result<Census, TableError>, String, String) {
        let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = input.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let census = samebit::native::within(input.path(), output.path(), census_table);
        let text = |name| std::fs::read_to_string(output.path().join(name)).unwrap_or_default();
        (census, text("census.md"), text("census.csv"))
    }

    fn json(row: &Row) -> String {
        serde_json::to_string(row).unwrap()
    }

    #[test]
    fn crates_with_most_unsafe_come_first_and_sums_are_of_all() {
        let (census, markdown, csv) = table(&[
            ("0.json", json(&row("calm", "MIT", 900, 0))),
            ("1.json", json(&row("wild", "MIT OR Apache-2.0", 100, 7))),
            ("2/result", json(&row("big", "MIT", 2_000, 0))),
        ]);
        let census = census.unwrap();
        let names: Vec<&str> = census.crates.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["wild", "big", "calm"]);
        assert_eq!((census.totals.crates, census.totals.code, census.totals.unsafe_uses), (3, 3_000, 7));
        assert_eq!((census.licences[0].licence.as_str(), census.licences[0].crates), ("MIT", 2));
        assert!(markdown.contains("| wild | 1.0.0 | MIT OR Apache-2.0 |"), "{markdown}");
        assert_eq!(csv.lines().count(), 4);
    }

    #[test]
    fn what_is_no_census_is_named_and_left_out() {
        let (census, markdown, _) =
            table(&[("0.json", "{".into()), ("1.json", json(&row("calm", "MIT", 9, 0))), ("2.json", "[]".into())]);
        let census = census.unwrap();
        assert_eq!(census.malformed, ["0.json", "2.json"]);
        assert_eq!(census.totals.crates, 1);
        assert!(markdown.contains("left out: 0.json, 2.json."), "{markdown}");
    }

    #[test]
    fn no_name_breaks_out_of_its_cell() {
        let nasty = row("a|b\n| c", "\"MIT\", =1+1", u64::MAX, 1);
        let (census, markdown, csv) = table(&[("0.json", json(&nasty)), ("1.json", json(&nasty))]);
        assert_eq!(census.unwrap().totals.code, u64::MAX);
        assert!(markdown.contains("| a\\|b \\| c |"), "{markdown}");
        assert!(csv.contains("\"\"\"MIT\"\", =1+1\""), "{csv}");
        assert_eq!(csv.lines().count(), 3);
    }

    #[test]
    fn a_choice_of_licences_is_one_licence_whatever_its_order() {
        let cases = [
            ("MIT OR Apache-2.0", "Apache-2.0 OR MIT"),
            ("Apache-2.0 OR MIT", "Apache-2.0 OR MIT"),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", "(MIT OR Apache-2.0) AND Unicode-3.0"),
            ("MIT OR Apache-2.0 WITH LLVM-exception", "MIT OR Apache-2.0 WITH LLVM-exception"),
            ("none", "none"),
        ];
        for (given, same) in cases {
            assert_eq!(sorted(given), same);
        }
    }

    #[test]
    fn an_empty_input_is_an_error_that_says_what_is_expected() {
        assert!(table(&[]).0.unwrap_err().to_string().contains("N.json"));
    }
}
