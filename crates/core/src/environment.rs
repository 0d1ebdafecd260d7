//! The two slots of a service, and how new requests are shared between them.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two slots of a service; holds at most one release and its instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The blue slot.
    Blue,
    /// The green slot.
    Green,
}

impl Environment {
    /// Both slots, blue first.
    pub const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// The other slot.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// The word used in files, JSON, metrics and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// The text named no environment.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an environment: it is `blue` or `green`")]
pub struct UnknownEnvironment(String);

impl FromStr for Environment {
    type Err = UnknownEnvironment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "blue" => Ok(Self::Blue),
            "green" => Ok(Self::Green),
            other => Err(UnknownEnvironment(other.to_owned())),
        }
    }
}

/// One value for each slot, indexed by [`Environment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct PerEnvironment<T> {
    /// The value of the blue slot.
    pub blue: T,
    /// The value of the green slot.
    pub green: T,
}

impl<T> PerEnvironment<T> {
    /// Makes a pair by asking for each slot's value.
    pub fn from_fn(mut value: impl FnMut(Environment) -> T) -> Self {
        Self { blue: value(Environment::Blue), green: value(Environment::Green) }
    }

    /// The slots with their values, blue first.
    pub fn iter(&self) -> impl Iterator<Item = (Environment, &T)> {
        Environment::ALL.into_iter().map(|environment| (environment, &self[environment]))
    }
}

impl<T> Index<Environment> for PerEnvironment<T> {
    type Output = T;

    fn index(&self, environment: Environment) -> &T {
        match environment {
            Environment::Blue => &self.blue,
            Environment::Green => &self.green,
        }
    }
}

impl<T> IndexMut<Environment> for PerEnvironment<T> {
    fn index_mut(&mut self, environment: Environment) -> &mut T {
        match environment {
            Environment::Blue => &mut self.blue,
            Environment::Green => &mut self.green,
        }
    }
}

/// The share of new requests each slot gets, in percent; the two always add up to 100 (I1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WeightsText", into = "WeightsText")]
pub struct Weights {
    green: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightsText {
    blue: u8,
    green: u8,
}

/// Two weights that do not add up to 100.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the weights of blue ({blue}) and green ({green}) must add up to 100")]
pub struct UnevenWeights {
    blue: u8,
    green: u8,
}

impl Weights {
    /// Checks that the two percentages add up to 100.
    ///
    /// # Errors
    /// [`UnevenWeights`] if they do not.
    pub fn new(blue: u8, green: u8) -> Result<Self, UnevenWeights> {
        if u16::from(blue) + u16::from(green) == 100 {
            Ok(Self { green })
        } else {
            Err(UnevenWeights { blue, green })
        }
    }

    /// Everything to one slot.
    #[must_use]
    pub fn all_to(environment: Environment) -> Self {
        Self { green: if environment == Environment::Green { 100 } else { 0 } }
    }

    /// The percentage of one slot.
    #[must_use]
    pub fn of(self, environment: Environment) -> u8 {
        match environment {
            Environment::Blue => 100 - self.green,
            Environment::Green => self.green,
        }
    }

    /// The slot that has everything, if one has.
    #[must_use]
    pub fn sole(self) -> Option<Environment> {
        Environment::ALL.into_iter().find(|environment| self.of(*environment) == 100)
    }
}

impl TryFrom<WeightsText> for Weights {
    type Error = UnevenWeights;

    fn try_from(text: WeightsText) -> Result<Self, UnevenWeights> {
        Self::new(text.blue, text.green)
    }
}

impl From<Weights> for WeightsText {
    fn from(weights: Weights) -> Self {
        Self { blue: weights.of(Environment::Blue), green: weights.of(Environment::Green) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_do_not_add_up_to_100_are_refused_wherever_they_come_from() {
        assert_eq!(Weights::new(60, 41), Err(UnevenWeights { blue: 60, green: 41 }));
        assert_eq!(Weights::new(255, 101), Err(UnevenWeights { blue: 255, green: 101 }));
        assert!(serde_json::from_str::<Weights>(r#"{"blue":50,"green":49}"#).is_err());
        assert_eq!(
            serde_json::to_string(&Weights::new(30, 70).unwrap()).unwrap(),
            r#"{"blue":30,"green":70}"#
        );
    }
}
