//! The `quantlens` command: one module a subcommand, the shared arguments in `args`, all writing in `output`.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod cam;
mod doctor;
mod draw;
mod explain;
mod infer;
mod inputs;
mod inspect;
mod labels;
mod models;
mod output;
mod parse;
mod render;
mod stages;
mod study;
mod tensors;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Infer(args) => infer::run(&args),
        Command::Cam(args) => cam::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Study(args) => study::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Render(args) => render::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if matches!(error.downcast_ref(), Some(quantlens_study::Error::Stopped { .. })) => {
            output::hint(&error.to_string());
            ExitCode::from(stages::INTERRUPTED)
        }
        Err(error) => match error.downcast::<clap::Error>() {
            Ok(usage) => usage.exit(),
            Err(error) => {
                output::complain(&error);
                ExitCode::FAILURE
            }
        },
    }
}
