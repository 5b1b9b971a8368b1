//! What a store promises over PostgreSQL, whatever happens to its server, its network, its host and its rights.
//!
//! The test program runs itself as the host: writers that go through scripts, and one thread that asks for flushes and
//! notes what was acknowledged. They are those of the test of kills, as is the check: what is stored must be a causally
//! closed cut, not older than what was acknowledged.
#![cfg(unix)]

mod asynchronous;
mod following;
mod forking;
mod half_sent;
mod hosts;
mod limits;
mod network;
mod refusals;
mod rounds;
mod servers;
mod space;
mod tools;

use harness::Outcome;

#[path = "../../../faults/src/fork.rs"]
#[allow(dead_code, reason = "the test of faults needs more of it")]
mod fork;
#[path = "../../../kill/fuse.rs"]
#[allow(dead_code, reason = "the test of kills needs more of it")]
mod fuse;
#[path = "../../../kill/log.rs"]
#[allow(dead_code, reason = "the test of kills needs more of it")]
mod log;
#[path = "../../../kill/plan.rs"]
#[allow(dead_code, reason = "the test of kills needs more of it")]
mod plan;
#[path = "../../../kill/scene.rs"]
mod scene;
#[path = "../../../kill/script.rs"]
mod script;
#[path = "../../../kill/state.rs"]
#[allow(dead_code, reason = "the test of kills needs more of it")]
mod state;
#[path = "../../../kill/world.rs"]
#[allow(dead_code, reason = "the test of kills needs more of it")]
mod world;
