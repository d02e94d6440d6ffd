//! Carries the deeds of a plan out.

use super::faults::{self, choose};
use super::plan::{Click, Deed, File, Operation};
use super::world::World;
use crate::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A deed may fail while something is away; what it has begun must come to rest all the same.
pub(super) async fn carry_out(world: &World, who: &str, deed: &Deed) -> Outcome<()> {
    match deed {
        Deed::Upload { merchant, file } => {
            let key = format!("import/{}/{}", world.merchants[*merchant], file.name);
            world.local.put(&key, file.bytes()).await
        }
        Deed::Batch { merchant, files } => {
            let folder =
                format!("stage/{}/{}", world.merchants[*merchant], files[0].name.replace(".csv", ""));
            for file in files {
                world.local.put(&format!("{folder}/{}", file.name), file.bytes()).await?;
            }
            world.local.put(&format!("{folder}/manifest.json"), b"{}".to_vec()).await
        }
        Deed::Queue { merchant, user, file, click } => {
            let key = put_under_uploads(world, *merchant, &file.name, file.bytes()).await?;
            let body = json!({ "merchant_id": world.merchants[*merchant], "files": [key] });
            let answers = world.click(who, *user, "/imports/queue-processing", body, click).await;
            // Without a key, two clicks are two requests for the same file.
            let fresh = answers.iter().filter(|answer| answer.status == 202);
            let jobs: BTreeSet<String> =
                fresh.filter_map(|answer| answer.body()["jobId"].as_str().map(str::to_owned)).collect();
            if jobs.len() > 1 {
                world
                    .clicked_twice
                    .lock()
                    .expect("lock")
                    .extend(jobs.into_iter().collect::<Vec<_>>().windows(2).map(<[String]>::to_vec));
            }
            Ok(())
        }
        Deed::Migrate { merchant, user, file, click } => {
            let key = put_under_uploads(world, *merchant, &file.name, file.bytes_to_map()).await?;
            let mapping = json!({ "code": "Voucher", "serial": "Serial No", "points": "Value" });
            let body = json!({ "merchant_id": world.merchants[*merchant], "file": key, "mapping": mapping });
            world.click(who, *user, "/migrations/run", body, click).await;
            Ok(())
        }
        Deed::Operate { merchant, user, operation, pick, click } => {
            operate(world, who, *merchant, *user, *operation, *pick, click).await
        }
        Deed::Create { user, name, tag, click } => {
            // Few names, so that they take each other's addresses.
            let body = json!({ "name": format!("Club {name}"), "description": tag, "tags": ["soak"] });
            let answers = world.click(who, *user, "/communities", body, click).await;
            let created = answers.iter().find(|answer| answer.status == 201);
            if let (Some(answer), Ok(mut communities)) = (created, world.communities.lock()) {
                communities.extend(answer.body()["community_id"].as_str().map(str::to_owned));
            }
            Ok(())
        }
        Deed::Join { user, pick, click } => {
            let community =
                world.communities.lock().ok().and_then(|communities| choose(&communities, *pick).cloned());
            if let Some(community) = community {
                world.click(who, *user, &format!("/communities/{community}/join"), json!({}), click).await;
            }
            Ok(())
        }
        Deed::Claim { merchant, count } => claim(world, *merchant, *count).await,
        Deed::Look { merchant, user, pick } => {
            let imports = world.imports(who, *user, *merchant).await;
            if let Some(import) = choose(&imports, *pick) {
                let job = import["job_id"].as_str().unwrap_or_default();
                for path in ["", "/files", "/exports"] {
                    world.get(who, *user, &format!("/imports/{job}{path}")).await;
                }
            }
            Ok(())
        }
        Deed::Fail { fault } => {
            world.journal.write(who, "fault", json!(fault));
            faults::strike(world, fault).await
        }
    }
}

async fn put_under_uploads(world: &World, merchant: usize, name: &str, body: Vec<u8>) -> Outcome<String> {
    let key = format!("uploads/{}/{name}", world.merchants[merchant]);
    world.local.put(&key, body).await?;
    Ok(key)
}

