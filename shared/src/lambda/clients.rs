//! The clients of AWS's services.

use crate::s3::objects::Objects;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::SharedCredentialsProvider;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The longest call of Step Functions or EventBridge, with its repetitions.
pub const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Clients that are made when they are first asked for, so that a function carries and starts only those it uses.
#[derive(Clone)]
pub struct Clients(Arc<Made>);

struct Made {
    aws: SdkConfig,
    bucket: String,
    objects: OnceLock<Objects>,
    states: OnceLock<aws_sdk_sfn::Client>,
    events: OnceLock<aws_sdk_eventbridge::Client>,
}

impl Clients {
    /// Clients in this configuration, for this bucket.
    pub fn new(aws: SdkConfig, bucket: &str) -> Self {
        Self(Arc::new(Made {
            aws,
            bucket: bucket.to_owned(),
            objects: OnceLock::new(),
            states: OnceLock::new(),
            events: OnceLock::new(),
        }))
    }

    /// The same clients, but for these objects.
    pub fn with_objects(&self, objects: Objects) -> Self {
        let clients = Self::new(self.0.aws.clone(), objects.bucket());
        clients.0.objects.get_or_init(|| objects);
        clients
    }

    /// The configuration, for the client of a service that one function alone uses.
    pub fn aws(&self) -> &SdkConfig {
        &self.0.aws
    }

    /// The objects of the bucket.
    pub fn objects(&self) -> &Objects {
        self.0.objects.get_or_init(|| Objects::new(&self.0.aws, &self.0.bucket))
    }

    /// Step Functions.
    pub fn states(&self) -> &aws_sdk_sfn::Client {
        self.0.states.get_or_init(|| aws_sdk_sfn::Client::new(&self.impatient()))
    }

    /// EventBridge.
    pub fn events(&self) -> &aws_sdk_eventbridge::Client {
        self.0.events.get_or_init(|| aws_sdk_eventbridge::Client::new(&self.impatient()))
    }

    /// The configuration for calls that take milliseconds: a service that hangs holds nothing up.
    fn impatient(&self) -> SdkConfig {
        let timeouts = TimeoutConfig::builder().operation_timeout(LONGEST_CALL).build();
        self.0.aws.to_builder().timeout_config(timeouts).build()
    }
}

/// Reads the environment of a Lambda function. `aws_config::load_defaults` would put profiles, STS, container and instance
/// credentials into every function, none of which exist there. The SDK's other variables, such as an endpoint for one
/// service alone or the number of attempts, are not read.
pub fn read_environment() -> SdkConfig {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let yes = |name: &str| text(name).map(|value| value.eq_ignore_ascii_case("true"));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()));
    config.set_region(text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION")).map(Region::new));
    config.set_endpoint_url(text("AWS_ENDPOINT_URL"));
    config.set_use_fips(yes("AWS_USE_FIPS_ENDPOINT"));
    config.set_use_dual_stack(yes("AWS_USE_DUALSTACK_ENDPOINT"));
    config.build()
}
