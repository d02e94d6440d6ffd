//! The local AWS engine of a running stack, as its clients see it.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::Credentials;
use xtask::stack::StackFile;

/// The configuration of clients of the stack's engine.
pub async fn config(stack: &StackFile) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(stack.region.clone()))
        .endpoint_url(&stack.aws_endpoint_url)
        .credentials_provider(Credentials::new("test", "test", None, None, "local stack"))
        .load()
        .await
}
