//! `cargo xtask statemachine`: writes the state machines that are deployed from `statemachine/machines.yaml`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use yaml_rust2::{Yaml, YamlLoader};

use crate::{Context, Error, Result, project, say};

/// The member of the source that holds the parts that several states refer to; every other member is a machine.
const SHARED: &str = "shared";

/// A value that fits into this many columns stands on one line.
const WIDTH: usize = 110;

/// Writes each machine's definition beside the source.
pub fn write() -> Result<()> {
    for (path, text) in generate()? {
        fs::write(&path, text).context(|| format!("write {}", path.display()))?;
        say::line(format_args!("Wrote {}.", path.display()));
    }
    Ok(())
}

/// Fails if a definition is missing, is not what the source says, or belongs to no machine of the source.
pub(crate) fn check() -> Result<()> {
    let mut committed = BTreeMap::new();
    for path in definitions()? {
        let text = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        committed.insert(path, text);
    }
    if committed == generate()? {
        return Ok(());
    }
    Err(Error::advice(
        "statemachine/*.asl.json differ from statemachine/machines.yaml: run `cargo xtask statemachine`, and delete \
         the definition of a machine that is gone",
    ))
}

/// The definitions that are committed, in order.
pub(crate) fn definitions() -> Result<Vec<PathBuf>> {
    let directory = directory();
    let entries = fs::read_dir(&directory).context(|| format!("list {}", directory.display()))?;
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.to_string_lossy().ends_with(".asl.json"));
    all.sort();
    Ok(all)
}

fn directory() -> PathBuf {
    project::root().join("statemachine")
}

fn generate() -> Result<BTreeMap<PathBuf, String>> {
    let path = directory().join("machines.yaml");
    let source = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
    let machines = expand(&source)?;
    Ok(machines
        .into_iter()
        .map(|(name, text)| (directory().join(format!("{name}.asl.json")), text))
        .collect())
}

/// The text of each machine's definition by the machine's name.
fn expand(source: &str) -> Result<BTreeMap<String, String>> {
    let documents = YamlLoader::load_from_str(source).context(|| "parse machines.yaml")?;
    let machines = documents.first().and_then(Yaml::as_hash);
    let machines = machines.ok_or_else(|| Error::advice("machines.yaml does not name a state machine"))?;
    let mut definitions = BTreeMap::new();
    for (name, machine) in machines {
        let name = name.as_str().ok_or_else(|| Error::advice("the name of a state machine is not text"))?;
        if name != SHARED {
            definitions.insert(name.to_owned(), json(machine, 0, 0)? + "\n");
        }
    }
    Ok(definitions)
}

/// JSON with the members in the order of the source. `column` is where the value begins on its line.
fn json(value: &Yaml, indent: usize, column: usize) -> Result<String> {
    let one_line = compact(value)?;
    let scalar = |value: &Yaml| !matches!(value, Yaml::Array(_) | Yaml::Hash(_));
    let only_scalars = matches!(value, Yaml::Array(items) if items.iter().all(scalar));
    if scalar(value) || only_scalars || column + one_line.len() <= WIDTH {
        return Ok(one_line);
    }
    let inner = indent + 2;
    let mut lines = Vec::new();
    for (key, member) in members(value)? {
        let member = json(member, inner, inner + key.len())?;
        lines.push(format!("{:inner$}{key}{member}", ""));
    }
    let (open, close) = if matches!(value, Yaml::Array(_)) { ('[', ']') } else { ('{', '}') };
    Ok(format!("{open}\n{}\n{:indent$}{close}", lines.join(",\n"), ""))
}

/// JSON on one line.
fn compact(value: &Yaml) -> Result<String> {
    let joined = || -> Result<String> {
        let members = members(value)?.into_iter().map(|(key, member)| Ok(key + &compact(member)?));
        Ok(members.collect::<Result<Vec<_>>>()?.join(", "))
    };
    Ok(match value {
        Yaml::Null => "null".to_owned(),
        Yaml::Boolean(truth) => truth.to_string(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Real(number) if serde_json::from_str::<f64>(number).is_ok() => number.clone(),
        Yaml::String(text) => serde_json::json!(text).to_string(),
        Yaml::Array(_) => format!("[{}]", joined()?),
        Yaml::Hash(hash) if hash.is_empty() => "{}".to_owned(),
        Yaml::Hash(_) => format!("{{ {} }}", joined()?),
        other => return Err(Error::advice(format!("machines.yaml: {other:?} has no form in JSON here"))),
    })
}

/// What a list or an object holds; each member of an object comes with its key as JSON writes it.
fn members(value: &Yaml) -> Result<Vec<(String, &Yaml)>> {
    match value {
        Yaml::Hash(hash) => hash.iter().map(|(key, member)| Ok((name(key)? + ": ", member))).collect(),
        Yaml::Array(items) => Ok(items.iter().map(|item| (String::new(), item)).collect()),
        _ => Ok(Vec::new()),
    }
}

fn name(key: &Yaml) -> Result<String> {
    if matches!(key, Yaml::String(_)) {
        compact(key)
    } else {
        Err(Error::advice(format!("machines.yaml: the name {key:?} is not text")))
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_deployed_definitions_are_what_the_source_says() {
        super::check().unwrap();
    }

    #[test]
    fn a_shared_part_is_put_where_its_name_stands() {
        let source = "shared: { retry: &twice [{ MaxAttempts: 2, BackoffRate: 1.5 }] }\n\
                      import: { Z: { Retry: *twice }, A: { Retry: *twice, End: true, Default: null } }\n";
        let expected = r#"{
  "Z": { "Retry": [{ "MaxAttempts": 2, "BackoffRate": 1.5 }] },
  "A": { "Retry": [{ "MaxAttempts": 2, "BackoffRate": 1.5 }], "End": true, "Default": null }
}
"#;
        let machines = super::expand(source).unwrap();
        assert_eq!(machines, [("import".to_owned(), expected.to_owned())].into());
    }

    #[test]
    fn a_name_that_is_not_defined_or_a_state_that_stands_twice_is_an_error() {
        for source in ["import: { Retry: *nothing }", "import: { Done: {}, Done: {} }", "import: { 1: x }"] {
            assert!(super::expand(source).is_err(), "{source}");
        }
    }
}
