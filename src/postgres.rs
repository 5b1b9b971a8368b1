//! The spaces of a PostgreSQL database: what a person, or a program that looks after a fleet, sees and mends from
//! outside. A store in a space is opened with [`StoreBuilder::connect`](crate::StoreBuilder::connect).

pub use crate::backend::postgres::{
    Followed, Follower, SpaceContent, SpaceReport, follow, inspect, release, space, spaces,
};
