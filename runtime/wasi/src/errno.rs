//! The error numbers of WASI preview1 (`typenames.witx`, `errno`), all 77 of them by name.

macro_rules! errno {
    ($($name:ident = $number:literal, $doc:literal;)*) => {
        /// How a WASI call ended, as the guest sees it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Errno {
            $(#[doc = $doc] $name = $number,)*
        }

        impl Errno {
            /// Every number, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

errno! {
    Success = 0, "Done.";
    TooBig = 1, "Argument list too long.";
    Acces = 2, "Permission denied.";
    AddrInUse = 3, "Address in use.";
    AddrNotAvail = 4, "Address not available.";
    AfNoSupport = 5, "Address family not supported.";
    Again = 6, "Resource unavailable for now.";
    Already = 7, "Connection already in progress.";
    BadF = 8, "Not an open descriptor.";
    BadMsg = 9, "Bad message.";
    Busy = 10, "Resource busy.";
    Canceled = 11, "Operation cancelled.";
    Child = 12, "No child processes.";
    ConnAborted = 13, "Connection aborted.";
    ConnRefused = 14, "Connection refused.";
    ConnReset = 15, "Connection reset.";
    Deadlk = 16, "Deadlock would follow.";
    DestAddrReq = 17, "Destination address required.";
    Dom = 18, "Argument outside a function's domain.";
    DQuot = 19, "Over the quota of bytes or inodes.";
    Exist = 20, "The name is taken.";
    Fault = 21, "A pointer leads outside memory.";
    FBig = 22, "File too large.";
    HostUnreach = 23, "Host unreachable.";
    IdRm = 24, "Identifier removed.";
    IlSeq = 25, "Not UTF-8.";
    InProgress = 26, "In progress.";
    Intr = 27, "Interrupted.";
    Inval = 28, "Invalid argument.";
    Io = 29, "Input or output failed.";
    IsConn = 30, "Already connected.";
    IsDir = 31, "Is a directory.";
    Loop = 32, "Too many symbolic links.";
    MFile = 33, "Too many open descriptors.";
    MLink = 34, "Too many links.";
    MsgSize = 35, "Message too large.";
    MultiHop = 36, "Reserved.";
    NameTooLong = 37, "Name or path too long.";
    NetDown = 38, "Network down.";
    NetReset = 39, "Connection aborted by the network.";
    NetUnreach = 40, "Network unreachable.";
    NFile = 41, "Too many files open in the system.";
    NoBufs = 42, "No buffer space.";
    NoDev = 43, "No such device.";
    NoEnt = 44, "No such file or directory.";
    NoExec = 45, "Executable format error.";
    NoLck = 46, "No locks available.";
    NoLink = 47, "Reserved.";
    NoMem = 48, "Not enough space.";
    NoMsg = 49, "No message of that type.";
    NoProtoOpt = 50, "Protocol not available.";
    NoSpc = 51, "No space left on the device.";
    NoSys = 52, "Function not supported.";
    NotConn = 53, "Not connected.";
    NotDir = 54, "Not a directory.";
    NotEmpty = 55, "Directory not empty.";
    NotRecoverable = 56, "State not recoverable.";
    NotSock = 57, "Not a socket.";
    NotSup = 58, "Not supported.";
    NotTty = 59, "Not a terminal.";
    NxIo = 60, "No such device or address.";
    Overflow = 61, "Value too large for its type.";
    OwnerDead = 62, "Previous owner died.";
    Perm = 63, "Operation not permitted.";
    Pipe = 64, "Broken pipe.";
    Proto = 65, "Protocol error.";
    ProtoNoSupport = 66, "Protocol not supported.";
    ProtoType = 67, "Wrong protocol type for a socket.";
    Range = 68, "Result too large.";
    RoFs = 69, "Read-only file system.";
    SPipe = 70, "Seeking is not possible.";
    Srch = 71, "No such process.";
    Stale = 72, "Reserved.";
    TimedOut = 73, "Timed out.";
    TxtBsy = 74, "Text file busy.";
    XDev = 75, "Link across file systems.";
    NotCapable = 76, "The descriptor's rights do not cover it.";
}

impl Errno {
    /// The number as the call returns it.
    #[must_use]
    pub const fn to_i32(self) -> i32 {
        self as u16 as i32
    }

    /// The number as a field of an event holds it.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self as u16
    }
}
