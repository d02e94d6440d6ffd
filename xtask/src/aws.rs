//! Two calls to the local AWS engine that need no SDK: sign in, and invoke a function.

use std::time::Duration;

use serde_json::{Value, json};

use crate::engine::REGION;
use crate::{Context, Error, Result};

/// Signs a demo user in and returns a new ID token.
pub(crate) fn sign_in(endpoint: &str, client_id: &str, email: &str, password: &str) -> Result<String> {
    let body = json!({
        "ClientId": client_id,
        "AuthFlow": "USER_PASSWORD_AUTH",
        "AuthParameters": {"USERNAME": email, "PASSWORD": password},
    });
    let mut answer = new_agent(Duration::from_secs(20))
        .post(endpoint)
        .header("x-amz-target", "AWSCognitoIdentityProviderService.InitiateAuth")
        .header("content-type", "application/x-amz-json-1.1")
        .send_json(body)
        .context(|| format!("sign in as {email}"))?;
    let value: Value = answer.body_mut().read_json().context(|| format!("sign in as {email}"))?;
    let token = value["AuthenticationResult"]["IdToken"].as_str();
    token
        .map(str::to_owned)
        .ok_or_else(|| Error::advice(format!("the answer has no token for {email}: {value}")))
}

/// Invokes a function and returns its result. Fails if the function fails.
pub(crate) fn invoke(endpoint: &str, function: &str, payload: &Value, limit: Duration) -> Result<Value> {
    let mut answer = new_agent(limit)
        .post(format!("{endpoint}/2015-03-31/functions/{function}/invocations"))
        .header("authorization", format!("AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/lambda/aws4_request, SignedHeaders=host, Signature=0"))
        .send_json(payload)
        .context(|| format!("invoke {function}"))?;
    let failed = answer.headers().contains_key("x-amz-function-error");
    let value: Value = answer.body_mut().read_json().context(|| format!("read the answer of {function}"))?;
    if failed {
        let message = value["errorMessage"].as_str().map_or_else(|| value.to_string(), str::to_owned);
        let kind = value["errorType"].as_str().unwrap_or_default().to_owned();
        return Err(Error::Function { function: function.to_owned(), kind, message });
    }
    Ok(value)
}

fn new_agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(limit)).build().new_agent()
}
