//! Compares the names of functions between `functions/`, the template and the state machines.

use std::collections::BTreeSet;

use crate::{Context, Error, Result, project, statemachine};

/// The template deploys every function, and gives each state machine the functions that it calls.
pub(super) fn check() -> Result<()> {
    let template = read("template.yaml")?;
    let mut wrong = Vec::new();
    let built: BTreeSet<String> = project::functions()?.into_iter().collect();
    let deployed: BTreeSet<String> = after(&template, "CodeUri: functions/").map(str::to_owned).collect();
    wrong.extend(
        built.difference(&deployed).map(|name| format!("template.yaml does not deploy functions/{name}")),
    );
    wrong.extend(
        deployed
            .difference(&built)
            .map(|name| format!("template.yaml deploys functions/{name}, which does not exist")),
    );
    let substitutions: BTreeSet<&str> = template
        .lines()
        .filter_map(|line| line.trim().split_once(": !GetAtt ").or_else(|| line.trim().split_once(": !Ref ")))
        .map(|(name, _)| name)
        .collect();
    for machine in statemachine::definitions()? {
        let text = std::fs::read_to_string(&machine).context(|| format!("read {}", machine.display()))?;
        for name in after(&text, "${").filter(|name| !substitutions.contains(name)) {
            wrong.push(format!(
                "{} uses ${{{name}}}, which template.yaml does not give it",
                machine.display()
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::advice(wrong.join("; "))) }
}

/// The word after each `mark`.
fn after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    let word = |rest: &'a str| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(rest.len());
        &rest[..end]
    };
    text.split(mark).skip(1).map(word)
}

fn read(name: &str) -> Result<String> {
    std::fs::read_to_string(project::root().join(name)).context(|| format!("read {name}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_after_a_mark() {
        let found: Vec<&str> =
            super::after("CodeUri: functions/a-b\nCodeUri: functions/c", "functions/").collect();
        assert_eq!(found, ["a-b", "c"]);
    }

    #[test]
    fn functions_template_and_state_machines_agree() {
        super::check().unwrap();
    }
}
