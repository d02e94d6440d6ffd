//! The inside of the house: rooms import downwards only, files stay short and say what they are for, and
//! docs/ARCHITECTURE.md draws the folders that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Context, Error, Result, project};

/// Longest Rust file, in lines.
const MAX_LINES: usize = 400;
/// The most that `shared` may have of the product's Rust, in percent.
const MAX_SHARED_PERCENT: usize = 40;

/// The rooms of `shared/src`, and what each may import.
const ROOMS: [(&str, &[&str]); 7] = [
    ("domain", &[]),
    ("csv", &["domain"]),
    ("s3", &["domain"]),
    ("db", &["domain"]),
    ("source", &["csv", "db", "domain", "s3"]),
    ("lambda", &["db", "domain", "s3"]),
    ("http", &["db", "domain", "lambda"]),
];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Names everything that is out of order.
pub(super) fn check() -> Result<()> {
    let root = project::root();
    let mut wrong = Vec::new();
    for file in rust_files(&root)? {
        wrong.extend(check_file(&root, &file)?);
    }
    wrong.extend(check_imports(&root.join("shared/src"))?);
    wrong.extend(check_functions(&root)?);
    wrong.extend(check_share(&root)?);
    wrong.extend(check_picture(&root)?);
    if wrong.is_empty() { Ok(()) } else { Err(Error::advice(wrong.join("; "))) }
}

/// A file is short, and its first line says what it is for.
fn check_file(root: &Path, file: &Path) -> Result<Vec<String>> {
    let text = read(file)?;
    let name = file.strip_prefix(root).unwrap_or(file).display();
    let mut wrong = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        wrong.push(format!("{name} has {lines} lines; {MAX_LINES} is the most: split it by subject"));
    }
    let wiring = file.ends_with("src/main.rs") && text.lines().count() < 10;
    if !wiring && !text.starts_with("//! ") {
        wrong.push(format!("{name} does not say in its first line what it is for (`//! ...`)"));
    }
    Ok(wrong)
}

/// Rooms import what lies below them, and no room of the database imports in a circle.
fn check_imports(shared: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut database = Graph::new();
    for file in rust_files(shared)? {
        let inside: Vec<String> = segments(&file, shared);
        let Some((room, rest)) = inside.split_first() else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| known == room) else {
            if !rest.is_empty() {
                wrong.push(format!("shared/src/{room} is a room that xtask/src/lint/house.rs does not know"));
            }
            continue;
        };
        let text = read(&file)?;
        for path in paths_after(&text, "crate::") {
            let used = path.split("::").next().unwrap_or_default();
            let known = ROOMS.iter().any(|(known, _)| *known == used);
            if known && used != room && !allowed.contains(&used) {
                wrong
                    .push(format!("shared/src/{} imports {used}: {room} must not know it", inside.join("/")));
            }
        }
        if room == "db"
            && let Some(from) = rest.first()
        {
            let from = from.trim_end_matches(".rs").to_owned();
            database.entry(from.clone()).or_default().extend(rooms_of_database(
                &text,
                rest.len() == 1,
                &from,
            ));
        }
    }
    database.remove("mod");
    wrong.extend(find_circle(&database).map(|circle| format!("shared/src/db imports in a circle: {circle}")));
    Ok(wrong)
}

/// The rooms of the database that a file of it imports. `top`: `super` is the database itself there.
fn rooms_of_database(text: &str, top: bool, own: &str) -> BTreeSet<String> {
    let production = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut paths: Vec<&str> = paths_after(production, "crate::db::").collect();
    let room_file = top || production.contains("use super::statement::");
    if room_file {
        paths.extend(paths_after(production, "use super::"));
    }
    let name = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
    paths.into_iter().map(name).filter(|used| !used.is_empty() && used != own).collect()
}

/// Every path that follows `mark`, a braced list being as many paths.
fn paths_after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(list) => {
            list.split('}').next().unwrap_or_default().split(',').map(str::trim).map(word).collect()
        }
        None => vec![word(rest)],
    })
}

/// The path at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    &text[..end]
}

