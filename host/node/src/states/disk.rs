//! Packs as files: read where they lie, written whole or not at all.

use super::{States, StatesError};
use samebit_runtime::{
    Source,
    pack::{Pack, PackError},
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

/// A pack's file.
pub(super) struct PackFile(pub(super) File);

impl Source for PackFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, into, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let read = std::os::windows::fs::FileExt::seek_read(&self.0, into, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            offset += read as u64;
            into = &mut into[read..];
        }
        Ok(())
    }
}

/// Opens the pack at `path`.
pub(super) fn open_pack(path: &Path) -> io::Result<Pack> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Pack::open(Arc::new(PackFile(file)), len)
}

/// Why a file is no pack, where that is what an error says.
pub(super) fn refusal(error: &io::Error) -> Option<String> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<PackError>()).map(ToString::to_string)
}

impl States {
    /// Writes a file whole or not at all; gives it to be read.
    pub(super) fn write<T>(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<T>,
    ) -> Result<(T, File), StatesError> {
        let partial = path.with_extension("partial");
        let written = (|| {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&partial)?;
            let mut buffered = BufWriter::with_capacity(1 << 18, &file);
            let done = write(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            file.sync_data()?;
            fs::rename(&partial, path)?;
            File::open(&self.dir)?.sync_all()?;
            Ok((done, file))
        })();
        written.map_err(|source| {
            // Ours alone: the folder is locked.
            let _ = fs::remove_file(&partial);
            StatesError::Io { path: path.to_path_buf(), source }
        })
    }
}
