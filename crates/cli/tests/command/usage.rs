//! Wrong use exits with 2 and says why; help and version exit with 0.

use crate::common::{ok, quantlens};

#[test]
fn wrong_use_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for (args, cause) in [
        (&[][..], "Usage"),
        (&["paint"], "paint"),
        (&["infer"], "MODEL"),
        (&["infer", "demo:int8"], "IMAGES"),
        (&["infer", "demo:int8", "demo:image", "--tensors", "x.safetensors"], "--tensors"),
        (&["infer", "demo:int8", "demo:image", "--out", "out.txt"], ".safetensors or .json"),
        (&["infer", "demo:int8", "demo:image", "--tap", "features.1"], "--out"),
        (&["infer", "demo:int8", "demo:image", "--isa", "mmx"], "scalar"),
        (&["infer", "demo:int8", "demo:image", "--threads", "0"], "1 to 1024"),
        (&["infer", "demo:int8", "demo:image", "--input-size", "7"], "size"),
        (&["infer", "demo:int8", "demo:image", "--input-size", "64x"], "size"),
        (&["cam", "demo:int8", "demo:image"], "two models"),
        (&["cam", "a.safetensors", "b.safetensors", "c.safetensors"], "two models"),
        (&["cam", "--signs", "heads"], "lapack"),
        (&["cam", "--method", "gradcam"], "ablationcam"),
        (&["cam", "--box=2"], "otsu"),
        (&["cam", "--truth", "1,2,3,4"], "--box"),
        (&["cam", "--box", "--truth", "1,2,3"], "four numbers"),
        (&["cam", "--box", "--truth", "1,2,3,4", "demo:image", "demo:image"], "one picture"),
        (&["inspect", "demo:int8", "--profile", "0"], "1"),
        (&["bench", "--seconds", "0"], "0.001 to 86400"),
        (&["bench", "--seconds", "1", "--runs", "1"], "--runs"),
        (&["bench", "--threads", "1,0"], "1 to 1024"),
        (&["bench", "--isa", "scalar,mmx"], "mmx"),
        (&["bench", "--picture", "layers.png"], ".svg"),
        (&["bench", "--throughput", "--profile"], "--profile"),
        (&["render", "--count", "3"], "--out"),
        (&["render", "--out", "x"], "--count"),
        (&["render", "--count", "3", "--out", "x", "--raw"], "--raw"),
        (&["render", "--count", "0", "--raw"], "a split has"),
        (&["render", "--count", "2", "--start", "99999999", "--raw"], "a split has"),
        (&["render", "--count", "2", "--raw", "--split", "mine"], "calibration"),
        (&["study", "--pair", "a,b"], "--data"),
        (&["study", "--pair", "one.safetensors", "--data", ".", "--out", "out"], "FLOAT,INT8"),
        (&["study", "--pair", "a,b", "--data", ".", "--out", "out", "--labels", "guess"], "wnids"),
        (&["study", "--pair", "a,b", "--data", ".", "--out", "out", "--shard", "5/4"], "K/N"),
    ] {
        let output = quantlens(folder.path(), args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{stderr}");
        assert!(stderr.contains(cause), "{args:?}\n{stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    assert!(crate::common::files(folder.path()).is_empty());
}

#[test]
fn an_unknown_instruction_set_in_the_environment_lists_the_choices() {
    for command in ["doctor", "cam"] {
        let folder = tempfile::tempdir().unwrap();
        let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_quantlens"));
        let output = run.arg(command).current_dir(&folder).env("QUANTLENS_ISA", "mmx").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(["QUANTLENS_ISA", "mmx", "scalar"].iter().all(|part| stderr.contains(part)), "{stderr}");
    }
}

#[test]
fn help_and_version() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["infer", "cam", "inspect", "study", "bench", "render", "doctor"] {
        assert!(ok(folder.path(), &["--help"]).0.contains(command));
        assert!(ok(folder.path(), &[command, "--help"]).0.contains("Usage: quantlens"));
    }
    assert_eq!(ok(folder.path(), &["--version"]).0.trim(), format!("quantlens {}", env!("CARGO_PKG_VERSION")));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::{Command, Stdio};
    let mut run = Command::new(env!("CARGO_BIN_EXE_quantlens"));
    let mut child = run.args(["inspect", "demo:int8"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
