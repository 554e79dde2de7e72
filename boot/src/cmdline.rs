//! The kernel's command line.
//!
//! Words separated by white space, each at most once:
//!
//! | word | meaning |
//! |---|---|
//! | `test=NAME` | run exactly one in-kernel test, by its full name (`suite::test`) |
//! | `suite=A[,B]` | run only the tests of these suites |
//! | `seed=N` | seed of every random choice: 64 bits, decimal or hexadecimal with `0x` |
//! | `minutes=N` | how long the stress suite takes in all, 1 to 10080 |
//!
//! An empty line asks for nothing in particular: every test, default seed. Whether a test or suite of
//! that name exists is for those to say who know the tests.

use core::fmt;

/// What the command line asks for. `None` where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// Full name of the only test to run.
    pub test: Option<&'a str>,
    /// The suites to run.
    pub suites: Option<Suites<'a>>,
    /// Seed of every random choice.
    pub seed: Option<u64>,
    /// How long the stress suite takes in all.
    pub minutes: Option<u32>,
}

/// The longest time that `minutes=` takes: a week.
pub const MOST_MINUTES: u32 = 7 * 24 * 60;

/// A list of suite names, separated by commas; at least one, none empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suites<'a>(&'a str);

impl<'a> Suites<'a> {
    /// The names, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.0.split(',')
    }

    /// Whether a suite of this name is in the list.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|suite| suite == name)
    }
}

/// Why a command line was refused. Displays as one line that says what would be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<'a> {
    /// A word that means nothing.
    UnknownWord(&'a str),
    /// `test=` or `suite=` without a name, or with an empty name in the list.
    EmptyName {
        /// The whole word.
        word: &'a str,
    },
    /// `seed=` with something that is not a 64-bit number.
    BadSeed(&'a str),
    /// `minutes=` with something that is not a number of minutes, 1 to [`MOST_MINUTES`].
    BadMinutes(&'a str),
    /// A key that was given before.
    Repeated {
        /// The key, without `=`.
        key: &'static str,
        /// The whole word that repeats it.
        word: &'a str,
    },
    /// Both `test=` and `suite=`, which ask for different things.
    TestAndSuite,
}

/// What every message about an unknown word offers instead.
const ALLOWED: &str = "allowed are test=NAME, suite=A[,B], seed=N and minutes=N";

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted by `{:?}`, so that no word can break the line.
        match self {
            Self::UnknownWord(word) => write!(f, "unknown word {word:?}: {ALLOWED}"),
            Self::EmptyName { word } => write!(
                f,
                "empty name in {word:?}: write test=NAME with one name, or suite=A[,B] with names separated by commas"
            ),
            Self::BadSeed(value) => write!(
                f,
                "bad seed {value:?}: write seed=N with N from 0 to 18446744073709551615, decimal or hexadecimal with 0x"
            ),
            Self::BadMinutes(value) => write!(
                f,
                "bad time {value:?}: write minutes=N with N from 1 to {MOST_MINUTES}"
            ),
            Self::Repeated { key, word } => {
                write!(f, "repeated word {word:?}: {key}= is allowed once")
            }
            Self::TestAndSuite => f.write_str(
                "both test= and suite=: write test=NAME to run one test, or suite=A[,B] to run suites",
            ),
        }
    }
}

impl core::error::Error for Error<'_> {}

impl<'a> CommandLine<'a> {
    /// Parses a command line.
    ///
    /// # Errors
    ///
    /// Refuses the first word that it cannot take at its word; see [`Error`].
    pub fn parse(line: &'a str) -> Result<Self, Error<'a>> {
        let mut parsed = Self::default();
        for word in line.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').ok_or(Error::UnknownWord(word))?;
            match key {
                "test" => set(&mut parsed.test, "test", word, name(word, value)?)?,
                "suite" => set(&mut parsed.suites, "suite", word, suites(word, value)?)?,
                "seed" => set(&mut parsed.seed, "seed", word, seed(value)?)?,
                "minutes" => set(&mut parsed.minutes, "minutes", word, minutes(value)?)?,
                _ => return Err(Error::UnknownWord(word)),
            }
        }
        if parsed.test.is_some() && parsed.suites.is_some() {
            return Err(Error::TestAndSuite);
        }
        Ok(parsed)
    }
}

fn set<'a, T>(
    slot: &mut Option<T>,
    key: &'static str,
    word: &'a str,
    value: T,
) -> Result<(), Error<'a>> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Repeated { key, word }),
    }
}

fn name<'a>(word: &'a str, value: &'a str) -> Result<&'a str, Error<'a>> {
    if value.is_empty() {
        return Err(Error::EmptyName { word });
    }
    Ok(value)
}

fn suites<'a>(word: &'a str, value: &'a str) -> Result<Suites<'a>, Error<'a>> {
    if value.split(',').any(str::is_empty) {
        return Err(Error::EmptyName { word });
    }
    Ok(Suites(value))
}

