//! The program `mnemon`: what it does and shows.
#![cfg(feature = "cli")]

mod commands;
mod compact;
mod interrupts;
mod legion;
mod manners;
mod moves;
mod program;
mod reads;
mod top;
