//! What a store promises over PostgreSQL, whatever happens to its server, its network, its host and its rights.

mod tools;
