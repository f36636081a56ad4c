//! The 46 functions of `wasi_snapshot_preview1`, by name and core signature.

/// A core value type that WASI functions use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValType {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// A function: what admission checks an import against and what the runtime links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Which one.
    pub call: Call,
    /// Its import name.
    pub name: &'static str,
    /// Its parameters.
    pub params: &'static [ValType],
    /// Its result: an errno, or none for `proc_exit`, which does not return.
    pub result: Option<ValType>,
}

macro_rules! i32_or_i64 {
    (i) => {
        ValType::I32
    };
    (I) => {
        ValType::I64
    };
}

macro_rules! result {
    (errno) => {
        Some(ValType::I32)
    };
    (none) => {
        None
    };
}

macro_rules! functions {
    ($($call:ident $name:literal ($($param:ident)*) $result:ident;)*) => {
        /// A function's number: its place in [`FUNCTIONS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Call {
            $(#[doc = concat!("`", $name, "`.")] $call,)*
        }

        /// Every function of preview1, `sock_accept` included. `i` is an i32, `I` an i64.
        pub const FUNCTIONS: &[Function] = &[$(Function {
            call: Call::$call,
            name: $name,
            params: &[$(i32_or_i64!($param)),*],
            result: result!($result),
        }),*];
    };
}

functions! {
    ArgsGet "args_get" (i i) errno;
    ArgsSizesGet "args_sizes_get" (i i) errno;
    EnvironGet "environ_get" (i i) errno;
    EnvironSizesGet "environ_sizes_get" (i i) errno;
    ClockResGet "clock_res_get" (i i) errno;
    ClockTimeGet "clock_time_get" (i I i) errno;
    FdAdvise "fd_advise" (i I I i) errno;
    FdAllocate "fd_allocate" (i I I) errno;
    FdClose "fd_close" (i) errno;
    FdDatasync "fd_datasync" (i) errno;
    FdFdstatGet "fd_fdstat_get" (i i) errno;
    FdFdstatSetFlags "fd_fdstat_set_flags" (i i) errno;
    FdFdstatSetRights "fd_fdstat_set_rights" (i I I) errno;
    FdFilestatGet "fd_filestat_get" (i i) errno;
    FdFilestatSetSize "fd_filestat_set_size" (i I) errno;
    FdFilestatSetTimes "fd_filestat_set_times" (i I I i) errno;
    FdPread "fd_pread" (i i i I i) errno;
    FdPrestatGet "fd_prestat_get" (i i) errno;
    FdPrestatDirName "fd_prestat_dir_name" (i i i) errno;
    FdPwrite "fd_pwrite" (i i i I i) errno;
    FdRead "fd_read" (i i i i) errno;
    FdReaddir "fd_readdir" (i i i I i) errno;
    FdRenumber "fd_renumber" (i i) errno;
    FdSeek "fd_seek" (i I i i) errno;
    FdSync "fd_sync" (i) errno;
    FdTell "fd_tell" (i i) errno;
    FdWrite "fd_write" (i i i i) errno;
    PathCreateDirectory "path_create_directory" (i i i) errno;
    PathFilestatGet "path_filestat_get" (i i i i i) errno;
    PathFilestatSetTimes "path_filestat_set_times" (i i i i I I i) errno;
    PathLink "path_link" (i i i i i i i) errno;
    PathOpen "path_open" (i i i i i I I i i) errno;
    PathReadlink "path_readlink" (i i i i i i) errno;
    PathRemoveDirectory "path_remove_directory" (i i i) errno;
    PathRename "path_rename" (i i i i i i) errno;
    PathSymlink "path_symlink" (i i i i i) errno;
    PathUnlinkFile "path_unlink_file" (i i i) errno;
    PollOneoff "poll_oneoff" (i i i i) errno;
    ProcExit "proc_exit" (i) none;
    ProcRaise "proc_raise" (i) errno;
    SchedYield "sched_yield" () errno;
    RandomGet "random_get" (i i) errno;
    SockAccept "sock_accept" (i i i) errno;
    SockRecv "sock_recv" (i i i i i i) errno;
    SockSend "sock_send" (i i i i i) errno;
    SockShutdown "sock_shutdown" (i i) errno;
}

impl Call {
    /// The function of this number.
    #[must_use]
    pub const fn function(self) -> &'static Function {
        &FUNCTIONS[self as usize]
    }

    /// The function that a module imports as `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|function| function.name == name).map(|function| function.call)
    }
}
