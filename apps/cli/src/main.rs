//! The `ditto` command. Results go to stdout, everything else to stderr.

mod attach;
mod bus;
mod check;
mod cli;
mod control;
mod doctor;
mod exec;
mod failure;
mod import;
mod instance;
mod keygen;
mod mesh;
mod output;
mod peer;
mod progress;
mod protocol;
mod shell;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    output::start_log(cli.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return failure::Failure::environment(format!("cannot start: {e}")).report(),
    };
    let outcome = runtime.block_on(cli::run(cli.command));
    // Reading stdin holds a thread that nothing can interrupt; it must not hold the exit.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
