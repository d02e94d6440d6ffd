//! What template.yaml gives the functions.

use crate::Outcome;
use std::collections::BTreeMap;
use xtask::project;

#[derive(Debug)]
pub(crate) struct Template {
    /// `MemorySize` in MB by function.
    memory: BTreeMap<String, u64>,
    /// The default of the parameter `Architecture`.
    pub architecture: String,
}

impl Template {
    pub(crate) fn read() -> Outcome<Self> {
        let path = project::root().join("template.yaml");
        Self::of(&std::fs::read_to_string(path)?)
    }

    fn of(yaml: &str) -> Outcome<Self> {
        let (mut memory, mut architecture, mut function) = (BTreeMap::new(), None, None);
        let mut parameter = "";
        for line in yaml.lines() {
            if line.starts_with("  ") && !line.starts_with("   ") {
                parameter = line.trim().trim_end_matches(':');
            }
            match line.trim().split_once(": ") {
                Some(("Binary", name)) => function = Some(name.to_owned()),
                Some(("MemorySize", size)) => {
                    let function = function.take().ok_or("template.yaml: MemorySize before Binary")?;
                    memory.insert(function, size.parse()?);
                }
                Some(("Default", value)) if parameter == "Architecture" => {
                    architecture = Some(value.to_owned());
                }
                _ => {}
            }
        }
        let architecture = architecture.ok_or("template.yaml: Architecture has no default")?;
        Ok(Self { memory, architecture })
    }

    /// In MB, as Lambda counts them: 1024 times 1024 bytes.
    pub(crate) fn memory(&self, function: &str) -> Outcome<u64> {
        let found = self.memory.get(function).copied();
        found.ok_or_else(|| format!("template.yaml gives {function} no MemorySize").into())
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn every_function_declares_its_memory() {
        let template = Template::read().unwrap();
        for function in xtask::project::functions().unwrap() {
            assert!(template.memory(&function).unwrap() >= 128, "{function}");
        }
        assert_eq!(template.architecture, "arm64");
    }
}
