//! The closed sets of names a trace is described with, and the constants of each type.

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Defines an enum whose variants have one stable name each, used in files and by people.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident ($field:literal) { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The name used in files and by people.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        /// Reads the name; an unknown one is
        /// [`InvalidInput`](crate::ErrorKind::InvalidInput) and lists the known ones.
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
    /// What kind of memory a trace is. It decides how fast the trace fades and how strong it starts.
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
        /// Whom to believe.
        Trust = "trust",
        /// A fact.
        Semantic = "semantic",
        /// Something that happened.
        Episodic = "episodic",
        /// Something perceived.
        Sensory = "sensory",
    }
}

impl TraceType {
    /// How fast a trace of this type fades, unless it says otherwise.
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

    /// How strong a trace of this type starts, unless it says otherwise.
    pub fn starting_strength(self) -> f64 {
        match self {
            TraceType::Firmware | TraceType::Identity => 1.0,
            TraceType::Procedural | TraceType::Sensory => 0.4,
            TraceType::Trust => 0.3,
            TraceType::Semantic => 0.5,
            TraceType::Episodic => 0.6,
        }
    }

    /// How sure a trace of this type is, unless it says otherwise.
    pub fn confidence(self) -> f64 {
        match self {
            TraceType::Firmware => 1.0,
            _ => 0.5,
        }
    }
}

named! {
    /// Where a trace came from.
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
    /// How near at hand a trace is kept, by how long ago it was reinforced.
    Tier ("tier") {
        /// Reinforced within a day; the default.
        Hot = "hot",
        /// Within ninety days.
        Warm = "warm",
        /// Longer ago.
        Cold = "cold",
        /// Faded away.
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
