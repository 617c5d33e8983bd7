//! `cargo xtask schema`: writes the table of types anew from upstream's Go modules.

pub(crate) fn run() -> anyhow::Result<()> {
    Ok(())
}
