//! Every exit code of the program, once. Documented in `samebit --help` and `spec/08-commands.md`.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: a bug in samebit.
    Bug,
    /// 2: usage (clap's own code).
    Usage,
    /// 3: not found.
    NotFound,
    /// 4: settings or environment; see `samebit doctor`.
    Environment,
    /// 5: network unreachable.
    Unreachable,
    /// 6: waited too long.
    TimedOut,
    /// 7: refused: funds, no eligible host, policy.
    Refused,
    /// 20: the task trapped.
    Trapped,
    /// 21: a limit was used up (fuel, step fuel, steps, memory at start).
    LimitReached,
    /// 22: the module is refused.
    ModuleRefused,
    /// 30: outputs differ: evidence of a wrong result.
    OutputsDiffer,
    /// 31: ledger or signature does not verify.
    LedgerInvalid,
    /// 32: cannot tell: inputs missing or hardware absent.
    CannotTell,
    /// 130: interrupted.
    Interrupted,
    /// The guest's own exit code, passed through by `samebit run`.
    Guest(u8),
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Environment => 4,
            Self::Unreachable => 5,
            Self::TimedOut => 6,
            Self::Refused => 7,
            Self::Trapped => 20,
            Self::LimitReached => 21,
            Self::ModuleRefused => 22,
            Self::OutputsDiffer => 30,
            Self::LedgerInvalid => 31,
            Self::CannotTell => 32,
            Self::Interrupted => 130,
            Self::Guest(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
