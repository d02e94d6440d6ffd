//! The command line: every verb and its options.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use uuid::Uuid;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the import failed, was cancelled or expired; the verification is off; the check found faults
  2    wrong use, or a request that the service refuses as invalid
  3    wrong state, somebody else's import is in the way, or not confirmed
  4    the token is missing, expired or not good for it, or there is no such import
  5    network, storage or server out of order; try again
  130  interrupted; an import that was followed goes on

Environment: ONCELOAD_API_URL, ONCELOAD_TOKEN, ONCELOAD_MERCHANT. In a checkout of Onceload, what `cargo xtask up`
wrote to target/local/stack.json is used where none of them is set; ONCELOAD_STACK names another such file.";

/// Import promotional codes with Onceload: check, import, approve, verify, export, roll back.
#[derive(Debug, Parser)]
#[command(name = "onceload", version, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// The API's address
    #[arg(long, global = true, env = "ONCELOAD_API_URL", value_name = "URL")]
    pub api_url: Option<String>,
    /// An ID token; better given in the environment, where other users don't see it
    #[arg(long, global = true, env = "ONCELOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The merchant's id
    #[arg(long, global = true, env = "ONCELOAD_MERCHANT", value_name = "UUID")]
    pub merchant: Option<Uuid>,
    /// One JSON document on standard output, for scripts; no progress
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Upload files and say what an import would make of them, without importing
    Check(Check),
    /// Upload files, start their import and follow it until it waits for approval
    Import(Import),
    /// Show an import
    Status(Status),
    /// Show what would be inserted, ask, and insert it
    Approve(Approve),
    /// Stop an import; nothing is inserted
    Cancel(Job),
    /// Load the failed files of an import again
    Retry(Followed),
    /// Delete the codes that an import inserted
    Rollback(Rollback),
    /// Count and compare the codes of a completed import again
    Verify(Job),
    /// Download the duplicates, the rejects or a report of all rows
    Export(Export),
    /// Remove the staged rows of an import that is over
    Clear(Clear),
    /// List imports, newest first
    History(History),
    /// Print completions for a shell
    Completions { shell: Shell },
}

/// An import: its id, or `last` for the merchant's newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobRef {
    Id(Uuid),
    Last,
}

impl std::str::FromStr for JobRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            id => Uuid::try_parse(id).map(Self::Id).map_err(|_| "neither an id nor `last`".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
pub struct Job {
    /// The import's id, or `last`
    pub job: JobRef,
}

#[derive(Debug, Args)]
pub struct Followed {
    #[command(flatten)]
    pub job: Job,
    /// Return as soon as it is under way
    #[arg(long)]
    pub no_follow: bool,
}

#[derive(Debug, Args)]
pub struct Source {
    /// Files, or folders whose .csv, .csv.gz and .csv.zst files are meant
    #[arg(required_unless_present = "prefix", conflicts_with = "prefix", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// What lies under this prefix in the bucket already, such as a batch that was checked
    #[arg(long)]
    pub prefix: Option<String>,
    /// Take a field from a column that is not recognised, as in `code=Voucher`; can be repeated
    #[arg(long, value_name = "FIELD=HEADER", value_parser = mapping)]
    pub map: Vec<(String, String)>,
    /// Uploads at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub parallel: u8,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let (field, header) = text.split_once('=').ok_or("not of the form FIELD=HEADER")?;
    Ok((field.to_owned(), header.to_owned()))
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub source: Source,
}

#[derive(Debug, Args)]
pub struct Import {
    #[command(flatten)]
    pub source: Source,
    /// Above this share of duplicates the approval must accept them [default: 0.5]
    #[arg(long, value_name = "0..1")]
    pub max_duplicate_ratio: Option<f64>,
    /// More rejected records in one file fail it [default: 100000]
    #[arg(long, value_name = "N")]
    pub max_rejects: Option<u32>,
    /// Return as soon as the import is under way
    #[arg(long)]
    pub no_follow: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    /// The import's id, or `last`
    #[arg(default_value = "last")]
    pub job: JobRef,
    /// Follow it until it is over or waits for approval
    #[arg(long)]
    pub follow: bool,
    /// Each file as well
    #[arg(long)]
    pub files: bool,
}

#[derive(Debug, Args)]
pub struct Approve {
    #[command(flatten)]
    pub followed: Followed,
    /// Instead of being asked
    #[arg(long, value_name = "YES")]
    pub confirm: Option<String>,
    /// Only if just so many codes are clean
    #[arg(long, value_name = "N")]
    pub clean_count: Option<u64>,
    /// Import the rest although more is duplicate than the import's options allow
    #[arg(long)]
    pub accept_duplicates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Claimed {
    /// They stay, and are listed
    Keep,
    /// They are deleted like the others
    Delete,
}

#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    pub followed: Followed,
    /// Instead of being asked
    #[arg(long, value_name = "DELETE")]
    pub confirm: Option<String>,
    /// What becomes of codes that customers have claimed since
    #[arg(long, value_enum, default_value_t = Claimed::Keep)]
    pub claimed: Claimed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Every duplicate row, and what it is a duplicate of
    Duplicates,
    /// Every row with its status
    Report,
    /// The rejected records as they were, to correct and import again, and the reasons
    Rejects,
    /// The codes that a rollback has kept because they were claimed
    Claimed,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duplicates => "duplicates",
            Self::Report => "report",
            Self::Rejects => "rejects",
            Self::Claimed => "claimed",
        }
    }
}

#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pub job: Job,
    #[arg(value_enum)]
    pub kind: Kind,
    /// The folder to download to
    #[arg(long, short, default_value = ".", value_name = "FOLDER")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct Clear {
    #[command(flatten)]
    pub job: Job,
    /// Instead of being asked
    #[arg(long, value_name = "CLEAR")]
    pub confirm: Option<String>,
}

#[derive(Debug, Args)]
pub struct History {
    /// Only those in this state, such as `completed`
    #[arg(long)]
    pub status: Option<String>,
    /// Only those of a month
    #[arg(long, value_name = "YYYY-MM")]
    pub month: Option<String>,
    /// Only those that this user started
    #[arg(long, value_name = "UUID")]
    pub user: Option<Uuid>,
    /// At most so many
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_word_that_confirms_must_be_said() {
        let parsed = Cli::try_parse_from(["onceload", "approve", "last", "--confirm", "YES"]).expect("good");
        assert!(
            matches!(parsed.command, Command::Approve(Approve { confirm: Some(word), .. }) if word == "YES")
        );
        assert!(Cli::try_parse_from(["onceload", "approve", "last", "--confirm"]).is_err());
        assert!(Cli::try_parse_from(["onceload", "approve"]).is_err(), "approving needs to say which");
        assert!(Cli::try_parse_from(["onceload", "import"]).is_err());
        assert!(Cli::try_parse_from(["onceload", "import", "a.csv", "--prefix", "uploads/"]).is_err());
    }

    #[test]
    fn help_names_the_exit_codes_and_never_a_token() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:") && help.contains("130"));
        assert!(
            Cli::command().get_arguments().any(|arg| arg.get_id() == "token" && arg.is_hide_env_values_set())
        );
    }
}
