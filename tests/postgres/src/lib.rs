//! PostgreSQL as the tests need it: servers of their own, and all that can stand between a store and its server.
//!
//! - [`Server`]: a server in a temporary folder, started, stopped, killed, copied to a standby and promoted; [`psql`]: SQL past all that;
//! - [`Proxy`]: a network between client and server that resets, delays, swallows, and loses the answer to a COMMIT;
//! - [`Pgbouncer`]: a pooler in transaction mode;
//! - [`signal`]: signals to processes.

mod pgbouncer;
mod programs;
mod proxy;
mod server;

pub use pgbouncer::Pgbouncer;
pub use programs::signal;
pub use proxy::{Proxy, Way};
pub use server::{Server, psql};
