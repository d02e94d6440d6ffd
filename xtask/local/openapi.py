"""Checks docs/openapi.yaml and compares it with the service.

openapi.py routes <openapi.yaml> <cloudformation.json> [--all]    compares with the routes that template.yaml deploys
openapi.py answers <openapi.yaml> <answers.jsonl> [--all]         compares with the answers of the end-to-end tests

--all: every documented route must be deployed, and a test must have received every documented answer.

answers.jsonl has one object a line: {"test", "method", "path", "sent", "status", "headers": {}, "body"}; `sent` and
`body` are texts. Prints each problem on a line of its own, and then exits with 1.
"""

import collections
import datetime
import json
import pathlib
import re
import sys

import jsonschema
import yaml

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

formats = jsonschema.FormatChecker(formats=["uuid"])


@formats.checks("date-time", raises=ValueError)
def is_date_time(value):
    if isinstance(value, str):
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
            raise ValueError(value)
        datetime.datetime.fromisoformat(value)
    return True


class StrictLoader(yaml.SafeLoader):
    """Refuses what YAML readers take in silence: a key that stands twice, and a key without a value.

    The second is what an unquoted comma makes of `{ description: first, second }`. The document needs no null.
    """

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, value in node.value:
            mark = key.start_mark
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` stands twice", mark)
            if value.tag == "tag:yaml.org,2002:null":
                raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` has no value", mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Document:
    def __init__(self, path):
        try:
            self.text = yaml.load(pathlib.Path(path).read_text(), StrictLoader)
        except yaml.YAMLError as error:
            sys.exit(f"{path} is not valid: {error}")
        # Prefer the path with fewer parameters.
        self.paths = sorted(self.text["paths"], key=lambda template: template.count("{"))
        self.patterns = {path: re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)) for path in self.paths}
        self.validators = {}

    def resolve(self, value):
        """Follows references to the value itself."""
        while "$ref" in value:
            found = self.text
            for name in value["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            value = found
        return value

    def operations(self):
        for path, item in self.text["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method, path, item[method]

    def find(self, method, path):
        for template in self.paths:
            if self.patterns[template].fullmatch(path) and method in self.text["paths"][template]:
                return template, self.text["paths"][template][method]
        return None, None

    def dangling_references(self):
        """Finds references to components that don't exist."""
        waiting = [self.text]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict) and "$ref" in value:
                try:
                    self.resolve(value)
                except (KeyError, TypeError):
                    yield f"docs/openapi.yaml refers to {value['$ref']}, which does not exist"
            waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else []

    def faults(self, schema, value):
        """Finds what is wrong with a value by a schema of this document."""
        key = json.dumps(schema, sort_keys=True)
        if key not in self.validators:
            whole = {"allOf": [schema], "components": self.text["components"]}
            self.validators[key] = jsonschema.Draft202012Validator(whole, format_checker=formats)
        for error in self.validators[key].iter_errors(value):
            error = jsonschema.exceptions.best_match([error])
            place = re.sub(r"\[\d+\]", "[]", error.json_path)
            yield f"{place}: {error.message[:300]}"


def routes(document, cloudformation, everything):
    template = json.loads(pathlib.Path(cloudformation).read_text())
    deployed = set()
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::ApiGatewayV2::Api":
            for path, item in resource["Properties"]["Body"]["paths"].items():
                for method, operation in item.items():
                    if method in METHODS:
                        deployed.add(f"{method.upper()} {path}")
                        if not any("IdToken" in requirement for requirement in operation.get("security", [])):
                            yield f"template.yaml: {method.upper()} {path} requires no token"
    documented = {f"{method.upper()} {path}" for method, path, _ in document.operations()}
    for route in sorted(deployed - documented):
        yield f"docs/openapi.yaml does not document {route}, which template.yaml deploys"
    for route in sorted(documented - deployed) if everything else ():
        yield f"docs/openapi.yaml documents {route}, which template.yaml does not deploy"


def answer_faults(document, answer, seen):
    """Finds differences between one answer and the document."""
    method, path = answer["method"].lower(), answer["path"].split("?")[0]
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    media = headers.get("content-type", "").split(";")[0].strip()
    template, operation = document.find(method, path)
    if method == "options":
        # The gateway answers preflights; they reach no function.
        return
    if operation is None:
        # The gateway's answer to an unknown route.
        if answer["status"] not in (401, 404) or media != "application/json":
            yield "docs/openapi.yaml has no such route"
        return
    status = str(answer["status"])
    if status not in operation["responses"]:
        yield f"the status {status} is not documented"
        return
    seen.add((method, template, status))
    response = document.resolve(operation["responses"][status])
    for name, header in response.get("headers", {}).items():
        header = document.resolve(header)
        if name in headers:
            for fault in document.faults(header["schema"], headers[name]):
                yield f"the header {name}: {fault}"
        elif header.get("required"):
            yield f"the header {name} is missing"
    content = response.get("content", {})
    if media not in content:
        yield f"the media type `{media}` is not documented"
        return
    try:
        body = json.loads(answer["body"])
    except ValueError as error:
        yield f"the body is not JSON: {error}"
        return
    yield from document.faults(content[media]["schema"], body)
    # The API must not accept a request that the document forbids.
    asked = document.resolve(operation.get("requestBody", {}))
    if status.startswith("2") and asked:
        if answer.get("sent"):
            schema = asked["content"]["application/json"]["schema"]
            try:
                sent = json.loads(answer["sent"])
            except ValueError:
                if schema:
                    yield "the API accepted a request that is not JSON"
                return
            for fault in document.faults(schema, sent):
                yield f"the API accepted a request that the document forbids: {fault}"
        elif asked.get("required"):
            yield "the API accepted a request without its required body"


def answers(document, path, everything):
    seen, found = set(), collections.Counter()
    lines = pathlib.Path(path).read_text().splitlines() if pathlib.Path(path).exists() else []
    for line in lines:
        answer = json.loads(line)
        for fault in answer_faults(document, answer, seen):
            short = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{id}", answer["path"].split("?")[0])
            found[f"{answer['method']} {short} -> {answer['status']}: {fault} (test {answer['test']})"] += 1
    for fault, times in found.items():
        yield fault if times == 1 else f"{fault}, {times} times"
    if everything:
        for method, template, operation in document.operations():
            for status, response in operation["responses"].items():
                response = document.resolve(response)
                if (method, template, status) not in seen and "x-not-provoked" not in response:
                    yield f"{method.upper()} {template} -> {status} is documented, but no end-to-end test received it"
    print(f"{len(lines)} answers of {len(seen)} documented kinds", file=sys.stderr)


def main():
    what, document, path, *more = sys.argv[1:]
    document = Document(document)
    compare = {"routes": routes, "answers": answers}[what]
    faults = [*document.dangling_references(), *compare(document, path, "--all" in more)]
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
