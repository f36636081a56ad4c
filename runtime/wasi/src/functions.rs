//! The table of calls, and those that need neither file nor folder.

use crate::{
    Call, Errno, Halt, Stop, Turn, Wasi,
    clock::{self, ClockId},
    layout::{self, Args, PIECE, store32, store64},
};

impl Wasi {
    /// Carries out one call; the clock has ticked already.
    pub(crate) fn dispatch(&mut self, call: Call, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        match call {
            Call::ArgsGet => self.strings_get(args, turn, Strings::Args),
            Call::ArgsSizesGet => self.strings_sizes(args, turn, Strings::Args),
            Call::EnvironGet => self.strings_get(args, turn, Strings::Env),
            Call::EnvironSizesGet => self.strings_sizes(args, turn, Strings::Env),
            Call::ClockResGet => clock_res_get(args, turn),
            Call::ClockTimeGet => clock_time_get(args, turn),
            Call::FdAdvise => self.fd_advise(args),
            Call::FdAllocate => self.fd_allocate(args, turn),
            Call::FdClose => self.fd_close(args),
            Call::FdDatasync => self.fd_sync(args, crate::fd::rights::FD_DATASYNC),
            Call::FdFdstatGet => self.fd_fdstat_get(args, turn),
            Call::FdFdstatSetFlags => self.fd_fdstat_set_flags(args),
            Call::FdFdstatSetRights => self.fd_fdstat_set_rights(args),
            Call::FdFilestatGet => self.fd_filestat_get(args, turn),
            Call::FdFilestatSetSize => self.fd_filestat_set_size(args, turn),
            Call::FdFilestatSetTimes => self.fd_filestat_set_times(args, turn),
            Call::FdPread => self.fd_pread(args, turn),
            Call::FdPrestatGet => self.fd_prestat_get(args, turn),
            Call::FdPrestatDirName => self.fd_prestat_dir_name(args, turn),
            Call::FdPwrite => self.fd_pwrite(args, turn),
            Call::FdRead => self.fd_read(args, turn),
            Call::FdReaddir => self.fd_readdir(args, turn),
            Call::FdRenumber => self.fd_renumber(args),
            Call::FdSeek => self.fd_seek(args, turn),
            Call::FdSync => self.fd_sync(args, crate::fd::rights::FD_SYNC),
            Call::FdTell => self.fd_tell(args, turn),
            Call::FdWrite => self.fd_write(args, turn),
            Call::PathCreateDirectory => self.path_create_directory(args, turn),
            Call::PathFilestatGet => self.path_filestat_get(args, turn),
            Call::PathFilestatSetTimes => self.path_filestat_set_times(args, turn),
            Call::PathLink => self.path_link(args, turn),
            Call::PathOpen => self.path_open(args, turn),
            Call::PathReadlink => self.path_readlink(args, turn),
            Call::PathRemoveDirectory => self.path_remove_directory(args, turn),
            Call::PathRename => self.path_rename(args, turn),
            Call::PathSymlink => self.path_symlink(args, turn),
            Call::PathUnlinkFile => self.path_unlink_file(args, turn),
            Call::PollOneoff => self.poll_oneoff(args, turn),
            Call::ProcExit => Err(Halt::Stop(Stop::Exit(args.int(0)))),
            Call::ProcRaise => Err(Errno::NotSup.into()),
            Call::SchedYield => Ok(()),
            Call::RandomGet => self.random_get(args, turn),
            Call::SockAccept | Call::SockRecv | Call::SockSend | Call::SockShutdown => {
                // No descriptor is ever a socket.
                self.fds.get(args.int(0))?;
                Err(Errno::NotSock.into())
            }
        }
    }

    fn strings(&self, which: Strings) -> &[String] {
        match which {
            Strings::Args => &self.setup.args,
            Strings::Env => &self.setup.env,
        }
    }

    /// `(table, text)`: pointers to the strings, each followed by a NUL, one after another.
    fn strings_get(&self, args: Args<'_>, turn: &mut Turn<'_>, which: Strings) -> Result<(), Halt> {
        let strings = self.strings(which);
        let (table, text) = (args.int(0), args.int(1));
        turn.memory.check(table, strings.len() as u64 * 4)?;
        turn.memory.check(text, bytes_of(strings))?;
        let mut slot = table;
        let mut at = text;
        for string in strings {
            store32(slot, at, turn.memory)?;
            turn.memory.write(at, string.as_bytes())?;
            let end = at.saturating_add(layout::low32(string.len() as u64));
            turn.memory.write(end, &[0])?;
            slot = slot.saturating_add(4);
            at = end.saturating_add(1);
        }
        Ok(())
    }

    /// `(count, bytes)`.
    fn strings_sizes(&self, args: Args<'_>, turn: &mut Turn<'_>, which: Strings) -> Result<(), Halt> {
        let strings = self.strings(which);
        turn.memory.check(args.int(0), 4)?;
        turn.memory.check(args.int(1), 4)?;
        store32(args.int(0), layout::low32(strings.len() as u64), turn.memory)?;
        store32(args.int(1), layout::low32(bytes_of(strings)), turn.memory)?;
        Ok(())
    }

    /// `(buffer, length)`.
    fn random_get(&mut self, args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let (mut at, mut left) = (args.int(0), args.int(1));
        turn.memory.check(at, u64::from(left))?;
        let mut stream = clock::random(&self.setup.seed, self.setup.unit, self.drawn);
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        while left > 0 {
            let part = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.fill(&mut piece[..part]);
            turn.memory.write(at, &piece[..part])?;
            let part = layout::low32(part as u64);
            self.drawn = self.drawn.saturating_add(u64::from(part));
            at = at.saturating_add(part);
            left -= part;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Strings {
    Args,
    Env,
}

/// Bytes that strings take in guest memory, with a NUL behind each.
pub(crate) fn bytes_of(strings: &[String]) -> u64 {
    strings.iter().map(|string| string.len() as u64 + 1).sum()
}

/// `(clock, resolution)`.
fn clock_res_get(args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
    turn.memory.check(args.int(1), 8)?;
    ClockId::of(args.int(0))?;
    Ok(store64(args.int(1), clock::RESOLUTION_NS, turn.memory)?)
}

/// `(clock, precision, time)`. Precision is not looked at.
fn clock_time_get(args: Args<'_>, turn: &mut Turn<'_>) -> Result<(), Halt> {
    turn.memory.check(args.int(2), 8)?;
    let time = match ClockId::of(args.int(0))? {
        ClockId::Realtime | ClockId::Monotonic => turn.now,
        ClockId::Cpu => turn.fuel.0,
    };
    Ok(store64(args.int(2), time, turn.memory)?)
}
