//! The command line: its commands and their options.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use uuid::Uuid;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the import failed, was cancelled or expired; the verification found differences; the check found faults
  2    the command line is wrong, or the service refused the request as invalid
  3    the import is in the wrong state, another import is in the way, or the answer was not the word that confirms
  4    the token is missing, has expired or has no access, or the import doesn't exist
  5    the network, the storage or the service is unavailable; try again
  130  interrupted; an import that was followed goes on

Environment: ONCELOAD_API_URL, ONCELOAD_TOKEN, ONCELOAD_MERCHANT. Inside a checkout of Onceload, values that are not set
come from target/local/stack.json, which `cargo xtask up` writes; ONCELOAD_STACK names another file of that kind.";

/// Import promotional codes with Onceload: check, import, approve, verify, export, roll back.
#[derive(Debug, Parser)]
#[command(name = "onceload", version, after_help = EXIT_CODES, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The API's address
    #[arg(long, global = true, env = "ONCELOAD_API_URL", value_name = "URL")]
    pub api_url: Option<String>,
    /// An ID token. Prefer the environment variable: other users can see a command line
    #[arg(long, global = true, env = "ONCELOAD_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The merchant's id
    #[arg(long, global = true, env = "ONCELOAD_MERCHANT", value_name = "UUID")]
    pub merchant: Option<Uuid>,
    /// Print one JSON document on standard output and no progress, for scripts
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Upload files and show what an import would find in them, without importing
    Check(Check),
    /// Upload files, start their import and follow it until it waits for approval
    Import(Import),
    /// Show an import
    Status(Status),
    /// Show what would be inserted, ask for confirmation, and insert it
    Approve(Approve),
    /// Cancel an import before it inserts anything
    Cancel(Job),
    /// Load the failed files of an import again
    Retry(Followed),
    /// Replace a file of an import that failed or awaits approval by a corrected one, or leave it out
    Mend(Mend),
    /// Delete the codes that an import inserted
    Rollback(Rollback),
    /// Count and compare the codes of a completed import again
    Verify(Job),
    /// Download the duplicates, the rejects or a report of all rows
    Export(Export),
    /// Remove the staged rows of an import that has ended
    Clear(Clear),
    /// List imports, newest first
    History(History),
    /// Print the completion script of a shell
    Completions { shell: Shell },
}

/// An import: its id, or `last` for the merchant's newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobRef {
    Id(Uuid),
    Last,
}

