//! What others do on the same workloads as `ditto-benches`, which starts this program and reads its lines.
//!
//! - `messages KIND`: a second process of a ping-pong; `messages KIND ADDRESS`: the first, which takes orders on stdin.
//! - `load KIND FILE`: brings the documents of a file (one JSON object a line) from a full replica to an empty one.
//! - `blob FILE DIRECTORY`: brings a file from one store to another.

mod blobs;
mod crdts;
mod iroh_docs_load;
mod line;
mod messages;
mod peers;
mod stopwatch;
mod zenoh_line;
mod zmq_line;

use std::path::Path;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["messages", kind] => messages::serve(kind),
        ["messages", kind, address] => messages::drive(kind, address),
        ["load", "iroh-docs", file] => runtime()?.block_on(iroh_docs_load::run(Path::new(file))),
        ["load", kind, file] => crdts::run(kind, Path::new(file)),
        ["blob", file, directory] => runtime()?.block_on(blobs::run(Path::new(file), Path::new(directory))),
        _ => Err("messages KIND [ADDRESS] | load KIND FILE | blob FILE DIRECTORY".into()),
    }
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
