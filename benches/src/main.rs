//! `ditto-benches GROUP [--quick] [--json FILE]`: measures one group beside its peers in the same run.
//!
//! Every row is a ratio of two figures of one run; absolute figures depend on the machine.

mod attachments;
mod bus;
mod engine;
mod measure;
mod mesh;
mod parts;
mod plain;
mod rivals;
mod row;
mod sync;

use std::path::PathBuf;
use std::process::ExitCode;

use row::Report;

/// What can fail is the machine (disk, ports), so a text is enough.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Options {
    group: String,
    quick: bool,
    json: Option<PathBuf>,
}

const USAGE: &str = "usage: ditto-benches \
    engine|engine:WORKLOAD|sync|sync:PART|mesh|mesh:PART|bus|bus:PART|attachments [--quick] [--json FILE]";

fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Options> {
    let mut options = Options { group: args.next().ok_or(USAGE)?, quick: false, json: None };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => options.quick = true,
            "--json" => options.json = Some(args.next().ok_or(USAGE)?.into()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

async fn run() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some(sync::RECEIVER) {
        return sync::receiver(args.skip(1).collect()).await;
    }
    if std::env::args().nth(1).as_deref() == Some(bus::PEER) {
        return bus::serve(args.skip(1).collect()).await;
    }
    let options = parse(&mut args)?;
    let mut report = Report::default();
    match options.group.as_str() {
        "engine" => engine::run(&mut report, options.quick)?,
        part if part.starts_with(engine::PART) => engine::part(&mut report, part, options.quick).await?,
        "attachments" => attachments::run(&mut report, options.quick).await?,
        "bus" => bus::run(&mut report, "", options.quick).await?,
        part if part.starts_with(bus::PART) => bus::run(&mut report, part, options.quick).await?,
        "mesh" => mesh::run(&mut report, options.quick).await?,
        part if part.starts_with("mesh:") => mesh::part(&mut report, part, options.quick).await?,
        "sync" => sync::run(&mut report, options.quick)?,
        part if part.starts_with(sync::PART) => sync::part(&mut report, part, options.quick).await?,
        _ => return Err(USAGE.into()),
    }
    report.write(options.json.as_deref())
}

fn main() -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            row::note(&format!("error: {e}"));
            ExitCode::FAILURE
        }
    }
}
