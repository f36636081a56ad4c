//! Files that a run leaves where the user wants them: whole or not at all, and never over another.

use crate::{exit::Exit, report::Failure};
use samebit_runtime::OutputBytes;
use samebit_spec::history::Trace;
use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Refuses an output folder with something in it.
pub(super) fn check_out(out: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(out).is_ok_and(|found| found.file_type().is_symlink()) {
        return Err(Failure::new(Exit::Usage, format!("{} is a symbolic link", out.display()))
            .help("give --out the folder itself, new or empty: a link is not followed"));
    }
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("{} is there and is no empty folder", out.display()))
        .help("choose another folder for --out: nothing is overwritten"))
}

/// Writes all files or none: into a folder beside `out`, which then gets its name.
pub(super) fn write_out(out: &Path, files: &[(String, OutputBytes)]) -> Result<(), Failure> {
    let written = (|| -> io::Result<()> {
        let out = std::path::absolute(out)?;
        let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a folder's name"));
        };
        fs::create_dir_all(parent)?;
        let partial = parent.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        fs::create_dir(&partial)?;
        let done = write_files(&partial, files).and_then(|()| fs::rename(&partial, &out));
        if done.is_err() {
            // Ours alone: nobody else makes this name.
            let _ = fs::remove_dir_all(&partial);
        }
        done
    })();
    written.map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", out.display())))
}

fn write_files(folder: &Path, files: &[(String, OutputBytes)]) -> io::Result<()> {
    let mut made = BTreeSet::new();
    for (path, bytes) in files {
        // The sandbox gives sound relative paths; whatever is not one is refused here again.
        let sound = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !sound || Path::new(path).is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{path:?} leaves the folder")));
        }
        let at = folder.join(path);
        if let Some(parent) = at.parent()
            && made.insert(parent.to_path_buf())
        {
            fs::create_dir_all(parent)?;
        }
        let mut file = BufWriter::with_capacity(1 << 18, fs::File::create_new(&at)?);
        bytes.parts().try_for_each(|part| file.write_all(part))?;
        file.flush()?;
    }
    Ok(())
}

/// Refuses a trace that could not be written once the work is done.
pub(super) fn check_trace(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::new(Exit::Usage, format!("{} is there", path.display()))
            .help("choose another file for --trace: nothing is overwritten"));
    }
    let partial = partial(path);
    let tried = fs::File::create_new(&partial).and_then(|_| fs::remove_file(&partial));
    tried.map_err(|error| {
        Failure::new(Exit::Environment, format!("{}: {error}", path.display()))
            .help("give --trace a file in a folder that is there and can be written; nothing was run")
    })
}

/// A name that nobody else makes.
fn partial(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.partial", std::process::id()))
}

/// Writes the history whole or not at all.
pub(super) fn write_trace(path: &Path, trace: &Trace) -> Result<(), Failure> {
    let partial = partial(path);
    let written = fs::write(&partial, trace.encode()).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| {
        // Ours alone: nobody else makes this name.
        let _ = fs::remove_file(&partial);
        Failure::new(Exit::Environment, format!("{}: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_written_whole_into_a_new_folder_and_never_over_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let out = dir.path().join("out");
        let files = [("a/b".to_owned(), b"1".to_vec().into()), ("c".to_owned(), b"2".to_vec().into())];
        check_out(&out).expect("it is new");
        write_out(&out, &files).expect("written");
        assert_eq!(fs::read(out.join("a/b")).expect("there"), b"1");
        assert_eq!(check_out(&out).expect_err("it is not empty").exit, Exit::Usage);
        let hostile = [("c".to_owned(), b"2".to_vec().into()), ("../c".to_owned(), b"3".to_vec().into())];
        write_out(&dir.path().join("other"), &hostile).expect_err("it leaves the folder");
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left over");
    }
}
