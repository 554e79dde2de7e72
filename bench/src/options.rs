//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "twinframe-bench [--seconds N] [--json FILE] [--svg FILE] [WORD..]";

pub(crate) struct Options {
    /// How long a case is measured, beside what it takes to set it up.
    pub(crate) time: Duration,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    /// Only cases whose name contains one of these; all, if there are none.
    pub(crate) words: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            time: Duration::from_millis(900),
            json: None,
            svg: None,
            words: Vec::new(),
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => {
                    let seconds = args.next().and_then(|text| text.parse().ok());
                    options.time = seconds
                        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                        .ok_or("--seconds needs a number")?;
                }
                "--json" => options.json = Some(args.next().ok_or("--json needs a file")?.into()),
                "--svg" => options.svg = Some(args.next().ok_or("--svg needs a file")?.into()),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}"));
                }
                _ => options.words.push(arg),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(args.iter().map(ToString::to_string))
    }

    #[test]
    fn options_and_words() {
        let options = parse(&["--seconds", "0.5", "pair", "--svg", "x", "batch"]).expect("good");
        assert_eq!(options.time, Duration::from_millis(500));
        assert_eq!(options.words, ["pair", "batch"]);
        assert_eq!(options.svg, Some(PathBuf::from("x")));
        assert_eq!(options.json, None);
    }

    #[test]
    fn nonsense_is_refused() {
        for args in [&["--rounds"][..], &["--seconds", "-1"], &["--json"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
