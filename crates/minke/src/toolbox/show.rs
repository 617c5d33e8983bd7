//! Small tools that show or wait.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::Context;

/// `cat FILE…`: prints files.
pub(super) fn cat(arguments: &[String]) -> anyhow::Result<()> {
    for name in arguments {
        let mut file = fs::File::open(name).with_context(|| name.clone())?;
        io::copy(&mut file, &mut io::stdout()).with_context(|| name.clone())?;
    }
    Ok(())
}

/// `echo WORD…`: prints its arguments.
pub(super) fn echo(arguments: &[String]) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{}", arguments.join(" "))?)
}

/// `env`: prints the environment.
pub(super) fn env(_: &[String]) -> anyhow::Result<()> {
    for (name, value) in std::env::vars_os() {
        writeln!(io::stdout(), "{}={}", name.to_string_lossy(), value.to_string_lossy())?;
    }
    Ok(())
}

/// `id`: prints user and groups.
pub(super) fn id(_: &[String]) -> anyhow::Result<()> {
    let groups: Vec<String> = nix::unistd::getgroups()?.iter().map(ToString::to_string).collect();
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    Ok(writeln!(io::stdout(), "uid={user} gid={group} groups={}", groups.join(","))?)
}

/// `ls [DIR…]`: lists folders, a line each entry: mode, owner, size, name.
pub(super) fn ls(arguments: &[String]) -> anyhow::Result<()> {
    let here = [".".to_owned()];
    for folder in if arguments.is_empty() { &here[..] } else { arguments } {
        let mut entries = fs::read_dir(folder).with_context(|| folder.clone())?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let facts = entry.path().symlink_metadata()?;
            let (mode, user, group, size) = (facts.mode() & 0o7777, facts.uid(), facts.gid(), facts.len());
            writeln!(io::stdout(), "{mode:04o} {user}:{group} {size:>9} {}", entry.file_name().to_string_lossy())?;
        }
    }
    Ok(())
}

/// `put FILE WORD…`: writes its arguments to a file.
pub(super) fn put(arguments: &[String]) -> anyhow::Result<()> {
    let (file, words) = arguments.split_first().context("usage: put FILE WORD…")?;
    fs::write(file, words.join(" ") + "\n").with_context(|| file.clone())
}

/// `sleep SECONDS`: waits, or ends at once on TERM.
pub(super) fn sleep(arguments: &[String]) -> anyhow::Result<()> {
    let seconds: f64 = match arguments {
        [text] if text == "infinity" => f64::from(u32::MAX),
        [text] => text.parse().context("usage: sleep SECONDS")?,
        _ => anyhow::bail!("usage: sleep SECONDS"),
    };
    runtime()?.block_on(async {
        let mut terminate = terminated()?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// A runtime of one thread: tools are small.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the tool")
}

/// PID 1 of a container gets no default action for TERM, so tools that stay ask for it.
pub(super) fn terminated() -> anyhow::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("wait for TERM")
}