async fn operate(
    world: &World,
    who: &str,
    merchant: usize,
    user: usize,
    operation: Operation,
    pick: u64,
    click: &Click,
) -> Outcome<()> {
    let mut imports = world.imports(who, user, merchant).await;
    imports.retain(|import| is_for(operation, import));
    let Some(import) = choose(&imports, pick) else { return Ok(()) };
    let job = import["job_id"].as_str().unwrap_or_default();
    let send = async |path: &str, body: Value| {
        world.click(who, user, &format!("/imports/{job}{path}"), body, click).await;
    };
    match operation {
        Operation::Approve => {
            let clean = &import["counts"]["clean"];
            send("/approve", json!({ "confirm": "YES", "clean_count": clean, "accept_duplicates": true }))
                .await;
        }
        Operation::Cancel => send("/cancel", json!({})).await,
        Operation::Retry => send("/retry", json!({})).await,
        Operation::LeaveOut | Operation::Replace => {
            let answer = world.get(who, user, &format!("/imports/{job}/files")).await.body();
            let files = answer["files"].as_array().cloned().unwrap_or_default();
            let faulty: Vec<&Value> = files.iter().filter(|file| file["status"] == "failed").collect();
            let Some(file) = choose(&faulty, pick) else { return Ok(()) };
            let body = if operation == Operation::LeaveOut {
                json!({ "action": "leave_out" })
            } else {
                let mended = File {
                    name: format!("mended-{pick}.csv"),
                    from: pick % 20_000,
                    rows: 50,
                    doubled: 0,
                    rejected: 0,
                    broken: false,
                };
                json!({ "action": "replace", "key": put_under_uploads(world, merchant, &mended.name, mended.bytes()).await? })
            };
            send(&format!("/files/{}", file["file_no"]), body).await;
        }
        Operation::RollBack => send("/rollback", json!({ "confirm": "DELETE" })).await,
        Operation::Verify => send("/verify", json!({})).await,
        Operation::ExportDuplicates => send("/exports", json!({ "kind": "duplicates" })).await,
        Operation::ExportReport => send("/exports", json!({ "kind": "report" })).await,
        Operation::ExportRejects => send("/exports", json!({ "kind": "rejects" })).await,
        Operation::Clear => {
            let token = world.token(user).to_owned();
            let request = crate::api::Request {
                token,
                method: "DELETE",
                path: format!("/imports/{job}/staging"),
                key: None,
                body: Some(json!({ "confirm": "CLEAR" })),
            };
            world.local.api.send(&request).await;
        }
    }
    Ok(())
}

fn is_for(operation: Operation, import: &Value) -> bool {
    let status = import["status"].as_str().unwrap_or_default();
    match operation {
        Operation::Approve => status == "awaiting_approval",
        Operation::Cancel => {
            matches!(
                status,
                "pending" | "loading" | "checking" | "validating" | "awaiting_approval" | "processing"
            )
        }
        Operation::Retry | Operation::LeaveOut | Operation::Replace => status == "failed",
        Operation::RollBack | Operation::Verify => status == "completed",
        Operation::ExportDuplicates | Operation::ExportReport | Operation::ExportRejects => {
            matches!(status, "completed" | "awaiting_approval" | "failed")
        }
        Operation::Clear => matches!(status, "completed" | "failed" | "rolled_back" | "cancelled"),
    }
}

/// The application claims codes, as its customers redeem them.
async fn claim(world: &World, merchant: usize, count: u64) -> Outcome<()> {
    let (merchant, customer) =
        (world.merchants[merchant], format!("customer-{}", world.journal.milliseconds()));
    let sql = format!(
        "SET lock_timeout = '5s';
         UPDATE onceload.codes c SET claimed = true, claimed_customer_id = '{customer}'
           FROM (SELECT code FROM onceload.codes WHERE merchant_id = '{merchant}' AND NOT claimed
                  ORDER BY md5(code || '{customer}') LIMIT {count} FOR UPDATE SKIP LOCKED) free
          WHERE c.merchant_id = '{merchant}' AND c.code = free.code RETURNING c.code"
    );
    let codes: Vec<String> = world.local.rows(&sql).await?.into_iter().flatten().collect();
    world.journal.write("application", "claimed", json!({ "merchant": merchant, "codes": codes }));
    if let Ok(mut claimed) = world.claimed.lock() {
        claimed.extend(codes.into_iter().map(|code| (merchant, code, customer.clone())));
    }
    Ok(())
}
