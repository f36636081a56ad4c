//! What a crate says of itself in `Cargo.toml`.

use serde::Serialize;
use std::io;
use toml::Table;

/// Whether there was a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manifest {
    /// It was read.
    Read,
    /// There is none.
    #[default]
    Missing,
    /// It is no TOML, or describes no package.
    Malformed,
}

/// What a crate says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Package {
    /// Whether it says anything.
    pub manifest: Manifest,
    /// Empty when not said.
    pub name: String,
    /// Empty when not said.
    pub version: String,
    /// An SPDX expression, `file NAME`, or `none`.
    pub licence: String,
}

/// Reads a manifest that may be missing, or anything at all.
#[must_use]
pub fn read(bytes: io::Result<Vec<u8>>) -> Package {
    let nothing =
        |manifest| Package { manifest, name: String::new(), version: String::new(), licence: "none".to_string() };
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return nothing(Manifest::Missing),
        Err(_) => return nothing(Manifest::Malformed),
    };
    let table = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Table>().ok());
    let Some(package) = table.as_ref().and_then(|table| table.get("package")?.as_table()) else {
        return nothing(Manifest::Malformed);
    };
    // A field that is inherited from a workspace is a table here, and its value is not in this tree.
    let field = |name: &str| match package.get(name) {
        Some(toml::Value::String(text)) => Some(text.split_whitespace().collect::<Vec<_>>().join(" ")),
        Some(toml::Value::Table(_)) => Some("inherited".to_string()),
        Some(_) | None => None,
    };
    Package {
        manifest: Manifest::Read,
        name: field("name").unwrap_or_default(),
        version: field("version").unwrap_or_default(),
        licence: field("license")
            // Crates from before 2018 write `MIT/Apache-2.0`.
            .map(|licence| licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR "))
            .or_else(|| field("license-file").map(|file| format!("file {file}")))
            .unwrap_or_else(|| "none".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licence(line: &str) -> String {
        read(Ok(format!("[package]\nname = \"x\"\n{line}\n").into_bytes())).licence
    }

    #[test]
    fn a_licence_is_read_as_its_crate_wrote_it() {
        assert_eq!(licence("license = \"MIT OR Apache-2.0\""), "MIT OR Apache-2.0");
        assert_eq!(licence("license = \"MIT/Apache-2.0\""), "MIT OR Apache-2.0");
        assert_eq!(licence("license-file = \"LICENSE\""), "file LICENSE");
        assert_eq!(licence("license.workspace = true"), "inherited");
        assert_eq!(licence("license = 7"), "none");
        assert_eq!(licence(""), "none");
    }

    #[test]
    fn what_is_no_manifest_is_named_so() {
        assert_eq!(read(Ok(b"\xff\xfe".to_vec())).manifest, Manifest::Malformed);
        assert_eq!(read(Ok(b"[workspace]\n".to_vec())).manifest, Manifest::Malformed);
        assert_eq!(read(Ok(b"package = 1\n".to_vec())).manifest, Manifest::Malformed);
        assert_eq!(read(Err(io::ErrorKind::NotFound.into())).manifest, Manifest::Missing);
    }
}
