//! Everything the command writes: numbers to stdout, hints and errors to stderr, files beside their target and then
//! renamed, so that a failed run leaves nothing half-written.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Writes to stdout and reports a failure (a closed pipe included) instead of panicking as `print!` does.
pub fn print(text: &str) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    };
    write().context("cannot write to stdout")
}

/// Writes a value to stdout as indented JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A line for the person at the terminal, on stderr so that stdout holds results alone.
pub fn hint(text: &str) {
    // A closed stderr is no reason to fail a run.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The error with its causes in one line on stderr.
pub fn complain(error: &anyhow::Error) {
    hint(&format!("error: {}", one_line(error)));
}

/// An error and its causes. Libraries name the file in their own messages and often repeat their cause: what the
/// next or the last message says already is said once.
fn one_line(error: &anyhow::Error) -> String {
    let bare = |line: &str| match line.trim() {
        cut if cut.ends_with("...") => cut.to_string(),
        sentence => sentence.trim_end_matches('.').to_string(),
    };
    let line = |text: String| text.split('\n').map(bare).collect::<Vec<_>>().join("; ");
    let messages: Vec<String> = error.chain().map(|c| line(c.to_string())).collect();
    let mut said: Vec<&str> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        let repeated = messages.get(i + 1).is_some_and(|next| next.contains(message.as_str()))
            || said.last().is_some_and(|last| last.contains(message.as_str()));
        if !repeated {
            said.push(message);
        }
    }
    said.join(": ")
}

/// Whether the reader of stdout went away (`quantlens inspect m | head`), which is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|c| c.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

/// Writes a file whole or not at all: into a neighbour that is renamed once `fill` has succeeded.
///
/// # Errors
/// What `fill` returns, or why the file cannot be made; the neighbour is removed.
pub fn write_file(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let partial = partial_path(path)?;
    let written: Result<()> = (|| {
        let mut file = BufWriter::new(File::create(&partial)?);
        fill(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(fs::rename(&partial, path)?)
    })();
    if written.is_err() {
        // Nothing to remove where the file could not even be made.
        let _ = fs::remove_file(&partial);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn partial_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| anyhow!("{} is no file name", path.display()))?;
    Ok(path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id())))
}

/// Fails early where an output file cannot be written, before minutes of work are lost.
pub fn check_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(anyhow!("cannot write {}: there is no folder {}", path.display(), folder.display()))
        }
        _ if path.is_dir() => Err(anyhow!("cannot write {}: it is a folder", path.display())),
        folder => probe(folder.unwrap_or(path)).with_context(|| format!("cannot write {}", path.display())),
    }
}

/// Fails early where nothing can be written into a folder; one that is not there yet is not made.
pub fn check_folder(folder: &Path) -> Result<()> {
    let there = folder.ancestors().find(|f| f.as_os_str().is_empty() || f.exists()).unwrap_or(folder);
    let why = || format!("cannot write into {}", folder.display());
    if there.as_os_str().is_empty() || there.is_dir() {
        probe(there).with_context(why)
    } else {
        Err(anyhow!("{} is not a folder", there.display())).with_context(why)
    }
}

/// Makes an empty file in a folder (the current one for an empty path) and removes it.
fn probe(folder: &Path) -> Result<()> {
    let file = partial_path(&folder.join("probe"))?;
    File::create(&file)?;
    Ok(fs::remove_file(&file)?)
}

/// A progress bar on stderr where that is a terminal and there is something to wait for.
pub fn progress(count: usize, unit: &'static str) -> ProgressBar {
    if count < 2 || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit} {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}

/// A table without borders; the columns in `right` hold numbers.
pub fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The table's lines without trailing blanks.
pub fn lines(table: &Table) -> String {
    table.to_string().lines().map(|l| format!("{}\n", l.trim_end())).collect()
}

/// An integer with its thousands set apart: 300774272 is 300,774,272.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(300_774_272), "300,774,272");
    }

    #[test]
    fn an_error_says_each_thing_once() {
        let library = anyhow!("denied").context("cat.jpg: cannot be read: denied");
        assert_eq!(one_line(&library.context("cat.jpg")), "cat.jpg: cannot be read: denied");
        assert_eq!(one_line(&anyhow!("differs.\n  a: 1\n  b: x...").context("out")), "out: differs; a: 1; b: x...");
    }

    #[test]
    fn folders_that_cannot_hold_files_are_found_early() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        for fine in [folder.path().to_path_buf(), folder.path().join("new/deep"), PathBuf::from("new")] {
            check_folder(&fine).unwrap();
        }
        for wrong in [file.clone(), file.join("deep")] {
            let e = one_line(&check_folder(&wrong).unwrap_err());
            assert_eq!(e, format!("cannot write into {}: {} is not a folder", wrong.display(), file.display()));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        write_file(&path, |f| Ok(f.write_all(b"old")?)).unwrap();
        let failed = write_file(&path, |f| {
            f.write_all(b"new")?;
            Err(anyhow!("interrupted"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("out.json: interrupted"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