fn seed(value: &str) -> Result<u64, Error<'_>> {
    let (digits, radix) = match value.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    // The standard parser also takes a leading plus sign.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return Err(Error::BadSeed(value));
    }
    u64::from_str_radix(digits, radix).map_err(|_| Error::BadSeed(value))
}

fn minutes(value: &str) -> Result<u32, Error<'_>> {
    // The standard parser also takes a leading plus sign.
    let digits = value.starts_with(|first: char| first.is_ascii_digit());
    match value.parse() {
        Ok(minutes @ 1..=MOST_MINUTES) if digits => Ok(minutes),
        _ => Err(Error::BadMinutes(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine<'_>, Error<'_>> {
        CommandLine::parse(line)
    }

    #[test]
    fn silence_means_the_defaults() {
        for line in ["", "   ", "\t\n"] {
            assert_eq!(parse(line), Ok(CommandLine::default()));
        }
    }

    #[test]
    fn takes_every_word_in_any_order() {
        let parsed = parse(" seed=7\ttest=pages::order_zero ").unwrap();
        assert_eq!(parsed.test, Some("pages::order_zero"));
        assert_eq!(parsed.suites, None);
        assert_eq!(parsed.seed, Some(7));

        let suites = parse("suite=pages,objects").unwrap().suites.unwrap();
        assert!(suites.iter().eq(["pages", "objects"]));
        assert!(suites.contains("objects"));
        assert!(!suites.contains("object"));
    }

    #[test]
    fn a_value_may_contain_an_equals_sign() {
        assert_eq!(parse("test=a=b").unwrap().test, Some("a=b"));
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        for (line, seed) in [
            ("seed=0", 0),
            ("seed=18446744073709551615", u64::MAX),
            ("seed=0xffffffffffffffff", u64::MAX),
            ("seed=0xDeadBeef", 0xdead_beef),
            ("seed=007", 7),
        ] {
            assert_eq!(parse(line).unwrap().seed, Some(seed), "{line}");
        }
        for bad in [
            "",
            "0x",
            "x",
            "-1",
            "+1",
            "0x+1",
            "1.5",
            "1_000",
            "0b1",
            "18446744073709551616",
            "0x10000000000000000",
            "１",
        ] {
            let line = format!("seed={bad}");
            assert_eq!(parse(&line), Err(Error::BadSeed(bad)));
        }
    }

    #[test]
    fn minutes_are_bounded() {
        assert_eq!(parse("minutes=30").unwrap().minutes, Some(30));
        assert_eq!(parse("minutes=10080").unwrap().minutes, Some(10_080));
        for bad in ["", "0", "-1", "+1", "1.5", "10081", "0x10", "ten"] {
            let line = format!("minutes={bad}");
            assert_eq!(parse(&line), Err(Error::BadMinutes(bad)));
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for word in [
            "quiet",
            "tests=a",
            "Test=a",
            "=a",
            "seed",
            "test",
            "root=/dev/sda1",
        ] {
            assert_eq!(parse(word), Err(Error::UnknownWord(word)));
        }
    }

    #[test]
    fn refuses_empty_names() {
        for word in ["test=", "suite=", "suite=a,", "suite=,a", "suite=a,,b"] {
            assert_eq!(parse(word), Err(Error::EmptyName { word }));
        }
    }

    #[test]
    fn refuses_repetition_even_of_the_same_value() {
        assert_eq!(
            parse("seed=1 seed=1"),
            Err(Error::Repeated {
                key: "seed",
                word: "seed=1"
            })
        );
        assert!(matches!(
            parse("test=a seed=1 test=b"),
            Err(Error::Repeated {
                key: "test",
                word: "test=b"
            })
        ));
        assert!(matches!(
            parse("suite=a suite=b"),
            Err(Error::Repeated { key: "suite", .. })
        ));
    }

    #[test]
    fn refuses_a_test_and_a_suite_together() {
        assert_eq!(parse("suite=a test=a::b"), Err(Error::TestAndSuite));
    }

    #[test]
    fn messages_are_one_line_that_names_the_word_and_the_cure() {
        for (line, parts) in [
            ("qu\u{7f}iet", ["\"qu\\u{7f}iet\"", "test=NAME"]),
            ("suite=a,", ["\"suite=a,\"", "suite=A[,B]"]),
            ("seed=ten", ["\"ten\"", "0x"]),
            ("seed=1 seed=2", ["\"seed=2\"", "once"]),
            ("minutes=0", ["\"0\"", "1 to 10080"]),
            ("test=a suite=b", ["test=", "suite="]),
        ] {
            let message = parse(line).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "{message}");
            }
            assert!(!message.contains(|c: char| c.is_control()), "{message}");
        }
    }
}
