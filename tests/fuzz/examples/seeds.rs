//! Makes the seeds of the corpora anew: after a change of a format.

fn main() -> mnemon_fuzz::Outcome {
    mnemon_fuzz::seeds::write(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"))
}
