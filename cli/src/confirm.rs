//! Asks for the word that confirms. No option skips it: it is given with `--confirm` or typed.

use crate::failure::{Exit, Failure, Outcome};
use std::io::{BufRead, IsTerminal, Write};

/// Fails unless `word` was given on the command line or is typed now.
pub(crate) fn confirm(given: Option<&str>, word: &str, question: &str) -> Outcome {
    let answer = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => ask(word, question)?,
        None => {
            let message = format!("{question} There is no terminal to ask on. Give --confirm {word}.");
            return Err(Failure::new(Exit::Usage, message));
        }
    };
    if answer == word {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Conflict,
        format!("Not confirmed: the answer was not {word}. Nothing was changed."),
    ))
}

fn ask(word: &str, question: &str) -> Outcome<String> {
    let unreadable = |error: std::io::Error| {
        Failure::new(Exit::Usage, format!("Can't read the answer from the terminal: {error}."))
    };
    let mut terminal = std::io::stderr();
    write!(terminal, "{question} Type {word}: ").and_then(|()| terminal.flush()).map_err(unreadable)?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(unreadable)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_word_confirms() {
        assert!(confirm(Some("YES"), "YES", "").is_ok());
        for wrong in ["yes", "Y", "", "YES ", "DELETE"] {
            let failure = confirm(Some(wrong), "YES", "").expect_err(wrong);
            assert_eq!(failure.exit, Exit::Conflict);
        }
    }
}
