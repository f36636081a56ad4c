//! Checks what a chain begins with (`spec/05-settlement.md`, section 1).

use samebit_spec::{
    block::Genesis,
    param::{NAME_MAX, ParamError, SUPPLY_MAX},
    sign::{PublicKey, SignatureError},
    unit::MicroCredits,
};

/// Why a genesis begins no chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// The name is empty, too long, or holds control characters.
    #[error("network name {name:?} is not 1 to {max} printable bytes", max = NAME_MAX)]
    Network {
        /// The name.
        name: String,
    },
    /// The validator's or an account's key.
    #[error(transparent)]
    Key(#[from] SignatureError),
    /// A parameter out of its bounds.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// Accounts are not sorted, each once.
    #[error("account {key} is out of order: accounts are sorted by key, each once")]
    Order {
        /// The account that breaks the order.
        key: PublicKey,
    },
    /// More money than sums can hold.
    #[error("the supply is above {max}", max = SUPPLY_MAX)]
    Supply,
}

/// Checks `genesis` and adds up its supply.
///
/// # Errors
/// [`GenesisError`] for the first rule it breaks.
pub(crate) fn check(genesis: &Genesis) -> Result<MicroCredits, GenesisError> {
    let name = &genesis.network;
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(GenesisError::Network { name: name.chars().take(NAME_MAX).collect() });
    }
    genesis.validator.check()?;
    genesis.params.check()?;
    let mut supply = MicroCredits::ZERO;
    for (at, (key, amount)) in genesis.accounts.iter().enumerate() {
        key.check()?;
        if at > 0 && genesis.accounts[at - 1].0 >= *key {
            return Err(GenesisError::Order { key: *key });
        }
        supply = supply.checked_add(*amount).filter(|supply| *supply <= SUPPLY_MAX).ok_or(GenesisError::Supply)?;
    }
    Ok(supply)
}
