//! The functions of `wasi_snapshot_preview1` with their core signatures (`spec/03-execution.md`, section 2).
//!
//! Data only: admission checks a module's imports against it, `samebit-wasi` gives the functions their
//! meaning. Source: the published `wasi_snapshot_preview1.witx`, lowered to core types, `sock_accept` included.

/// A core value type that these functions use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CoreType {
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
}

/// One function: its import name and core type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name within [`crate::abi::WASI_MODULE`].
    pub name: &'static str,
    /// Parameters, in order.
    pub params: &'static [CoreType],
    /// An errno, or nothing for `proc_exit`, which does not return.
    pub result: Option<CoreType>,
}

/// The function of this name.
#[must_use]
pub fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.iter().find(|signature| signature.name == name)
}

macro_rules! core_type {
    (i) => {
        CoreType::I32
    };
    (I) => {
        CoreType::I64
    };
}

macro_rules! result {
    (errno) => {
        Some(CoreType::I32)
    };
    (none) => {
        None
    };
}

macro_rules! signatures {
    ($($name:ident ($($param:ident)*) $result:ident;)*) => {
        /// All of them. `i` is an i32, `I` an i64.
        pub const SIGNATURES: &[Signature] = &[$(Signature {
            name: stringify!($name),
            params: &[$(core_type!($param)),*],
            result: result!($result),
        }),*];
    };
}

signatures! {
    args_get(i i) errno;
    args_sizes_get(i i) errno;
    environ_get(i i) errno;
    environ_sizes_get(i i) errno;
    clock_res_get(i i) errno;
    clock_time_get(i I i) errno;
    fd_advise(i I I i) errno;
    fd_allocate(i I I) errno;
    fd_close(i) errno;
    fd_datasync(i) errno;
    fd_fdstat_get(i i) errno;
    fd_fdstat_set_flags(i i) errno;
    fd_fdstat_set_rights(i I I) errno;
    fd_filestat_get(i i) errno;
    fd_filestat_set_size(i I) errno;
    fd_filestat_set_times(i I I i) errno;
    fd_pread(i i i I i) errno;
    fd_prestat_get(i i) errno;
    fd_prestat_dir_name(i i i) errno;
    fd_pwrite(i i i I i) errno;
    fd_read(i i i i) errno;
    fd_readdir(i i i I i) errno;
    fd_renumber(i i) errno;
    fd_seek(i I i i) errno;
    fd_sync(i) errno;
    fd_tell(i i) errno;
    fd_write(i i i i) errno;
    path_create_directory(i i i) errno;
    path_filestat_get(i i i i i) errno;
    path_filestat_set_times(i i i i I I i) errno;
    path_link(i i i i i i i) errno;
    path_open(i i i i i I I i i) errno;
    path_readlink(i i i i i i) errno;
    path_remove_directory(i i i) errno;
    path_rename(i i i i i i) errno;
    path_symlink(i i i i i) errno;
    path_unlink_file(i i i) errno;
    poll_oneoff(i i i i) errno;
    proc_exit(i) none;
    proc_raise(i) errno;
    sched_yield() errno;
    random_get(i i) errno;
    sock_accept(i i i) errno;
    sock_recv(i i i i i i) errno;
    sock_send(i i i i i) errno;
    sock_shutdown(i i) errno;
}
