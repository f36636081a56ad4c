//! The table for people and for spreadsheets.

use crate::Census;
use std::fmt::Write;

/// A Markdown document.
pub(crate) fn markdown(census: &Census) -> String {
    let totals = &census.totals;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    line(format!("# Census of {} crates", totals.crates));
    line(String::new());
    line(format!(
        "{} lines of code, {} of comment, {} blank, in {} Rust files. {} uses of `unsafe` in {} crates; {} crates \
         forbid it.",
        totals.code,
        totals.comment,
        totals.blank,
        totals.rust_files,
        totals.unsafe_uses,
        totals.crates_with_unsafe,
        totals.crates_forbidding_unsafe,
    ));
    if !census.malformed.is_empty() {
        let names: Vec<String> = census.malformed.iter().map(|name| cell(name)).collect();
        line(format!("\nNot a census, and left out: {}.", names.join(", ")));
    }
    line("\n| crate | version | licence | unsafe | forbidden | code | comment | blank | files |".to_string());
    line("|---|---|---|---:|---|---:|---:|---:|---:|".to_string());
    for row in &census.crates {
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&row.name),
            cell(&row.version),
            cell(&row.licence),
            row.unsafe_uses,
            if row.forbids_unsafe { "yes" } else { "" },
            row.code,
            row.comment,
            row.blank,
            row.files,
        ));
    }
    line("\n| licence | crates | code |".to_string());
    line("|---|---:|---:|".to_string());
    for licence in &census.licences {
        line(format!("| {} | {} | {} |", cell(&licence.licence), licence.crates, licence.code));
    }
    out
}

/// Comma-separated values with a head, one line for each crate.
pub(crate) fn csv(census: &Census) -> String {
    let mut out = String::from(
        "name,version,licence,unsafe_uses,forbids_unsafe,code,comment,blank,rust_files,files,bytes,malformed_files\n",
    );
    for row in &census.crates {
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            quoted(&row.name),
            quoted(&row.version),
            quoted(&row.licence),
            row.unsafe_uses,
            row.forbids_unsafe,
            row.code,
            row.comment,
            row.blank,
            row.rust_files,
            row.files,
            row.bytes,
            row.malformed_files,
        );
    }
    out
}

/// Text as one cell of a Markdown table.
fn cell(text: &str) -> String {
    one_line(text).replace('\\', "\\\\").replace('|', "\\|")
}

/// Text as one field of a CSV line.
fn quoted(text: &str) -> String {
    let text = one_line(text);
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn one_line(text: &str) -> String {
    text.chars().map(|next| if next.is_control() { ' ' } else { next }).collect()
}
