//! Asking for the word that confirms. No option skips it: it is said with `--confirm`, or typed.

use crate::failure::{Exit, Failure, Outcome};
use std::io::{BufRead, IsTerminal, Write};

/// Fails unless `word` was said or is typed now.
pub fn confirm(said: Option<&str>, word: &str, question: &str) -> Outcome {
    let answer = match said {
        Some(said) => said.to_owned(),
        None if std::io::stdin().is_terminal() => ask(word, question)?,
        None => {
            let message = format!("{question} Nobody is here to answer: say --confirm {word}.");
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    if answer == word {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Conflict,
        format!("Not confirmed: it takes the word {word}. Nothing was changed."),
    ))
}

fn ask(word: &str, question: &str) -> Outcome<String> {
    let broken =
        |error: std::io::Error| Failure::new(Exit::Usage, format!("The terminal can't be read: {error}."));
    let mut terminal = std::io::stderr();
    write!(terminal, "{question} Type {word}: ").and_then(|()| terminal.flush()).map_err(broken)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(broken)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_itself() {
        assert!(confirm(Some("YES"), "YES", "").is_ok());
        for wrong in ["yes", "Y", "", "YES ", "DELETE"] {
            let failure = confirm(Some(wrong), "YES", "").expect_err(wrong);
            assert_eq!(failure.exit, Exit::Conflict);
        }
    }
}