/// A circle, if there is one, as `a -> b -> a`.
fn find_circle(graph: &Graph) -> Option<String> {
    fn walk(graph: &Graph, at: &str, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<String> {
        if let Some(start) = way.iter().position(|room| room == at) {
            return Some(format!("{} -> {at}", way[start..].join(" -> ")));
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        way.push(at.to_owned());
        let circle = graph.get(at).into_iter().flatten().find_map(|next| walk(graph, next, way, done));
        way.pop();
        circle
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|room| walk(graph, room, &mut Vec::new(), &mut done))
}

/// No function imports another, and none has SQL.
fn check_functions(root: &Path) -> Result<Vec<String>> {
    let names = project::functions()?;
    let mut wrong = Vec::new();
    for name in &names {
        let manifest = read(&root.join("functions").join(name).join("Cargo.toml"))?;
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let imports = names.iter().filter(|other| {
            dependencies.lines().any(|line| line.split(['.', ' ', '=']).next() == Some(other.as_str()))
        });
        wrong.extend(imports.map(|other| format!("functions/{name} depends on functions/{other}")));
        for file in rust_files(&root.join("functions").join(name))? {
            let text = read(&file)?;
            if ["include_str!", "tokio_postgres", "query_typed"].iter().any(|sign| text.contains(sign)) {
                wrong.push(format!("{} has SQL; statements belong into shared/src/db", file.display()));
            }
        }
    }
    Ok(wrong)
}

/// What only one function uses belongs into that function.
fn check_share(root: &Path) -> Result<Vec<String>> {
    let count = |part: &str| -> Result<usize> {
        rust_files(&root.join(part))?.iter().map(|file| Ok(read(file)?.lines().count())).sum()
    };
    let shared = count("shared")?;
    let all = shared + count("functions")? + count("cli")? + count("xtask")?;
    let percent = shared * 100 / all.max(1);
    if percent < MAX_SHARED_PERCENT {
        return Ok(Vec::new());
    }
    Ok(vec![format!("shared has {percent} % of the lines, and must stay below {MAX_SHARED_PERCENT} %")])
}

/// docs/ARCHITECTURE.md names every folder of the functions and of `shared/src`, and none that isn't there.
fn check_picture(root: &Path) -> Result<Vec<String>> {
    let text = read(&root.join("docs/ARCHITECTURE.md"))?;
    let drawn: BTreeSet<String> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|path| path.starts_with("shared/src/") || path.starts_with("functions/"))
        .filter(|path| path.ends_with('/'))
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect();
    let mut there: BTreeSet<String> =
        project::functions()?.iter().map(|name| format!("functions/{name}")).collect();
    there.extend(folders(&root.join("shared/src"), "shared/src")?);
    let mut wrong: Vec<String> = there
        .difference(&drawn)
        .map(|path| format!("docs/ARCHITECTURE.md does not draw `{path}/`"))
        .collect();
    wrong.extend(
        drawn
            .difference(&there)
            .map(|path| format!("docs/ARCHITECTURE.md draws `{path}/`, which is not there")),
    );
    Ok(wrong)
}

/// Every folder below this one, by its path from `name`.
fn folders(directory: &Path, name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in list(directory)?.into_iter().filter(|entry| entry.is_dir()) {
        let path = format!("{name}/{}", entry.file_name().unwrap_or_default().to_string_lossy());
        found.extend(folders(&entry, &path)?);
        found.push(path);
    }
    Ok(found)
}

/// Every Rust file of the product and its tests below a folder.
fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in list(directory)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(rust_files(&entry)?);
            }
        } else if name.ends_with(".rs") {
            found.push(entry);
        }
    }
    Ok(found)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).context(|| format!("list {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// A file's path below a folder, part by part.
fn segments(file: &Path, below: &Path) -> Vec<String> {
    let inside = file.strip_prefix(below).unwrap_or(file);
    inside.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_in_order() {
        check().unwrap();
    }

    #[test]
    fn a_list_of_imports_is_as_many_paths() {
        let text = "use crate::db::{jobs, tasks::Task};\nuse crate::domain::ids::JobId;";
        let found: Vec<&str> = paths_after(text, "crate::").collect();
        assert_eq!(found, ["db::", "domain::ids::JobId"]);
        let found: Vec<&str> = paths_after(text, "crate::db::").collect();
        assert_eq!(found, ["jobs", "tasks::Task"]);
    }

    #[test]
    fn a_circle_is_named() {
        let graph = |edges: &[(&str, &str)]| {
            let mut graph = Graph::new();
            for (from, to) in edges {
                graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            }
            graph
        };
        assert_eq!(find_circle(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
        let found = find_circle(&graph(&[("a", "b"), ("b", "c"), ("c", "b")]));
        assert_eq!(found.as_deref(), Some("b -> c -> b"));
    }
}
