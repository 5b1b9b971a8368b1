//! The enums of a trace (type, origin, tier), and the constants of each type.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Defines an enum whose variants have stable names, which files and the program use.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident ($field:literal) { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All variants, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The stable name, as files and the program use it.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        /// Parses the stable name; the error for an unknown one,
        /// [`InvalidInput`](crate::ErrorKind::InvalidInput), lists the known names.
        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|known| known.as_str()).collect();
                    Error::invalid_text($field, name, format_args!("give one of {}", known.join(", ")))
                })
            }
        }
    };
}

named! {
    /// The type of memory, which sets the defaults of decay rate and strength.
    ///
    /// | | firmware | identity | procedural | trust | semantic | episodic | sensory |
    /// |---|---|---|---|---|---|---|---|
    /// | base decay rate | 0 | 0.001 | 0.005 | 0.008 | 0.010 | 0.020 | 0.100 |
    /// | starting strength | 1.0 | 1.0 | 0.4 | 0.3 | 0.5 | 0.6 | 0.4 |
    TraceType ("type") {
        /// What the agent is built on; never fades.
        Firmware = "firmware",
        /// Who the agent is.
        Identity = "identity",
        /// How to do something.
        Procedural = "procedural",
        /// How reliable somebody is.
        Trust = "trust",
        /// A fact.
        Semantic = "semantic",
        /// An event.
        Episodic = "episodic",
        /// A perception.
        Sensory = "sensory",
    }
}

impl TraceType {
    /// Default exponent of the decay for this type.
    pub fn base_decay_rate(self) -> f64 {
        match self {
            TraceType::Firmware => 0.0,
            TraceType::Identity => 0.001,
            TraceType::Procedural => 0.005,
            TraceType::Trust => 0.008,
            TraceType::Semantic => 0.010,
            TraceType::Episodic => 0.020,
            TraceType::Sensory => 0.100,
        }
    }

    /// Default strength of a new trace of this type.
    pub fn starting_strength(self) -> f64 {
        match self {
            TraceType::Firmware | TraceType::Identity => 1.0,
            TraceType::Procedural | TraceType::Sensory => 0.4,
            TraceType::Trust => 0.3,
            TraceType::Semantic => 0.5,
            TraceType::Episodic => 0.6,
        }
    }

    /// Default confidence of a new trace of this type.
    pub fn confidence(self) -> f64 {
        match self {
            TraceType::Firmware => 1.0,
            _ => 0.5,
        }
    }
}

named! {
    /// The origin of a trace.
    Origin ("origin") {
        /// Built in.
        Firmware = "firmware",
        /// The agent's own experience; the default.
        DirectExperience = "direct_experience",
        /// Another agent.
        MeshTransfer = "mesh_transfer",
        /// The imprint window at the start of the agent's life.
        Imprint = "imprint",
    }
}

named! {
    /// The tier of a trace: how long ago it was reinforced.
    Tier ("tier") {
        /// Reinforced within the last day. The default.
        Hot = "hot",
        /// Reinforced within the last ninety days.
        Warm = "warm",
        /// Reinforced longer ago than that.
        Cold = "cold",
        /// Faded to the threshold of pruning.
        Erased = "erased",
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Tier, TraceType};

    #[test]
    fn every_name_reads_back() -> crate::Result<()> {
        for &kind in TraceType::ALL {
            assert_eq!(kind.as_str().parse::<TraceType>()?, kind);
        }
        for &origin in Origin::ALL {
            assert_eq!(origin.as_str().parse::<Origin>()?, origin);
        }
        for &tier in Tier::ALL {
            assert_eq!(tier.as_str().parse::<Tier>()?, tier);
        }
        let error = "Hot".parse::<Tier>().map_err(|error| error.to_string());
        assert_eq!(error, Err(r#"tier is "Hot": give one of hot, warm, cold, erased"#.to_owned()));
        Ok(())
    }

    #[test]
    fn constants_of_each_type() {
        let table = [
            ("firmware", 0.0, 1.0, 1.0),
            ("identity", 0.001, 1.0, 0.5),
            ("procedural", 0.005, 0.4, 0.5),
            ("trust", 0.008, 0.3, 0.5),
            ("semantic", 0.010, 0.5, 0.5),
            ("episodic", 0.020, 0.6, 0.5),
            ("sensory", 0.100, 0.4, 0.5),
        ];
        let known = TraceType::ALL.iter();
        let known = known.map(|t| (t.as_str(), t.base_decay_rate(), t.starting_strength(), t.confidence()));
        assert!(known.eq(table));
    }
}
