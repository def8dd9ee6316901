//! `ditto shell`: statements and commands by hand, or from a script.

mod command;
mod complete;
mod describe;
mod fault;
mod interrupt;
mod print;
mod script;
mod session;
mod split;
mod table;
mod terminal;
mod watch;
mod words;

use std::io::IsTerminal;

use clap::Args;

use crate::cli::DatabaseArgs;
use crate::exec;
use crate::failure::Failure;
use crate::instance::Instance;
use interrupt::Interrupts;
use print::Format;
use session::Session;

#[derive(Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Run this and end: statements separated by `;`, or one `\` command. Repeatable; stdin is not read.
    #[arg(short, long, value_name = "TEXT")]
    command: Vec<String>,
    /// How rows are shown; a table on a terminal, JSON lines otherwise.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Values of placeholders, as a JSON object; `\set` changes them.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// End at the first failure. Without a terminal the shell otherwise goes on, and its exit code tells.
    #[arg(long)]
    bail: bool,
}

pub(crate) async fn run(args: ShellArgs) -> Result<(), Failure> {
    let params = exec::arguments(args.args.as_deref())?;
    let instance = Instance::open(&args.database, None).await?;
    let by_hand = args.command.is_empty() && std::io::stdin().is_terminal();
    let format =
        args.format.unwrap_or(if std::io::stdout().is_terminal() { Format::Table } else { Format::Json });
    let interrupts = Interrupts::listen()?;
    let mut session = Session::new(instance.ditto.clone(), format, params, interrupts);
    let outcome = if by_hand {
        terminal::run(&mut session).await
    } else if args.command.is_empty() {
        script::lines(&mut session, args.bail).await
    } else {
        script::texts(&mut session, &args.command, args.bail).await
    };
    drop(session);
    instance.close().await?;
    outcome
}
