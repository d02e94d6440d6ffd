//! Judges an upload by its key: what it asks for, or why it is no import. Whatever lies under `import/`, and every manifest
//! under `stage/`, comes here.

use crate::input::UploadedObject;
use serde_json::json;
use shared::domain::fault::Fault;
use shared::domain::file_name::FileName;
use shared::domain::ids::MerchantId;
use shared::domain::key;
use shared::domain::source::{Door, SourceInfo};

/// A manifest's name.
const MANIFEST: &str = "/manifest.json";

/// Whether a tool has left the object there: a folder of a console, or a note beside the files.
pub(crate) fn is_marker(object: &UploadedObject) -> bool {
    FileName::of(&object.key) == FileName::Marker
}

/// What an upload asks for. One that is no import says why, and its job will.
pub(crate) fn describe(merchant: MerchantId, object: &UploadedObject) -> SourceInfo {
    let refused = judge(merchant, &object.key).err();
    // A key with a control character is shown with the character spelled out. PostgreSQL doesn't store U+0000.
    let key = match object.key.contains(char::is_control) {
        true => object.key.escape_debug().to_string(),
        false => object.key.clone(),
    };
    if refused.is_none() && key.ends_with(MANIFEST) {
        return SourceInfo {
            manifest: Some(key),
            manifest_version: object.version_id.clone(),
            ..SourceInfo::new(Door::S3)
        };
    }
    SourceInfo {
        refused,
        version_id: object.version_id.clone(),
        ..SourceInfo::of_request(Door::S3, json!({ "files": [key] }))
    }
}

/// `import/{merchant}/...` is one file, `stage/{merchant}/{batch}/manifest.json` a batch.
fn judge(merchant: MerchantId, key: &str) -> Result<(), String> {
    key::check_key(merchant, key).map_err(|error| error.to_string())?;
    if !key.ends_with(MANIFEST) {
        return Fault::unknown_name(key).map_or(Ok(()), |fault| Err(format!("{key}: {fault}")));
    }
    if !key.starts_with("stage/") {
        return Err(format!(
            "{key}: a manifest starts nothing here, where every file is an import of its own; put it and its files under stage/{merchant}/, in a folder"
        ));
    }
    match key.split('/').count() {
        0..=3 => Err(format!(
            "{key}: a manifest lies in the folder of its files, and this one would mean every batch; put it under stage/{merchant}/, in a folder"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: &str = "11112222-3333-4444-5555-6666aaaabbbb";

    #[test]
    fn a_key_is_a_file_a_batch_or_says_why_it_is_neither() {
        let m: MerchantId = serde_json::from_value(json!(M)).expect("an id");
        let said = |key: &str| judge(m, key).err();
        for good in ["a.csv", "A.TSV", "sub/x.Csv.GZ", "b.txt.zst"] {
            assert_eq!(said(&format!("import/{m}/{good}")), None, "{good}");
        }
        assert_eq!(said(&format!("stage/{m}/b/manifest.json")), None);
        assert_eq!(said(&format!("stage/{m}/a/b/manifest.json")), None);
        for (bad, word) in [
            (format!("import/{m}/a.zip"), "unknown_name"),
            (format!("import/{m}/a.csv.bak"), "unknown_name"),
            (format!("import/{m}/b/manifest.json"), "under stage/"),
            (format!("stage/{m}/manifest.json"), "in a folder"),
            (format!("import/{m}//a.csv"), "segment"),
            (format!("import/{m}/../a.csv"), "segment"),
            (format!("import/{m}/a\t.csv"), "control character"),
            (format!("import/{m}"), "must begin with"),
            (format!("import/{}/a.csv", m.to_string().to_uppercase()), "must begin with"),
        ] {
            assert!(said(&bad).is_some_and(|said| said.contains(word)), "{bad}: {:?}", said(&bad));
        }
    }
}
