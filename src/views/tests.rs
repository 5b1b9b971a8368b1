//! The views against a plain look at every trace.
