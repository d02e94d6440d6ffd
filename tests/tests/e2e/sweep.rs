//! Invokes the sweep, so that tests don't wait for its schedule.

use crate::merchant::Merchant;
use serde_json::Value;

/// Invokes `sweep-imports`, as its schedule does every minute.
pub(crate) async fn sweep(merchant: &Merchant) {
    let functions = format!("{}/2015-03-31/functions", merchant.stack.file.aws_endpoint_url);
    let region = merchant.stack.file.region.clone();
    let swept = tokio::task::spawn_blocking(move || {
        // The local engine checks only the scope of the signature.
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{region}/lambda/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut listed = ureq::get(format!("{functions}/")).header("authorization", &scope).call()?;
        let listed: Value = listed.body_mut().read_json()?;
        let names = listed["Functions"].as_array().expect("functions").iter();
        let mut names = names.filter_map(|function| function["FunctionName"].as_str());
        let name = names.find(|name| name.contains("SweepImports")).expect("sweep-imports");
        let mut answer = ureq::post(format!("{functions}/{name}/invocations"))
            .header("authorization", &scope)
            .send("{}")?;
        answer.body_mut().read_json::<Value>()
    });
    let swept = swept.await.expect("the call").expect("an answer");
    // If any part fails, the function answers with an `errorType` instead.
    assert!(swept["delivered"].is_u64(), "{swept}");
}
