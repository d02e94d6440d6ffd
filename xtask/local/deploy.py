"""Deploys template.yaml to the local AWS engine, as CloudFormation would after `sam deploy`.

deploy.py deploy    < request.json > answer.json   creates users, uploads packages and deploys the stack
deploy.py transform < request.json                 only writes the CloudFormation template, for the linter

request: {"template", "work", "endpoint", "region", "stack", "parameters": {},
          "binaries": {"open-import": "<path of the executable>"}, "users": [{"email", "password"}]}
answer:  {"outputs": {}, "api_id", "client_id", "users": [{"email", "subject", "token"}]}

Prints a line for each step on standard error.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import sys
import time
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ARTIFACTS = "onceload-artifacts"
MANAGED_POLICIES = {
    "AWSLambdaBasicExecutionRole": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Aws:
    """Clients for the local engine only: endpoint and keys are always explicit."""

    def __init__(self, request):
        self.request = request

    def __getattr__(self, service):
        client = boto3.client(
            service.replace("_", "-"),
            endpoint_url=self.request["endpoint"],
            region_name=self.request["region"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )
        setattr(self, service, client)
        return client


# ---------------------------------------------------------------- users


def sign_up(aws, users):
    """Creates a user pool whose ID tokens the API accepts, with the demo users."""
    cognito = aws.cognito_idp
    pools = cognito.list_user_pools(MaxResults=60)["UserPools"]
    pool = next((p["Id"] for p in pools if p["Name"] == "onceload"), None)
    if pool is None:
        pool = cognito.create_user_pool(PoolName="onceload")["UserPool"]["Id"]
    clients = cognito.list_user_pool_clients(UserPoolId=pool, MaxResults=60)["UserPoolClients"]
    client = next((c["ClientId"] for c in clients if c["ClientName"] == "local"), None)
    if client is None:
        client = cognito.create_user_pool_client(
            UserPoolId=pool,
            ClientName="local",
            ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
            IdTokenValidity=24,
            TokenValidityUnits={"IdToken": "hours"},
        )["UserPoolClient"]["ClientId"]
    signed = []
    for user in users:
        try:
            cognito.admin_create_user(
                UserPoolId=pool,
                Username=user["email"],
                MessageAction="SUPPRESS",
                UserAttributes=[
                    {"Name": "email", "Value": user["email"]},
                    {"Name": "email_verified", "Value": "true"},
                ],
            )
        except cognito.exceptions.UsernameExistsException:
            pass
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=user["email"], Password=user["password"], Permanent=True
        )
        attributes = cognito.admin_get_user(UserPoolId=pool, Username=user["email"])["UserAttributes"]
        subject = next(a["Value"] for a in attributes if a["Name"] == "sub")
        token = cognito.initiate_auth(
            ClientId=client,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user["email"], "PASSWORD": user["password"]},
        )["AuthenticationResult"]["IdToken"]
        signed.append({"email": user["email"], "subject": subject, "token": token})
    return client, signed


def issuer_of(token):
    import base64

    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"]


# ---------------------------------------------------------------- packages


def package(binary, work):
    """Zips an executable as `bootstrap`. The zip's name has a hash of the content, so unchanged executables are skipped."""
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()[:32]
    archive = work / f"{binary.name}-{digest}.zip"
    if not archive.exists():
        for old in work.glob(f"{binary.name}-*.zip"):
            old.unlink()
        entry = zipfile.ZipInfo("bootstrap", date_time=(2020, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o755 << 16
        partial = archive.with_suffix(".partial")
        with zipfile.ZipFile(partial, "w", compresslevel=1) as target:
            target.writestr(entry, binary.read_bytes(), compresslevel=1)
        partial.rename(archive)
    return archive


def upload(aws, archive):
    try:
        aws.s3.head_object(Bucket=ARTIFACTS, Key=archive.name)
    except ClientError:
        aws.s3.put_object(Bucket=ARTIFACTS, Key=archive.name, Body=archive.read_bytes())


def package_all(aws, request):
    """Packages and uploads every function. Returns the S3 URIs by name."""
    work = pathlib.Path(request["work"])
    work.mkdir(parents=True, exist_ok=True)
    try:
        aws.s3.create_bucket(Bucket=ARTIFACTS, CreateBucketConfiguration={"LocationConstraint": request["region"]})
    except aws.s3.exceptions.BucketAlreadyOwnedByYou:
        pass
    binaries = [pathlib.Path(path) for path in request["binaries"].values()]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        archives = dict(zip(request["binaries"], pool.map(lambda b: package(b, work), binaries), strict=True))
        list(pool.map(lambda a: upload(aws, a), archives.values()))
    size = sum(a.stat().st_size for a in archives.values())
    say(f"packaged {len(archives)} functions, {size / 1e6:.0f} MB")
    return {name: f"s3://{ARTIFACTS}/{a.name}" for name, a in archives.items()}


# ---------------------------------------------------------------- template


def resolve_files(template, root, functions):
    """Replaces CodeUri and DefinitionUri as `sam package` does. Returns the definitions by resource."""
    definitions = {}
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            package_name = pathlib.PurePath(properties["CodeUri"]).name
            if package_name not in functions:
                raise SystemExit(f"template.yaml: {name} has CodeUri {properties['CodeUri']}, which is not built")
            properties["CodeUri"] = functions[package_name]
        elif resource["Type"] == "AWS::Serverless::StateMachine":
            definitions[name] = json.loads((root / properties["DefinitionUri"]).read_text())
            properties["DefinitionUri"] = {"Bucket": ARTIFACTS, "Key": f"{name}.json"}
    return definitions


class ManagedPolicies:
    def load(self):
        return MANAGED_POLICIES


def to_cloudformation(request, functions, inline=True):
    path = pathlib.Path(request["template"])
    template = yaml_parse(path.read_text())
    definitions = resolve_files(template, path.parent, functions)
    translated = transform(template, dict(request["parameters"]), ManagedPolicies())
    # The template includes the definitions of the state machines, so that one file has everything that is deployed. The
    # template's linter does not know JSONata; the definitions have a linter of their own.
    for name, definition in definitions.items() if inline else ():
        properties = translated["Resources"][name]["Properties"]
        properties.pop("DefinitionS3Location", None)
        properties["DefinitionString"] = json.dumps(definition, separators=(",", ":"))
    return json.loads(json.dumps(translated))


def capitalised(value):
    """Converts the camelCase keys of an OpenAPI extension to CloudFormation's spelling."""
    if isinstance(value, dict):
        return {k if k.startswith(("Fn::", "Ref")) else k[:1].upper() + k[1:]: capitalised(v) for k, v in value.items()}
    if isinstance(value, list):
        return [capitalised(v) for v in value]
    return value


def unfold_http_api(template):
    """Turns the routes of an HttpApi into resources: SAM writes them as one OpenAPI body, which the engine ignores."""
    resources = template["Resources"]
    for api, resource in list(resources.items()):
        body = resource.get("Properties", {}).get("Body")
        if resource["Type"] != "AWS::ApiGatewayV2::Api" or body is None:
            continue
        resource["Properties"] = {"Name": body["info"]["title"], "ProtocolType": "HTTP"}
        if "x-amazon-apigateway-cors" in body:
            resource["Properties"]["CorsConfiguration"] = capitalised(body["x-amazon-apigateway-cors"])
        for scheme, definition in body.get("components", {}).get("securitySchemes", {}).items():
            authorizer = definition["x-amazon-apigateway-authorizer"]
            resources[f"{api}{scheme}"] = {
                "Type": "AWS::ApiGatewayV2::Authorizer",
                "Properties": {
                    "ApiId": {"Ref": api},
                    "Name": scheme,
                    "AuthorizerType": "JWT",
                    "IdentitySource": [authorizer["identitySource"]],
                    "JwtConfiguration": capitalised(authorizer["jwtConfiguration"]),
                },
            }
        integrations = {}
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                integration = operation["x-amazon-apigateway-integration"]
                uri = json.dumps(integration["uri"])
                if uri not in integrations:
                    integrations[uri] = f"{api}Integration{len(integrations)}"
                    resources[integrations[uri]] = {
                        "Type": "AWS::ApiGatewayV2::Integration",
                        "Properties": {
                            "ApiId": {"Ref": api},
                            "IntegrationType": "AWS_PROXY",
                            "IntegrationUri": integration["uri"],
                            "PayloadFormatVersion": integration["payloadFormatVersion"],
                        },
                    }
                properties = {
                    "ApiId": {"Ref": api},
                    "RouteKey": "$default" if path == "/$default" else f"{method.upper()} {path}",
                    "Target": {"Fn::Join": ["/", ["integrations", {"Ref": integrations[uri]}]]},
                }
                for requirement in operation.get("security", []):
                    for scheme in requirement:
                        if scheme != "NONE":
                            properties["AuthorizationType"] = "JWT"
                            properties["AuthorizerId"] = {"Ref": f"{api}{scheme}"}
                name = f"{api}{method.capitalize()}" + "".join(c for c in path.title() if c.isalnum())
                resources[name] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": properties}


# ---------------------------------------------------------------- stack


def deploy_stack(aws, request, template):
    """Creates or updates the stack, waits for it and returns its outputs."""
    cloudformation = aws.cloudformation
    name = request["stack"]
    # The template is larger than a request may be.
    aws.s3.put_object(Bucket=ARTIFACTS, Key="template.json", Body=json.dumps(template).encode())
    arguments = {
        "StackName": name,
        "TemplateURL": f"{request['endpoint']}/{ARTIFACTS}/template.json",
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
        "Parameters": [{"ParameterKey": k, "ParameterValue": str(v)} for k, v in request["parameters"].items()],
    }
    try:
        cloudformation.describe_stacks(StackName=name)
        exists = True
    except ClientError:
        exists = False
    try:
        (cloudformation.update_stack if exists else cloudformation.create_stack)(**arguments)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
    while True:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        status = stack["StackStatus"]
        if not status.endswith("_IN_PROGRESS"):
            break
        time.sleep(0.2)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        reasons = [
            f"  {e['LogicalResourceId']}: {e.get('ResourceStatusReason')}"
            for e in events
            if e["ResourceStatus"].endswith("_FAILED")
        ]
        raise SystemExit("\n".join([f"the stack ended in {status}", *reasons]))
    say(f"stack {name}: {status}, {len(template['Resources'])} resources")
    return {o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", [])}


def main():
    request = json.load(sys.stdin)
    work = pathlib.Path(request["work"])
    work.mkdir(parents=True, exist_ok=True)
    # The translator reads the region from the environment.
    os.environ["AWS_DEFAULT_REGION"] = request["region"]
    if sys.argv[1] == "transform":
        functions = {name: f"s3://{ARTIFACTS}/{name}.zip" for name in request["binaries"]}
        template = to_cloudformation(request, functions, inline=False)
        (work / "cloudformation.json").write_text(json.dumps(template, indent=1))
        return
    aws = Aws(request)
    client, users = sign_up(aws, request["users"])
    say(f"signed up {', '.join(u['email'] for u in users)}")
    request["parameters"] |= {"JwtIssuer": issuer_of(users[0]["token"]), "JwtAudience": client}
    template = to_cloudformation(request, package_all(aws, request))
    unfold_http_api(template)
    (work / "deployed.json").write_text(json.dumps(template, indent=1))
    outputs = deploy_stack(aws, request, template)
    api_id = outputs["ApiUrl"].removeprefix("https://").split(".")[0]
    json.dump({"outputs": outputs, "api_id": api_id, "client_id": client, "users": users}, sys.stdout)


if __name__ == "__main__":
    main()