impl std::str::FromStr for JobRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            id => Uuid::try_parse(id).map(Self::Id).map_err(|_| "expected an id or `last`".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Job {
    /// The import's id, or `last`
    pub job: JobRef,
}

#[derive(Debug, Args)]
pub(crate) struct Followed {
    #[command(flatten)]
    pub job: Job,
    /// Return as soon as it has started
    #[arg(long)]
    pub no_follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Mend {
    #[command(flatten)]
    pub followed: Followed,
    /// The file's name, key or number, as `status --files` shows it
    pub file: String,
    /// Upload this file and import it instead
    #[arg(long, value_name = "PATH", required_unless_present = "leave_out", conflicts_with = "leave_out")]
    pub with: Option<PathBuf>,
    /// Import the other files without it
    #[arg(long)]
    pub leave_out: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Files, or folders of .csv, .tsv and .txt files; .gz or .zst may follow
    #[arg(required_unless_present = "prefix", conflicts_with = "prefix", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Use the files under this prefix of the bucket, such as a batch that was checked
    #[arg(long)]
    pub prefix: Option<String>,
    /// Take a field from a column that is not recognised, such as `code=Voucher`; can be repeated
    #[arg(long, value_name = "FIELD=HEADER", value_parser = mapping)]
    pub map: Vec<(String, String)>,
    /// How many uploads run at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub parallel: u8,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let (field, header) = text.split_once('=').ok_or("expected FIELD=HEADER")?;
    Ok((field.to_owned(), header.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub source: Source,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    pub source: Source,
    /// The share of duplicates above which the approval must accept them [default: 0.5]
    #[arg(long, value_name = "0..1")]
    pub max_duplicate_ratio: Option<f64>,
    /// How many rejected records a file may have before it fails [default: 100000]
    #[arg(long, value_name = "N")]
    pub max_rejects: Option<u32>,
    /// Return as soon as the import has started
    #[arg(long)]
    pub no_follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The import's id, or `last`
    #[arg(default_value = "last")]
    pub job: JobRef,
    /// Follow the import until it ends or waits for approval
    #[arg(long)]
    pub follow: bool,
    /// Show each file as well
    #[arg(long)]
    pub files: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    pub followed: Followed,
    /// The word that confirms, instead of a question
    #[arg(long, value_name = "YES")]
    pub confirm: Option<String>,
    /// Approve only if exactly this many codes are clean
    #[arg(long, value_name = "N")]
    pub clean_count: Option<u64>,
    /// Insert the clean codes although there are more duplicates than the import's options allow
    #[arg(long)]
    pub accept_duplicates: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Claimed {
    /// Keep and list them
    Keep,
    /// Delete them like the others
    Delete,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub followed: Followed,
    /// The word that confirms, instead of a question
    #[arg(long, value_name = "DELETE")]
    pub confirm: Option<String>,
    /// What to do with codes that customers have claimed since the import
    #[arg(long, value_enum, default_value_t = Claimed::Keep)]
    pub claimed: Claimed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Every duplicate row, and whether the files or production have the code
    Duplicates,
    /// Every row with its status
    Report,
    /// The rejected records and the reasons in one file, to correct and import again
    Rejects,
    /// The codes that a rollback kept because they were claimed
    Claimed,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Duplicates => "duplicates",
            Self::Report => "report",
            Self::Rejects => "rejects",
            Self::Claimed => "claimed",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub job: Job,
    #[arg(value_enum)]
    pub kind: Kind,
    /// The folder to download to
    #[arg(long, short, default_value = ".", value_name = "FOLDER")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    pub job: Job,
    /// The word that confirms, instead of a question
    #[arg(long, value_name = "CLEAR")]
    pub confirm: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only imports in this state, such as `completed`
    #[arg(long)]
    pub status: Option<String>,
    /// Only imports that were created in this month
    #[arg(long, value_name = "YYYY-MM")]
    pub month: Option<String>,
    /// Only imports that this user started
    #[arg(long, value_name = "UUID")]
    pub user: Option<Uuid>,
    /// How many imports to list at most
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn confirm_needs_its_word_and_every_command_its_operands() {
        let parsed = Cli::try_parse_from(["onceload", "approve", "last", "--confirm", "YES"]).expect("good");
        assert!(
            matches!(parsed.command, Command::Approve(Approve { confirm: Some(word), .. }) if word == "YES")
        );
        assert!(Cli::try_parse_from(["onceload", "approve", "last", "--confirm"]).is_err());
        assert!(Cli::try_parse_from(["onceload", "approve"]).is_err(), "approve needs an import");
        assert!(Cli::try_parse_from(["onceload", "import"]).is_err());
        assert!(Cli::try_parse_from(["onceload", "mend", "last", "a.csv"]).is_err(), "with what?");
        let both = ["onceload", "mend", "last", "a.csv", "--with", "b.csv", "--leave-out"];
        assert!(Cli::try_parse_from(both).is_err() && Cli::try_parse_from(&both[..6]).is_ok());
        assert!(Cli::try_parse_from(["onceload", "import", "a.csv", "--prefix", "uploads/"]).is_err());
    }

    #[test]
    fn help_lists_the_exit_codes_and_hides_the_token() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:") && help.contains("130"));
        assert!(
            Cli::command().get_arguments().any(|arg| arg.get_id() == "token" && arg.is_hide_env_values_set())
        );
    }
}
