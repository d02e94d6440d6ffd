//! What template.yaml lets each function deliver: its environment says the same as its role.

use shared::domain::message::Kind;
use std::collections::{BTreeMap, BTreeSet};
use xtask::project;
use yaml_rust2::{Yaml, YamlLoader};

const IMPORTS: &str = "ImportStateMachine";
const MAINTENANCE: &str = "MaintenanceStateMachine";

pub(crate) fn read_template() -> Yaml {
    let text = std::fs::read_to_string(project::root().join("template.yaml")).unwrap();
    YamlLoader::load_from_str(&text).unwrap().remove(0)
}

/// One value or several.
fn list(value: &Yaml) -> Vec<&str> {
    match value {
        Yaml::Array(values) => values.iter().filter_map(Yaml::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

/// The kinds of messages that this statement of a policy allows to send.
fn allowed(statement: &Yaml) -> BTreeSet<Kind> {
    let (actions, resources) = (list(&statement["Action"]), list(&statement["Resource"]));
    let names = |part: &str| resources.iter().any(|resource| resource.contains(part));
    let kinds = actions.iter().flat_map(|action| match *action {
        "states:StartExecution" => {
            vec![(Kind::StartExecution, IMPORTS), (Kind::StartMaintenance, MAINTENANCE)]
        }
        "states:StopExecution" => vec![(Kind::StopExecution, "execution:${ImportStateMachine.Name}:*")],
        "states:SendTaskSuccess" => vec![(Kind::TaskSuccess, IMPORTS)],
        "states:SendTaskFailure" => vec![(Kind::TaskFailure, IMPORTS)],
        "events:PutEvents" => vec![(Kind::StateChanged, "event-bus/${EventBusName}")],
        _ => Vec::new(),
    });
    kinds.filter(|(_, resource)| names(resource)).map(|(kind, _)| kind).collect()
}

fn statements(policy: &Yaml) -> &[Yaml] {
    policy["Statement"].as_vec().map_or(&[], Vec::as_slice)
}

/// The kinds that each function's role may send: by its own policies, and by those that name the role.
fn read_rights(resources: &Yaml) -> BTreeMap<String, BTreeSet<Kind>> {
    let mut rights: BTreeMap<String, BTreeSet<Kind>> = BTreeMap::new();
    for (name, resource) in resources.as_hash().unwrap() {
        let (name, properties) = (name.as_str().unwrap(), &resource["Properties"]);
        match resource["Type"].as_str().unwrap() {
            "AWS::Serverless::Function" => {
                let own = rights.entry(name.to_owned()).or_default();
                for policy in properties["Policies"].as_vec().unwrap() {
                    own.extend(statements(policy).iter().flat_map(allowed));
                }
            }
            "AWS::IAM::Policy" => {
                for role in list(&properties["Roles"]) {
                    let function = rights.entry(role.trim_end_matches("Role").to_owned()).or_default();
                    function.extend(statements(&properties["PolicyDocument"]).iter().flat_map(allowed));
                }
            }
            _ => {}
        }
    }
    rights
}

#[test]
fn every_function_delivers_what_its_role_allows_and_nothing_else() {
    let template = read_template();
    let resources = &template["Resources"];
    let rights = read_rights(resources);
    assert!(rights.len() >= 16, "{rights:?}");
    for (function, allowed) in &rights {
        let variables = &resources[function.as_str()]["Properties"]["Environment"]["Variables"];
        let delivers = variables["DELIVERS"].as_str().unwrap_or_default();
        let words = delivers.split(',').filter(|word| !word.is_empty());
        let delivers: BTreeSet<Kind> = words.map(|word| Kind::by_name(word).unwrap()).collect();
        assert_eq!(&delivers, allowed, "{function}");
        let knows = |variable: &str| !variables[variable].is_badvalue();
        assert_eq!(knows("EVENT_BUS_NAME"), delivers.contains(&Kind::StateChanged), "{function}");
        // `close-import` reads the state machine off its execution: the state machine names it, so it can't name the state machine.
        let starts = delivers.contains(&Kind::StartExecution) && function != "CloseImportFunction";
        assert_eq!(knows("STATE_MACHINE_ARN"), starts, "{function}");
        assert_eq!(
            knows("MAINTENANCE_STATE_MACHINE_ARN"),
            delivers.contains(&Kind::StartMaintenance),
            "{function}"
        );
    }
    for kind in Kind::ALL {
        assert!(rights["SweepImportsFunction"].contains(&kind), "nobody else repeats {kind:?}");
    }
}
