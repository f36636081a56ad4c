//! Greets by name: the smallest task.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// Whom to greet.
#[derive(Deserialize)]
pub struct Guest {
    /// A name; empty greets the world.
    pub name: String,
}

/// What is said.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Greeting {
    /// The sentence.
    pub greeting: String,
}

/// Greets.
#[samebit::task]
pub fn hello(guest: Guest) -> Greeting {
    let name = guest.name.trim();
    Greeting { greeting: format!("Hello, {}!", if name.is_empty() { "world" } else { name }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(name: &str) -> String {
        hello(Guest { name: name.into() }).greeting
    }

    #[test]
    fn a_guest_is_greeted_by_name() {
        assert_eq!(greeting(" Ada "), "Hello, Ada!");
    }

    #[test]
    fn a_guest_without_a_name_is_the_world() {
        assert_eq!(greeting(""), "Hello, world!");
    }
}
