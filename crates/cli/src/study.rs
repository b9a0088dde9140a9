//! `quantlens study`: pairs of networks over a data set.

use anyhow::{Result, bail};

use crate::args::StudyArgs;

/// Runs the subcommand.
pub fn run(_: &StudyArgs) -> Result<()> {
    bail!("the study is not wired into the command yet")
}
