//! `cargo xtask storm`: the test of crashes under load, with as many rounds as wanted. The suite runs a few of them.

use std::process::Command;

#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// How many rounds, each with one crash
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// The seed that an earlier run printed
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["test", "--package", "minke", "--test", "storm", "--", "--nocapture"]).current_dir(crate::root());
    command.env("MINKE_STORM_ROUNDS", options.rounds.to_string());
    if let Some(seed) = options.seed {
        command.env("MINKE_TEST_SEED", seed.to_string());
    }
    crate::run(&mut command)
}
